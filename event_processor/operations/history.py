"""The past of a daemon, as two rings on disk: the last hour by second, the last month by minute.

Owns: the files below `state/history/`, their columns, and how records become steps of equal length.
Always: counters are sums, gauges are maxima. A step in which no daemon ran is null, and one in which it had nothing to do is zero. Only
steps that are over are shown. Works without the daemon's help, and while it writes.
Never: writes (`service/history.py` does); is relied on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.reports import HISTORY_FOLDER
from event_processor.engine.stages import STAGES
from event_processor.model.file_system import FileSystem
from event_processor.operations.state_access import lock_owner
from event_processor.storage.ring import FloatArray, Ring, RingLayout, RingRecords

__all__ = [
    "COLUMNS",
    "COUNTERS",
    "GAUGES",
    "HOUR_S",
    "IDLE_S",
    "LAYOUTS",
    "MINUTES",
    "NOT_WHOLE",
    "SECONDS",
    "SETTLED_S",
    "SPAN_S_MAX",
    "TIMES",
    "Column",
    "History",
    "Past",
    "history_of",
    "read_past",
    "ring_for",
    "ring_of",
]

COUNTERS: Final = ("records", "accepted", "duplicate", "rejected", "blank", "late", "commits", "delivered", "failed")
"""What happened in a period. `delivered` and `failed`: at all remote sinks together."""
GAUGES: Final = ("lag_bytes", "lag_s", "pending")
"""The largest value in a period. `pending`: at all remote sinks together."""
COLUMNS: Final = (*COUNTERS, *GAUGES)
NOT_WHOLE: Final = frozenset({"lag_s"})
"""The columns whose values are not whole numbers."""

TIMES: Final = (*(f"{stage}_s" for stage in STAGES), "syncs", "sync_s")
"""How the seconds of the loop were divided (see `engine/stages.py`), the fsyncs of commits, and their seconds. Not shown as history."""

HOUR_S: Final = 3600
MINUTE_S: Final = 60
SPAN_S_MAX: Final = 30 * 86_400
_SLACK: Final = 0.12
"""Steps begin at multiples of their length, so a span may begin up to one of ten steps earlier."""
SECONDS: Final = "seconds.ring"
MINUTES: Final = "minutes.ring"
LAYOUTS: Final = {
    SECONDS: RingLayout(1, ceil(HOUR_S * (1 + _SLACK)), (*COLUMNS, *TIMES)),
    MINUTES: RingLayout(MINUTE_S, ceil(SPAN_S_MAX / MINUTE_S * (1 + _SLACK)), (*COLUMNS, *TIMES)),
}
IDLE_S: Final = 60
"""A daemon with nothing to do writes a record this often, so that its life is known to a minute."""
SETTLED_S: Final = 1
"""The last second may not be written yet."""

Column: TypeAlias = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class History:
    """Steps of `step_s` seconds, the first from `begin_s` (seconds since 1970). Each of `columns` has as many values as there are steps."""

    begin_s: int
    step_s: int
    columns: dict[str, Column]


@dataclass(frozen=True, slots=True)
class Past:
    """The records of one ring, and whether the process that wrote the last of them still runs. `is_owned`: some process runs."""

    period_s: int
    records: RingRecords | None
    is_alive: bool
    is_owned: bool = False


def ring_of(fs: FileSystem, directory: str, name: str) -> Ring:
    """The ring with this name (`SECONDS` or `MINUTES`) of the state in `directory`."""
    return Ring(fs, os.path.join(directory, HISTORY_FOLDER, name), LAYOUTS[name])


def read_past(configuration: Configuration, environment: Environment, name: str) -> Past:
    """Reads the ring with this name. Raises `StorageError`."""
    records = ring_of(environment.fs, str(configuration.state.dir), name).read()
    owner = lock_owner(configuration, environment)
    is_alive = records is not None and records.owner == owner
    return Past(LAYOUTS[name].period_s, records, is_alive, owner is not None)


def ring_for(span_s: int) -> str:
    """The ring that has a span of this length."""
    return SECONDS if span_s <= HOUR_S else MINUTES


def history_of(past: Past, *, now_s: int, span_s: int, points: int) -> History:
    """The last `span_s` seconds before `now_s` (seconds since 1970), in at most `points` steps. Pure.

    Steps begin at multiples of their length, so two looks at one step agree.
    """
    period_s = past.period_s
    step_s = max(period_s, ceil(span_s / points / period_s) * period_s)
    steps = ceil(span_s / step_s)
    end_s = (now_s - SETTLED_S) // step_s * step_s
    begin_s = end_s - steps * step_s
    window = _Window(begin_s, end_s, period_s)
    shape = (steps, step_s // period_s)
    is_alive, values = window.cells(past)
    is_alive = is_alive.reshape(shape)
    is_known = is_alive.sum(axis=1) > 0
    columns: dict[str, Column] = {}
    for number, name in enumerate(COLUMNS):
        cells = np.where(is_alive, values[:, number].reshape(shape), 0.0)
        found = cells.sum(axis=1) if name in COUNTERS else cells.max(axis=1)
        columns[name] = _shown(found, is_known, is_whole=name not in NOT_WHOLE)
    return History(begin_s, step_s, columns)


def _shown(values: FloatArray, is_known: npt.NDArray[np.bool_], *, is_whole: bool) -> Column:
    numbers: Sequence[float] = values.round().astype(np.int64).tolist() if is_whole else values.round(3).tolist()
    return [number if known else None for number, known in zip(numbers, is_known.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class _Window:
    """The time from `begin_s` to `end_s`, in cells of one period each."""

    begin_s: int
    end_s: int
    period_s: int

    def cells(self, past: Past) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Whether a daemon ran in each cell (n,), and the values of the cells (n, columns)."""
        count = (self.end_s - self.begin_s) // self.period_s
        values = np.zeros((count, len(COLUMNS) + len(TIMES)))
        records = past.records
        if records is None or not len(records.begins_s):
            return np.zeros(count, np.bool_), values
        first, last = np.searchsorted(records.begins_s, (self.begin_s, self.end_s))
        at = (records.begins_s[first:last] - self.begin_s) // self.period_s
        values[at] = records.values[first:last]
        # Between two records nothing happened, and the gauges stayed.
        latest = np.full(count, first - 1)
        latest[at] = np.arange(first, last)
        latest = np.maximum.accumulate(latest)
        gauges = slice(len(COUNTERS), len(COLUMNS))
        values[:, gauges] = np.where(latest[:, None] >= 0, records.values[latest, gauges], 0.0)
        return self._alive(records, is_alive=past.is_alive, count=count), values

    def _alive(self, records: RingRecords, *, is_alive: bool, count: int) -> npt.NDArray[np.bool_]:
        """The cells in which a daemon ran (n,): a record speaks for the time since the one before it of the same process."""
        begins, ends = records.since_s, records.begins_s + self.period_s
        present = np.flatnonzero(records.begins_s < self.end_s)
        if is_alive and len(present):
            begins, ends = np.append(begins, ends[present[-1]]), np.append(ends, self.end_s)
        first = np.clip((begins - self.begin_s) // self.period_s, 0, count)
        after = np.clip((ends - self.begin_s) // self.period_s, 0, count)
        changes = np.zeros(count + 1, np.int64)
        np.add.at(changes, first, 1)
        np.add.at(changes, np.maximum(first, after), -1)
        return np.cumsum(changes)[:count] > 0
