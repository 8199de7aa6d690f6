"""What the daemon knows about its own health: the conditions that are present, and their publication.

Owns: the set of present conditions, the words for each kind, and the writing of `conditions.json`.
Always: a condition begins and ends with the reports of the pipeline. Its `since` survives reloads and restarts. The file is
replaced as a whole, soon after a change, and never more often than the loop makes a round. If it cannot be written, the pipeline
continues, and the write is tried again.
Never: raises; is used by another thread than the loop's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec

from event_processor.model.clock import utc_text
from event_processor.model.contracts import Clock
from event_processor.model.errors import EventProcessorError
from event_processor.model.messages import in_one_line
from event_processor.model.telemetry import Telemetry
from event_processor.operations.conditions import (
    CONDITIONS_NAME,
    DETACHED,
    LANE_KINDS,
    LOST,
    Condition,
    PublishedConditions,
    ReloadAnswer,
    read_conditions,
)
from event_processor.storage.durable import FileSystem, publish_file

__all__ = ["Conditions"]

LISTED_MAX: Final = 100
"""The file lists this number of conditions, and counts the others."""
ROUNDS_TO_CONFIRM: Final = 2
"""After this number of rounds the sources have looked at everything: a condition that they did not report again has ended.

A lane says itself when it knows: that may take as long as its service takes to answer.
"""
RETRY_S: Final = 5.0
"""If the file could not be written, the next try comes this much later."""

Key: TypeAlias = tuple[str, str, str]
"""Kind, source and path."""
NOT_READ: Final = frozenset({"file_missing", "file_unreadable", "file_damaged", "source_unreachable"})
"""The kinds that mean that input was not read."""
RELOAD_REFUSED: Final = "reload_refused"
HTTP_UNAVAILABLE: Final = "http_unavailable"
JOBS_UNAVAILABLE: Final = "jobs_unavailable"
LIVES_WITH_THE_PROCESS: Final = frozenset({RELOAD_REFUSED, HTTP_UNAVAILABLE, JOBS_UNAVAILABLE})
"""These end with their process, because a start reads the configuration again."""


class Conditions(Telemetry):
    """The present conditions of one process, over all its reloads."""

    def __init__(self, fs: FileSystem, directory: str, owner: str, clock: Clock) -> None:
        """The caller owns the state directory; `owner` is the text in its lock file.

        Publishes what an earlier process left, until this one has looked itself.
        """
        self._fs: Final = fs
        self._directory: Final = directory
        self._owner: Final = owner
        self.clock: Final = clock
        earlier = read_conditions(fs, directory)
        known = [each for each in earlier.conditions if each.kind not in LIVES_WITH_THE_PROCESS] if earlier else []
        self._present: Final[dict[Key, Condition]] = {_key(each): each for each in known}
        self._unconfirmed: set[Key] = set(self._present)
        self._reload: ReloadAnswer | None = None
        self._rounds = 0
        self._is_published = False
        self._next_write_s = 0.0
        self.changes = 0
        """Grows with every change, so that others need not compare."""
        self._publish()

    @property
    def failures(self) -> tuple[Condition, ...]:
        """The present conditions that make `status` fail, the oldest first."""
        return tuple(each for each in self._sorted() if each.fails)

    @property
    def not_read(self) -> tuple[Condition, ...]:
        """The present conditions that mean that input was not read."""
        return tuple(each for each in self._sorted() if each.kind in NOT_READ)

    def begin(self) -> None:
        """A pipeline is about to be opened. What the one before reported counts until its end is certain."""
        self._unconfirmed = {key for key in self._present if key[0] != RELOAD_REFUSED}
        self._rounds = 0

    def failed(self, error: Exception) -> None:
        """The process ends with this error. The condition stays on disk until the next process works."""
        known = error if isinstance(error, EventProcessorError) else EventProcessorError(f"{type(error).__name__}: {error}")
        problem = f"the process ended with {known.exit_code}: {in_one_line(known.message)}"
        self._add("failed", problem=problem, remedy=in_one_line(known.hint) or "see its log")
        self._publish()

    def answer(self, reload: ReloadAnswer) -> None:
        """Publishes how a reload ended."""
        self._reload = reload
        if reload.outcome == "refused":
            remedy = "fix the configuration, then run 'event-processor reload'; until then the present one stays in use"
            self._add(RELOAD_REFUSED, problem=f"a reload was refused: {in_one_line(reload.reason)}", remedy=remedy)
        else:
            self._end(RELOAD_REFUSED)
        self._publish()

    # The reports of the pipeline.

    def progressed(self) -> None:
        self._rounds += 1
        if self._rounds == ROUNDS_TO_CONFIRM:
            self._end_unconfirmed()
        if not self._is_published and self.clock.monotonic_s() >= self._next_write_s:
            self._publish()

    def stopped(self, *, reason: str, records: int, held_events: int) -> None:  # noqa: ARG002
        self._end_unconfirmed()
        self._publish()

    def file_missing(self, *, source: str, path: str) -> None:
        self._end("file_unreadable", source, path)
        remedy = f"start its writer, or correct sources.{source}.path; it is read when it is there"
        self._add("file_missing", source, path, problem="no such file", remedy=remedy)

    def file_unreadable(self, *, source: str, path: str, reason: str) -> None:
        self._end("file_missing", source, path)
        is_another = reason.endswith(("not a file", "not a regular file"))  # as `look_at` says it
        do = (
            f"put a file in its place, or correct sources.{source}.path" if is_another else "let the user of this process read it"
        )
        remedy = f"{do}; it is tried again until it can be read"
        self._add("file_unreadable", source, path, problem=f"cannot be read: {reason}", remedy=remedy)

    def source_unreachable(self, *, source: str, path: str, reason: str, remedy: str) -> None:
        self._add("source_unreachable", source, path, problem=f"cannot be reached: {reason}", remedy=remedy)

    def file_readable(self, *, source: str, path: str) -> None:
        for kind in NOT_READ:
            self._end(kind, source, path)

    def file_damaged(self, *, source: str, path: str, generation: int, offset: int, reason: str) -> None:  # noqa: ARG002
        problem = f"cannot be decoded after byte {offset} of its content: {reason}"
        remedy = (
            "put the whole file in its place; everything before the damage was read, and a record that it cuts is a dead letter"
        )
        self._add("file_damaged", source, path, problem=problem, remedy=remedy)

    def file_retired(self, *, source: str, path: str, generation: int, size_bytes: int) -> None:  # noqa: ARG002
        self._end("file_damaged", source, path)

    def losses_committed(self, *, count: int) -> None:
        if not count:
            self._end(LOST)
            return
        remedy = "see 'event-processor lost'; 'event-processor lost --acknowledge' ends this"
        self._add(LOST, problem=f"input is lost that nothing can read any more ({count})", remedy=remedy)

    def watcher_unavailable(self, *, path: str, reason: str) -> None:
        remedy = "raise fs.inotify.max_user_instances and max_user_watches; until then polling finds every change"
        self._add("watcher_unavailable", path=path, problem=f"cannot be watched: {reason}", remedy=remedy, fails=False)

    def http_listening(self, *, address: str) -> None:  # noqa: ARG002
        self._end(HTTP_UNAVAILABLE)

    def http_unavailable(self, *, address: str, reason: str, remedy: str) -> None:
        self._add(HTTP_UNAVAILABLE, problem=f"the HTTP server cannot listen on {address}: {reason}", remedy=remedy)

    def jobs_checked(self, *, path: str, problem: str) -> None:
        for key in [
            each for each in self._present if each[0] == JOBS_UNAVAILABLE and (each[2] != _printable(path) or not problem)
        ]:
            self._end(*key)
        if problem:
            remedy = "see GET /v1/jobs and the log; a job that has failed is acknowledged by its deletion"
            self._add(JOBS_UNAVAILABLE, path=path, problem=problem, remedy=remedy)

    def lanes_opened(self, *, sinks: Sequence[str]) -> None:
        self._end_earlier(lambda key: key[1] not in sinks)

    def lane_checked(self, *, sink: str, is_sending: bool) -> None:
        self._end_earlier(lambda key: key[1] == sink and (is_sending or key[0] in ("lane_paused", DETACHED)))

    def lane_waiting(self, *, sink: str, reason: str) -> None:
        # Its service answered again and again, otherwise than before.
        self._end_earlier(lambda key: key[1] == sink and key[0] in ("lane_stopped", "lane_failed"))
        problem = f"sink {sink}: its service takes nothing now: {reason}"
        self._add(
            "lane_waiting",
            sink,
            problem=problem,
            remedy="nothing is lost: its records wait, and one at a time is tried",
            fails=False,
        )

    def lane_stopped(self, *, sink: str, reason: str, remedy: str) -> None:
        self._end("lane_waiting", sink)
        self._end_earlier(lambda key: key[1] == sink and key[0] == "lane_failed")
        self._add("lane_stopped", sink, problem=f"sink {sink} is stopped: {reason}", remedy=remedy)

    def lane_flowing(self, *, sink: str) -> None:
        for kind in ("lane_waiting", "lane_stopped"):
            self._end(kind, sink)

    def lane_paused(self, *, sink: str, remedy: str) -> None:
        self._add("lane_paused", sink, problem=f"sink {sink} is paused: its records wait", remedy=remedy, fails=False)

    def lane_resumed(self, *, sink: str) -> None:
        self._end("lane_paused", sink)

    def lane_detached(self, *, sink: str, sequence: int, remedy: str) -> None:
        problem = f"sink {sink} is detached: the outbox was full; records from {sequence} on are skipped"
        self._add(DETACHED, sink, problem=problem, remedy=remedy)

    def lane_failed(self, *, sink: str, reason: str, remedy: str, exit_code: int) -> None:
        self.lane_flowing(sink=sink)
        self._add("lane_failed", sink, problem=f"sink {sink} is sent nothing more ({exit_code}): {reason}", remedy=remedy)

    # The set, and the file.

    def _add(self, kind: str, source: str = "", path: str = "", *, problem: str, remedy: str, fails: bool = True) -> None:
        path, problem = _printable(path), _printable(problem)
        key = kind, source, path
        before = self._present.get(key)
        self._unconfirmed.discard(key)
        since = before.since if before else utc_text(self.clock.wall_ns())
        self._set(key, Condition(kind, since, source, path, problem, remedy, fails))

    def _set(self, key: Key, condition: Condition) -> None:
        if self._present.get(key) != condition:
            self._present[key] = condition
            self._changed()

    def _end(self, kind: str, source: str = "", path: str = "") -> None:
        key = kind, source, _printable(path)
        self._unconfirmed.discard(key)
        if self._present.pop(key, None):
            self._changed()

    def _end_unconfirmed(self) -> None:
        for key in [each for each in self._unconfirmed if not each[0].startswith(LANE_KINDS)]:
            self._end(*key)

    def _end_earlier(self, is_over: Callable[[Key], bool]) -> None:
        """Ends conditions of lanes that an earlier process reported, and this one did not."""
        for key in [each for each in self._unconfirmed if each[0].startswith(LANE_KINDS) and is_over(each)]:
            self._end(*key)

    def _changed(self) -> None:
        self.changes += 1
        self._is_published = False

    def _sorted(self) -> Iterator[Condition]:
        yield from sorted(self._present.values(), key=lambda each: (each.since, _key(each)))

    def _publish(self) -> None:
        """Replaces the file. If we die before or within, the file of before is there: it names another owner, or is old news."""
        conditions = tuple(self._sorted())
        unlisted = max(0, len(conditions) - LISTED_MAX)
        document = PublishedConditions(self._owner, conditions[:LISTED_MAX], unlisted, self._reload)
        path = os.path.join(self._directory, CONDITIONS_NAME)
        self._next_write_s = self.clock.monotonic_s() + RETRY_S
        with suppress(EventProcessorError, OSError):
            content = msgspec.json.format(msgspec.json.encode(document), indent=2)
            publish_file(self._fs, path, content + b"\n")
            self._is_published = True
            self._next_write_s = 0.0


def _key(condition: Condition) -> Key:
    return condition.kind, condition.source, condition.path


def _printable(text: str) -> str:
    """`text` with the bytes escaped that are no characters: a file name need not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()
