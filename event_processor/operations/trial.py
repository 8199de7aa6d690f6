"""What sample records would become: the outcome and the fields of each, its groups, and the rows of the result.

Owns: the run over a sample, and the comparison of a test with what it expects.
Always: the same engine decides as in a run. The state of the run is in a temporary folder, which is removed.
Never: reads or changes the configured state; writes to a sink.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import orjson

from event_processor.aggregation.measures import EventMeasurer, group_values
from event_processor.assembly import Environment, InputFormat, record_format, with_inputs
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.configuration import (
    Configuration,
    ConfiguredPath,
    DeadLettersOptions,
    EngineOptions,
    StateOptions,
)
from event_processor.configuration.tests import TestOptions
from event_processor.engine.state import Counts
from event_processor.model.columns import Columns
from event_processor.model.errors import UsageError
from event_processor.model.event import Chunk, EventId
from event_processor.operations.log_reader import LogReader
from event_processor.operations.omissions import Omission
from event_processor.operations.processing import Processing
from event_processor.operations.results import ResultRow, result_rows
from event_processor.operations.state_access import UnsyncedFileSystem, require_checkpoint, scratch_directory
from event_processor.storage.durable import create_file

__all__ = ["SAMPLE_BYTES_MAX", "SampleRecord", "TestResult", "Trial", "run_test", "try_file", "try_records"]

SAMPLE_BYTES_MAX: Final = 64 * 1_048_576
"""A sample is shown record by record. More is a case for `process`."""

SampleOutcome: TypeAlias = Literal["accepted", "duplicate", "rejected", "blank"]


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What one record would become. `line` counts from 1; `offset` is in bytes.

    `reason`: why it was rejected, otherwise empty. `event`: its JSON object after the transforms, as it is written; None without a valid event.
    `groups`: by aggregate, the group that it counts in; None if the aggregate leaves it out.
    """

    line: int
    offset: int
    outcome: SampleOutcome
    reason: str = ""
    id: EventId | None = None
    category: str | None = None
    value: float | None = None
    timestamp: object = None
    event: msgspec.Raw | None = None
    groups: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A sample's records, and the result of a run over it alone. `omissions`: what that result leaves out."""

    records: Sequence[SampleRecord]
    counts: Counts
    rows: Sequence[ResultRow]
    omissions: Sequence[Omission]


@dataclass(frozen=True, slots=True)
class TestResult:
    """A test of the configuration. `differences`: what is not as expected, in words; empty if all is."""

    __test__ = False  # the name does not make it a test of pytest

    name: str
    differences: Sequence[str]


def try_file(configuration: Configuration, environment: Environment, path: str, chosen: InputFormat) -> Trial:
    """What the records of a file would become.

    Raises `InputGoneError` if it cannot be read, `UsageError` if it is too large or its form is ambiguous, `ConfigurationError`, `StorageError`.
    """
    quiet = configuration.model_copy(
        update={
            "sinks": {},
            "dead_letters": DeadLettersOptions(),
            "engine": EngineOptions(),  # a sample is not divided among shards
            "log": configuration.log.model_copy(update={"level": "error"}),
        }
    )
    with scratch_directory() as directory:
        placed = quiet.model_copy(update={"state": StateOptions(dir=ConfiguredPath(os.path.join(directory, "state")))})
        placed = with_inputs(placed, environment.fs, [path], chosen)
        _require_small(environment, path)
        unsynced = replace(environment, fs=UnsyncedFileSystem())
        with Processing(placed, unsynced, is_kept=True).run(_nothing_shown) as processed:
            letters = [orjson.loads(line) for block in processed.dead_letters() for line in block.splitlines()]
            reasons = {letter["line"]: letter["reason"] for letter in letters}
            rows = list(result_rows(processed.lines()))
            records = list(_records(placed, unsynced, reasons))
            return Trial(records, processed.counts, rows, processed.omissions)


def try_records(configuration: Configuration, environment: Environment, content: bytes, chosen: InputFormat) -> Trial:
    """What the records in `content` would become. Raises as `try_file` does."""
    with scratch_directory() as directory:
        path = os.path.join(directory, "sample")
        create_file(environment.fs, path, [content])
        return try_file(configuration, environment, path, chosen)


def run_test(configuration: Configuration, environment: Environment, test: TestOptions) -> TestResult:
    """Runs one test of the configuration. Raises as `try_file` does."""
    texts = [record.encode() if isinstance(record, str) else orjson.dumps(record) for record in test.records]
    trial = try_records(configuration, environment, b"\n".join([*texts, b""]), InputFormat(source=test.source or ""))
    return TestResult(test.name, [*_other_outcomes(test, trial), *_other_rows(test, trial)])


def _other_outcomes(test: TestOptions, trial: Trial) -> Iterator[str]:
    if test.outcomes is None:
        return
    if len(trial.records) != len(test.outcomes):
        yield f"records: expected {len(test.outcomes)}; there are {len(trial.records)}"
        return
    for number, (expected, record) in enumerate(zip(test.outcomes, trial.records, strict=True), start=1):
        outcome, _, part = expected.partition(": ")
        if record.outcome != outcome or part not in record.reason:
            found = f"{record.outcome}: {record.reason}" if record.reason else record.outcome
            yield f"record {number}: expected {expected}; it is {found}"


def _other_rows(test: TestOptions, trial: Trial) -> Iterator[str]:
    if test.rows is None:
        return
    if len(trial.rows) != len(test.rows):
        rows = "".join(f"; {orjson.dumps(row).decode()}" for row in trial.rows[:5])
        yield f"rows: expected {len(test.rows)}; there are {len(trial.rows)}{rows}"
        return
    for number, (expected, row) in enumerate(zip(test.rows, trial.rows, strict=True), start=1):
        for column, value in expected.items():
            if column not in row:
                yield f"row {number}: no column {column}: {', '.join(row)}"
            elif row[column] != value:
                yield f"row {number}: {column}: expected {orjson.dumps(value).decode()}; it is {orjson.dumps(row[column]).decode()}"


def _require_small(environment: Environment, path: str) -> None:
    status = environment.fs.status(path)
    if status is not None and status.size_bytes > SAMPLE_BYTES_MAX:
        raise UsageError(
            f"{path}: {status.size_bytes} bytes are more than a sample (at most {SAMPLE_BYTES_MAX})",
            hint="cut it (head -n 1000), or read all of it with event-processor process",
        )


def _nothing_shown(_done_bytes: int, _size_bytes: int, _phase: str = "", /) -> None:
    """Shows no progress: a sample is small."""


def _records(configuration: Configuration, environment: Environment, reasons: Mapping[int, str]) -> Iterator[SampleRecord]:
    """Reads the sample again, as the state says, and yields what became of each record. `reasons`: of the rejected ones, by line."""
    ((name, options),) = configuration.sources.items()
    sample = _Sample(configuration, reasons)
    decoder = record_format(configuration, options)
    checkpoint = require_checkpoint(configuration, environment)
    with closing(LogReader(configuration, environment, checkpoint, sources=[name])) as reader:
        for each in reader.script():
            if not isinstance(each, Chunk):
                continue
            if each.oversized_bytes:
                yield sample.oversized(each)
            elif each.content:
                yield from sample.records(each, decoder.decode(each))


class _Sample:
    """The records of a sample, one after the other."""

    def __init__(self, configuration: Configuration, reasons: Mapping[int, str]) -> None:
        self._reasons: Final = reasons
        self._is_deduplicated: Final = configuration.dedup.enabled
        self._aggregates: Final = {
            name: (each.group_by, EventMeasurer(each, configuration.event)) for name, each in configuration.aggregates.items()
        }
        self._seen: Final[set[EventId]] = set()
        self._line = 0

    def oversized(self, chunk: Chunk) -> SampleRecord:
        """The record over the size limit, which is a chunk by itself."""
        self._line += 1
        return SampleRecord(self._line, chunk.offset, "rejected", self._reasons.get(self._line, ""))

    def records(self, chunk: Chunk, columns: Columns) -> Iterator[SampleRecord]:
        """Yields what became of each record of a chunk, in order."""
        places = {row: place for place, row in enumerate(columns.rows.tolist())}
        offsets = chunk.offsets(columns.starts, np.arange(columns.record_count)).tolist()
        for row, offset in enumerate(offsets):
            self._line += 1
            reason = self._reasons.get(self._line, "")
            if row in places:
                yield self._event(columns, places[row], offset, reason)
            else:
                yield SampleRecord(self._line, offset, "rejected" if reason else "blank", reason)

    def _event(self, columns: Columns, place: int, offset: int, reason: str) -> SampleRecord:
        """A valid event. `reason`: why it is rejected all the same, because a limit is reached."""
        event_id = columns.ids[place]
        outcome: SampleOutcome = "rejected" if reason else "accepted"
        if not reason and self._is_deduplicated:
            outcome = "duplicate" if event_id in self._seen else "accepted"
            self._seen.add(event_id)
        has_value = columns.values is not None and (columns.has_value is None or bool(columns.has_value[place]))
        line = _event_line(columns, place)
        return SampleRecord(
            line=self._line,
            offset=offset,
            outcome=outcome,
            reason=reason,
            id=event_id,
            category=columns.categories.names[int(columns.categories.codes[place])] if columns.categories else None,
            value=float(columns.values[place]) if columns.values is not None and has_value else None,
            timestamp=columns.timestamps.to_list()[place] if columns.timestamps else None,
            event=msgspec.Raw(line),
            groups=self._groups(line) if outcome == "accepted" else {},
        )

    def _groups(self, line: bytes) -> dict[str, Mapping[str, Any] | None]:
        groups: dict[str, Mapping[str, Any] | None] = {}
        for name, (group_by, measurer) in self._aggregates.items():
            measured = measurer.measure(EventSlice(1, lambda: line + b"\n", None))
            is_in = measured.count and (measured.kept is None or bool(measured.kept.any()))
            groups[name] = (
                dict(zip(group_by, group_values(measured.names[int(measured.codes[0])]), strict=True)) if is_in else None
            )
        return groups


def _event_line(columns: Columns, place: int) -> bytes:
    """The JSON object of a valid event."""
    events = columns.events
    if events is None:
        return columns.record(int(columns.rows[place]))
    return events.content[int(events.starts[place]) : int(events.ends[place])]
