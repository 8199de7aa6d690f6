"""Sends the records of a file, or of standard input, to a topic, at a rate if one is wanted.

Owns: the pace, what is counted, and when a run ends.
Always: a record is a line, as sources of files cut it. What is not sent is counted: blank lines, lines that are too long, records that are refused.
Never: keeps a position. A run that is repeated sends everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from event_processor.assembly import (
    INPUT_SOURCE_NAME,
    Environment,
    InputFormat,
    input_size_bytes,
    make_publisher,
    make_source,
    with_inputs,
)
from event_processor.configuration.configuration import Configuration
from event_processor.model.connector import SourceContext
from event_processor.model.publishing import Publisher, PublisherContext
from event_processor.model.telemetry import Telemetry

__all__ = ["Destination", "Produced", "Producing"]

READ_BYTES: Final = 1_048_576
LOOK_S: Final = 0.1
CATCH_UP_S: Final = 1.0
"""A run that fell behind its pace by more than this goes on at its pace: a stream has no burst after a pause."""
DRAIN_S: Final = 10.0
"""A run that was stopped waits so long for the answers to what it has sent."""
_BLANK: Final = b" \t\r"


@dataclass(frozen=True, slots=True)
class Produced:
    """What became of the records. `unanswered`: perhaps the receiver has them. `is_complete`: everything was read; False: it was stopped.

    `damaged`: inputs that could not be read to their end, in words. `took_s`: from the first record to the last answer.
    """

    acknowledged: int
    refused: int
    refusal: str
    unanswered: int
    blank: int
    oversized: int
    without_key: int
    damaged: tuple[str, ...]
    took_s: float
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Destination:
    """As in `PublisherContext`."""

    topic: str
    address: str = ""
    key: str = ""


class _Damages(Telemetry):
    """Keeps what is reported of damaged files."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def file_damaged(self, *, source: str, path: str, generation: int, offset: int, reason: str) -> None:  # noqa: ARG002
        self.words.append(f"{path}: {reason}, after {offset:,} bytes")


class Producing:
    """One run. `stop` may be called from a signal handler."""

    def __init__(self, configuration: Configuration, environment: Environment, file: str, *, rate_per_s: float | None) -> None:
        """`file`: a path, or `-`. `rate_per_s`: None for as fast as it goes. Raises as `with_inputs` does."""
        bare = configuration.model_copy(update={"sinks": {}, "aggregates": {}, "enrichers": {}, "services": {}})
        self._inputs: Final = with_inputs(bare, environment.fs, [file], InputFormat(format="jsonl"))
        self._configured: Final = configuration
        self._environment: Final = environment
        self._damages: Final = _Damages()
        self._interval_s: Final = 1 / rate_per_s if rate_per_s else 0.0
        self._now: Final = environment.clock.monotonic_s
        self._is_stopping = False
        self._counts: Final = {"blank": 0, "oversized": 0}

    def stop(self) -> None:
        """Ends the run after the record that is being sent."""
        self._is_stopping = True

    def run(self, destination: Destination, progress: Callable[[int, int], None]) -> Produced:
        """Sends everything, and waits for the answers.

        `progress`: gets bytes done and in all; 0 if unknown.
        Raises `ConfigurationError` if there is no such topic, or if we may not write there; `NotAnsweredError` if answers did not come in time.
        """
        publisher = make_publisher(
            self._configured, PublisherContext(self._environment, destination.topic, destination.address, destination.key)
        )
        with closing(publisher):
            begin_s = due_s = self._now()
            for record in self._records(progress):
                if self._interval_s:
                    due_s = self._paced(publisher, due_s)
                if self._is_stopping:
                    break
                publisher.publish(record)
            self._drain(publisher)
            return Produced(
                acknowledged=publisher.acknowledged,
                refused=publisher.refused,
                refusal=publisher.refusal,
                unanswered=publisher.pending,
                blank=self._counts["blank"],
                oversized=self._counts["oversized"],
                without_key=publisher.without_key,
                damaged=tuple(self._damages.words),
                took_s=self._now() - begin_s,
                is_complete=not self._is_stopping,
            )

    def _paced(self, publisher: Publisher, due_s: float) -> float:
        """Waits until the next record is due. Returns when the one after it is."""
        while (left_s := due_s - self._now()) > 0 and not self._is_stopping:
            publisher.wait(min(left_s, LOOK_S))
        return max(due_s, self._now() - CATCH_UP_S) + self._interval_s

    def _drain(self, publisher: Publisher) -> None:
        """Waits for the answers. A run that was stopped waits in bounded time."""
        begin_s = self._now()
        while publisher.pending and not (self._is_stopping and self._now() - begin_s > DRAIN_S):
            publisher.wait(LOOK_S)
        publisher.wait(0.0)

    def _records(self, progress: Callable[[int, int], None]) -> Iterator[bytes]:
        """Yields every line that is not blank, without its end."""
        quiet = replace(self._environment, telemetry=self._damages)
        source = make_source(self._inputs.sources[INPUT_SOURCE_NAME], SourceContext(INPUT_SOURCE_NAME, quiet, finished=True))
        size_bytes = input_size_bytes(self._inputs)
        with closing(source):
            source.open({}, 1)
            while not self._is_stopping:
                chunk = source.read(READ_BYTES)
                if chunk is None:
                    if not source.has_more():
                        return
                    continue
                self._counts["oversized"] += chunk.oversized_bytes > 0
                for line in chunk.content.split(b"\n")[: None if chunk.final and not chunk.content.endswith(b"\n") else -1]:
                    if line.strip(_BLANK):
                        yield line.removesuffix(b"\r")
                    else:
                        self._counts["blank"] += 1
                progress(max(0, size_bytes - source.lag_bytes()), size_bytes)
