"""Metrics as a reader of Prometheus' text format sees them, and promtool."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["needs_promtool", "samples"]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and os.environ.get("CI") != "true",
    reason="promtool is not installed (apt install prometheus)",
)


def samples(text: str) -> Mapping[tuple[str, ...], float]:
    """The name and the values of the labels, by the labels' names -> the value. Asserts that no sample is there twice."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found
