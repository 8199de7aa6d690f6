"""The runs of an external sort: sorted files below `state/sorted/`, or below a temporary folder.

Finished input gives the rows of the sorted input. An event may be the earliest of all and come last, so nothing can be released
before all input was read: each commit writes its events to a run (pass 1). At the end of the input the runs are merged, and
events are released in order (pass 2), as from a sorted log: to windows, and to sinks in commits of bounded size. So there are no
late events. Totals, aggregates without windows and dead letters do not wait; they are of pass 1.

Where runs live: in the state directory. With `process --state DIR` that is `DIR`; without it, a temporary folder that is removed
at the end. How they are committed: a run is an append file with a committed length in `appended`, like the held events. If we die
in pass 1, the start cuts the runs to their lengths and reads on. If we die in pass 2, the checkpoint has the key of the last
event that was released: the merge starts again and leaves out everything up to it. Keys are unique, so this is exact.
Memory: pass 1 holds the events of a batch, pass 2 one block of each run. `RUNS_MAX` runs of a level are merged to one run of the
next level, so there are fewer than `RUNS_MAX` for each factor of `RUNS_MAX` in the size of the input. Windows need what they need
for a sorted log. Ties: the position in the input decides. Measures `first` and `last` see the sorted stream.
What is written of an event: its key, what the format has read of it, and its line only if a sink or a measure reads it.

Owns: which run an event is written to, and when runs are merged into larger ones.
Always: a batch that continues the newest run is appended to it, so sorted input makes one run. Files get names that are never
used twice; a file that was merged stays until neither checkpoint names it.
Never: keeps a run open that no batch is appended to.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count
from typing import Final

from event_processor.columns.event_slices import SortKey
from event_processor.columns.event_tables import EventTable, joined
from event_processor.engine.sorting.blocks import encode_blocks
from event_processor.engine.sorting.merge import merged
from event_processor.model.errors import StateError, StorageError
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, create_file, prepare_directory, storage_call

__all__ = ["FOLDER", "RUNS_MAX", "SortedRuns"]

FOLDER: Final = "sorted"
RUNS_MAX: Final = 64
"""So many runs of one level become one run of the next level. A merge holds about half a MiB in memory for each."""
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


class SortedRuns:
    """The runs of one state. One thread at a time uses it."""

    def __init__(self, fs: FileSystem, directory: str, appended: Mapping[str, int], new_name: Callable[[str], str]) -> None:
        """`appended` is the checkpoint's; `new_name` returns names that are never used twice."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._new_name: Final = new_name
        self._lengths: Final = {name: length for name, length in appended.items() if name.startswith(f"{FOLDER}/")}
        self._newest: AppendFile | None = None
        self._last_key: SortKey | None = None

    def add(self, tables: Sequence[EventTable]) -> None:
        """Makes the events of a batch durable. Raises `StorageError`."""
        table = joined(tables).in_order()
        with _words_for_a_full_disk():
            if self._newest is None or self._last_key is None or table.keys.at(0) < self._last_key:
                self._begin_run()
            assert self._newest is not None, "a run was started"
            for block in encode_blocks(table):
                self._newest.append(block)
            # If we die here, the committed length cuts off what was appended, or the checkpoint does not name the run at all.
            # The same events come again from the input.
            self._newest.sync()
        self._lengths[f"{FOLDER}/{os.path.basename(self._newest.path)}"] = self._newest.length_bytes
        self._last_key = table.keys.at(len(table) - 1)

    def appended(self) -> Mapping[str, int]:
        """The committed length of each run by name."""
        return self._lengths

    def merged(self, after: SortKey | None, waiting: int) -> Generator[EventTable, None, None]:
        """Yields the events above `after`, ascending by key. No batch may be added meanwhile.

        Raises `StorageError`, and `StateError` if they are not `waiting` events.
        """
        runs = {self._path(name): length for name, length in self._lengths.items()}
        with closing(merged(self._fs, runs, after)) as tables:
            for table in tables:
                waiting -= len(table)
                if waiting < 0:
                    break
                yield table
        if waiting:
            raise StateError(
                f"{os.path.join(self._directory, FOLDER)}: does not hold the events that the checkpoint says are there",
                hint="restore the folder from a backup, or start again with another --state",
            )

    def clear(self) -> None:
        """Forgets all runs: every event was released. The files are removed when neither checkpoint names them."""
        self.close()
        self._lengths.clear()

    def close(self) -> None:
        """Closes the newest run."""
        if self._newest is not None:
            self._newest.close()
        self._newest = None

    def _begin_run(self) -> None:
        self.close()
        prepare_directory(self._fs, os.path.join(self._directory, FOLDER))
        self._merge_levels()
        self._newest = AppendFile(self._fs, self._path(f"{FOLDER}/{self._new_name('run-0')}"), 0)

    def _merge_levels(self) -> None:
        """Merges the runs of each level that has `RUNS_MAX` of them."""
        for level in count():
            names = [name for name in self._lengths if name.startswith(f"{FOLDER}/run-{level}-")]
            if len(names) < RUNS_MAX:
                return
            larger = f"{FOLDER}/{self._new_name(f'run-{level + 1}')}"
            runs = {self._path(name): self._lengths[name] for name in names}
            # If we die within, no checkpoint names the larger run, and the next start removes it. The others are still there:
            # they are removed when neither checkpoint names them.
            with closing(merged(self._fs, runs, None)) as tables:
                create_file(self._fs, self._path(larger), (block for table in tables for block in encode_blocks(table)))
            folder = os.path.join(self._directory, FOLDER)
            with storage_call("fsync", folder):
                self._fs.sync_directory(folder)
            status = self._fs.status(self._path(larger))
            assert status is not None, "created"
            for name in names:
                del self._lengths[name]
            self._lengths[larger] = status.size_bytes

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


@contextmanager
def _words_for_a_full_disk() -> Iterator[None]:
    """Says what to do if there is no space for the runs."""
    try:
        yield
    except StorageError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise StorageError(
            error.operation,
            error.path,
            error.errno,
            "no space left: the input is sorted on disk, which takes about as much space as its events",
            hint="free some space, or name a folder on another disk with --state or $TMPDIR; with --state, the same command resumes",
        ) from error
