"""Metrics in the forms that Prometheus reads.

Owns: the collectors, and the text of them. The only module that imports prometheus_client.
Always: a registry of its own, so an importing program's metrics are not touched.
Never: decides what a metric means (`operations/metrics.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from event_processor.operations.metrics import MetricFamily
from event_processor.service.web.durations import DurationCounts

__all__ = ["metrics_answer", "metrics_text"]


def metrics_text(families: Iterable[MetricFamily]) -> bytes:
    """The families in the text format, for the textfile collector of node_exporter."""
    registry = CollectorRegistry()
    registry.register(_Families(lambda: families))
    return generate_latest(registry)


def metrics_answer(families: Sequence[MetricFamily], durations: DurationCounts, accepted: str) -> tuple[bytes, str]:
    """All metrics of a running daemon, in the format that an Accept field asks for, and its media type."""
    registry = CollectorRegistry()
    registry.register(_Families(lambda: families))
    registry.register(_OfTheProcess(durations))
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accepted)
    return encode(registry), media_type


class _Families(Collector):
    """The committed state."""

    def __init__(self, families: Callable[[], Iterable[MetricFamily]]) -> None:
        self._families: Final = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families():
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=family.labels)
            for labels, value in family.samples:
                metric.add_metric(list(labels), value)
            yield metric

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking would read the state."""
        return ()


class _OfTheProcess(Collector):
    """What only a running daemon knows."""

    def __init__(self, durations: DurationCounts) -> None:
        self._durations: Final = durations

    def collect(self) -> Iterable[Metric]:
        buckets = [(str(limit_s) if limit_s is not None else "+Inf", count) for limit_s, count in self._durations.cumulative()]
        yield HistogramMetricFamily(
            "event_processor_commit_duration_seconds",
            "How long commits took, since the start of the process.",
            buckets=buckets,
            sum_value=self._durations.sum_s,
        )
