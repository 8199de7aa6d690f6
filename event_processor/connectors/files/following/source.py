"""The file source: one log file or a glob of them. Each is followed through its rotations, and they are served in turn.

Owns: which paths are followed, the order in which they are served, and the numbers of their generations.
Always: a read returns at most one chunk, from the next path that has one. A path that always has more cannot keep the others
waiting, unless `files_concurrent_max` limits how many take turns. A look at all paths costs one stat per unchanged path.
Never: waits, or writes anything.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from event_processor.connectors.files.following.aliases import Aliases
from event_processor.connectors.files.following.generation import SourceContext
from event_processor.connectors.files.following.identity import FileIdentity
from event_processor.connectors.files.following.obstacles import Obstacles
from event_processor.connectors.files.following.path import Lineage
from event_processor.connectors.files.following.remarks import literal_remark
from event_processor.connectors.files.paths import PathPattern, look_at
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.contracts import Clock
from event_processor.model.event import Chunk, Json
from event_processor.model.losses import Loss
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem

__all__ = ["FIRST_GENERATION", "FileSource"]

FIRST_GENERATION: Final = 1
"""The number of a source's first generation."""
FIRST_PATHS_MAX: Final = 256
RESUMED_PATHS_MAX: Final = 256
"""With more paths in the state, a file at its path with the same inode and the same beginning is taken for the one that was read."""
SWEEP_SHARE: Final = 100
"""If a look at all paths took t, the next comes after 100 t or later. So a thousand idle files cost a hundredth of a core."""
SWEEP_PAUSE_S_MAX: Final = 2.0
"""The next look is delayed by at most this time."""
SWEEP_COST_S_MIN: Final = 0.002
"""A look that took less than this is not delayed."""
SWEEP_PATHS_MIN: Final = 32
"""With fewer paths a look is not delayed either: if it took long, the machine was busy with something else."""


class FileSource:
    """Chunks of one configured path or glob, as `contracts.Source` promises."""

    def __init__(
        self,
        name: str,
        options: FileSourceOptions,
        *,
        fs: FileSystem,
        clock: Clock,
        telemetry: Telemetry,
        finished: bool,
        last_commit_ns: int | None = None,
        start: str = "",
        read_before: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        """`finished`: nothing more will be written, so the end of each file ends its last record.

        `last_commit_ns`: the wall time of the commit that is resumed, if known. If a file of the state is not found, rotated
        files modified since then are read; without this time, only the file at the path is. `start`, `read_before`: see
        `SourceContext`.
        """
        self.name = name
        self._options: Final = options
        self._start: Final = start or options.start
        self._read_before: Final = read_before
        self._obstacles: Final = Obstacles(name, fs=fs, clock=clock, telemetry=telemetry)
        self._losses: list[Loss] = []
        self._context: Final = SourceContext(
            name, options, fs, clock, telemetry, finished, last_commit_ns, self._obstacles, self._losses
        )
        self._limit: Final = options.files_concurrent_max
        self._pattern: Final = PathPattern(options.path)
        self._lineages: Final[dict[str, Lineage]] = {}
        self._rotated: set[str] = set()
        self._ready: Final[deque[Lineage]] = deque()
        """Lineages that may have unread input and wait for a place among those that take turns."""
        self._in_turn: Final[deque[Lineage]] = deque()
        """Lineages that are read now, the next one first; at most `files_concurrent_max`."""
        self._ended: Final[set[Lineage]] = set()
        """Lineages of finished input that were read to their end and closed."""
        self._unresumed: Final[dict[Lineage, Mapping[int, FileIdentity]]] = {}
        """Lineages of the state that had no place yet, and the identities by which their files are found again."""
        self._next_generation = FIRST_GENERATION
        self._next_sweep_s = 0.0
        self._next_due_sweep_s = 0.0
        self._sweep_was_skipped = False
        self._reported_literal = False
        self._has_many = False
        self._aliases: Final = Aliases(self._context)

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        self._next_generation = next_generation
        by_path: dict[str, dict[int, FileIdentity]] = {}
        for generation, position in sorted(positions.items()):
            identity = FileIdentity.of(position)
            by_path.setdefault(self._options.path_of(identity.path), {})[generation] = identity
        self._has_many = len(by_path) > RESUMED_PATHS_MAX
        for path, identities in by_path.items():
            lineage = self._follow(path)
            if self._limit:
                # To find a file again, we must open it, and decode it if it is compressed. That waits for a place too.
                self._unresumed[lineage] = identities
            else:
                self._resume(lineage, identities)
        is_fresh = not positions and next_generation <= FIRST_GENERATION
        if is_fresh:
            self._begin()
        elif not self._options.is_glob and self._options.path not in by_path:
            self._follow(self._options.path).begin(self._context.last_commit_ns)

    def _resume(self, lineage: Lineage, identities: Mapping[int, FileIdentity]) -> None:
        lineage.resume(identities, self._path_of if self._options.is_glob else None, is_one_of_many=self._has_many)

    def _begin(self) -> None:
        """Starts all paths that exist, as the options say. A glob's paths that appear later are read whole."""
        read_before: dict[str, list[FileIdentity]] = {}
        for position in self._read_before:
            identity = FileIdentity.of(position)
            read_before.setdefault(self._options.path_of(identity.path), []).append(identity)
        paths = sorted(self._find_paths() | read_before.keys()) if self._options.is_glob else [self._options.path]
        # Each path costs a listing of its folder. With more paths, older files of this glob are not remembered as left out.
        may_look = not self._options.is_glob or len(paths) <= FIRST_PATHS_MAX or self._start == "oldest"
        for path in paths if may_look else sorted(read_before):
            if path in self._lineages or path in read_before or not self._options.is_glob:
                lineage = self._follow(path)
                lineage.begin(None, oldest=self._start == "oldest")
                lineage.read_again(read_before.get(path, ()))
        for lineage in self._lineages.values() if self._start == "end" else ():
            lineage.start_at_end()

    def read(self, bytes_max: int) -> Chunk | None:
        if (self._ready or self._in_turn) and self._context.clock.monotonic_s() >= self._next_due_sweep_s:
            self._sweep()
        chunk = self._read_ready(bytes_max)
        if chunk is None:
            # A skipped look is repeated later. `wait_s` returns when, so that the skip does not look like the end of the input.
            self._sweep_was_skipped = self._context.clock.monotonic_s() < self._next_sweep_s
            if not self._sweep_was_skipped:
                self._sweep()
                chunk = self._read_ready(bytes_max)
        return chunk

    def read_from(self, generation: int, after: int, bytes_max: int) -> Chunk | None:
        """See `ReadsGenerations.read_from`. With `files_concurrent_max`, the turns stay as they are."""
        if not self._lineages:
            self._sweep()
        lineage = None if self._limit else self._lineage_of(generation, after)
        if lineage is None:
            return self.read(bytes_max)
        waiting = next((each for each in (self._ready, self._in_turn) if lineage in each), None)
        if waiting is not None:
            waiting.remove(lineage)
        elif not lineage.poll():
            return None
        chunk = lineage.read(bytes_max)
        if chunk is not None:
            self._in_turn.append(lineage)
        return chunk

    def _lineage_of(self, generation: int, after: int) -> Lineage | None:
        """The path whose next chunk is of a generation, as far as that is known before it is read."""
        if generation < self._next_generation:
            return next((each for each in self._lineages.values() if each.gives(generation)), None)
        self._find_paths()
        fresh = [each for each in self._lineages.values() if each.number is None]
        waiting = {*self._ready, *self._in_turn}
        found = next((each for each in fresh if each in waiting or each.poll()), None)
        return found or next((each for each in self._lineages.values() if each.number == after), None)

    def lag_bytes(self) -> int:
        return sum(lineage.lag_bytes() for lineage in self._lineages.values())

    def open_file(self) -> tuple[int, tuple[int, int] | None, str]:
        """The file that is read now: its generation, its device and inode, and its path. Not for a glob. Any thread may call it.

        If nothing of it was read yet, the number is that of the next generation, and so it is if no file is open; then the rest is None
        and empty.
        """
        # In this order: if the file gets its number meanwhile, the next number is that of another file.
        following = self._next_generation
        lineage = self._lineages.get(self._options.path)
        number, inode, path = lineage.open_file if lineage else (None, None, "")
        return number or following, inode, path

    def has_more(self) -> bool:
        return bool(self._ready) or any(lineage.has_more() for lineage in self._in_turn)

    def wait_s(self) -> float | None:
        waits_s = [wait_s for lineage in self._lineages.values() if (wait_s := lineage.wait_s()) is not None]
        if self._sweep_was_skipped:
            waits_s.append(max(0.0, self._next_sweep_s - self._context.clock.monotonic_s()))
        return min(waits_s, default=None)

    def acknowledge(self) -> None:
        """Does nothing: a file is found again by its content, not by anything that we keep."""

    def take_losses(self) -> Sequence[Loss]:
        """See `ReportsLosses.take_losses`."""
        taken = list(self._losses)
        self._losses.clear()
        return taken

    def close(self) -> None:
        for lineage in self._lineages.values():
            lineage.close()

    # Which paths are followed, and which of them have input.

    def _read_ready(self, bytes_max: int) -> Chunk | None:
        """A chunk of the next path that may have one. That path then waits for its next turn.

        A path without a chunk gives its place to the next waiting path.
        """
        while self._fill_turns():
            lineage = self._in_turn.popleft()
            chunk = lineage.read(bytes_max)
            if chunk is not None:
                self._in_turn.append(lineage)
                return chunk
            if self._limit and lineage.close_at_end():
                self._ended.add(lineage)
        return None

    def _fill_turns(self) -> bool:
        """Gives free places to waiting lineages. Returns whether any has a place. Opens lineages that were not opened before."""
        while self._ready and not (self._limit and len(self._in_turn) >= self._limit):
            lineage = self._ready.popleft()
            if identities := self._unresumed.pop(lineage, None):
                self._resume(lineage, identities)
            if not self._is_put_off(lineage) or lineage.poll():
                self._in_turn.append(lineage)
        return bool(self._in_turn)

    def _is_put_off(self, lineage: Lineage) -> bool:
        """Whether even a look at it must wait for a place: with a limit, only that many files are opened."""
        return bool(self._limit) and not lineage.is_open

    def _sweep(self) -> None:
        """Looks at every path, and queues those that may have unread input."""
        clock = self._context.clock
        start_s = clock.monotonic_s()
        paths = self._find_paths()
        waiting = self._ended.union(self._ready, self._in_turn)
        for path, lineage in list(self._lineages.items()):
            if lineage in waiting:
                continue
            is_gone = path not in paths and lineage not in self._unresumed
            may_have_more = not (is_gone and lineage.is_over) if self._is_put_off(lineage) else lineage.poll()
            if may_have_more:
                self._ready.append(lineage)
            elif is_gone and lineage.is_over:
                del self._lineages[path]
        self._obstacles.look_again(self._folders())
        end_s = clock.monotonic_s()
        cost_s = end_s - start_s
        is_costly = cost_s >= SWEEP_COST_S_MIN and len(self._lineages) >= SWEEP_PATHS_MIN
        self._next_sweep_s = end_s + (min(SWEEP_SHARE * cost_s, SWEEP_PAUSE_S_MAX) if is_costly else 0.0)
        self._next_due_sweep_s = max(self._next_sweep_s, end_s + self._options.poll_interval_ms / 1000)

    def _find_paths(self) -> set[str]:
        """Follows every configured path that is not followed yet, in sorted order. Returns all existing paths."""
        if not self._options.is_glob:
            self._follow(self._options.path)
            return {self._options.path}
        paths = self._pattern.expand(self._context.fs)
        if not self._reported_literal and (remark := literal_remark(self._context.fs, self._options)):
            self._context.telemetry.file_unreadable(source=self.name, path=self._options.path, reason=remark)
        self._reported_literal = True
        if paths:
            self._obstacles.ended(str(self._options.path))
        elif not self._lineages:
            self._obstacles.found(str(self._options.path), "")
        self._rotated.intersection_update(paths)
        # A rotated file is read as the past of its original path, never as a log of its own; a second name not at all.
        unknown = [path for path in paths if path not in self._lineages and path not in self._rotated]
        rotated_names = _rotated_paths(unknown, [*self._lineages.values(), *map(self._lineage, unknown)]) if unknown else set()
        self._rotated |= rotated_names
        own = self._aliases.without([path for path in unknown if path not in rotated_names], list(self._lineages.values()))
        self._lineages.update((path, self._lineage(path)) for path in own)
        return set(paths)

    def _folders(self) -> Iterator[str]:
        """Yields the folders that are listed: those of a glob, and those of rotated files."""
        if self._options.is_glob:
            yield from (folder or "." for folder in self._pattern.folders(self._context.fs))
        yield from (os.path.dirname(lineage.rotated_prefix) or "." for lineage in self._lineages.values())

    def _follow(self, path: str) -> Lineage:
        if path not in self._lineages:
            self._lineages[path] = self._lineage(path)
        return self._lineages[path]

    def _lineage(self, path: str) -> Lineage:
        return Lineage(self._context, path, self._next_number)

    def _path_of(self, device: int, inode: int) -> str | None:
        """A path of the glob that has this inode."""
        for path in self._pattern.expand(self._context.fs):
            status = look_at(self._context.fs, path).status
            if status and (status.device, status.inode) == (device, inode):
                return path
        return None

    def _next_number(self) -> int:
        number = self._next_generation
        self._next_generation += 1
        return number


def _rotated_paths(paths: Sequence[str], lineages: Sequence[Lineage]) -> set[str]:
    """The `paths` that are rotated files of a lineage.

    Compares by prefix, because a thousand files would make a million pairs.
    """
    by_prefix: dict[str, list[Lineage]] = {}
    for lineage in lineages:
        by_prefix.setdefault(lineage.rotated_prefix, []).append(lineage)
    lengths = {len(prefix) for prefix in by_prefix}
    return {path for path in paths if any(owner.owns(path) for length in lengths for owner in by_prefix.get(path[:length], ()))}
