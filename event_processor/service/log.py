"""The log: one line on a stream (stderr) for each event of the process.

Owns: the levels, the messages and the three forms of a line. *text*: time, level, message, key=value. *json*: one object per line
with `time`, `level`, `event`, `message` and the facts. *journal*: text after a `<N>` priority, so that `journalctl -p warning`
works, and without the time, because the systemd journal keeps it.
Always: a line is whole (one write, under a lock). It stays one line, whatever a path or a reason holds. No call raises: if a line
cannot be written, it is lost, and the pipeline continues.
Never: remembers anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Final, Literal, TextIO, TypeAlias

from event_processor.model.contracts import Clock
from event_processor.model.messages import readable_path
from event_processor.model.telemetry import Telemetry

__all__ = ["Level", "LineFormat", "LogTelemetry", "chosen_format"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LineFormat: TypeAlias = Literal["text", "json", "journal"]
Fact: TypeAlias = object

_RANKS: Final[Mapping[str, int]] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_PRIORITIES: Final[Mapping[str, int]] = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""The syslog priorities, which sd-daemon(3) writes before a line."""
_NEEDS_QUOTES: Final = frozenset("\"'= \\")


def chosen_format(requested: Literal["auto", "text", "json"], stream: TextIO, environment: Mapping[str, str]) -> LineFormat:
    """The form for `stream`: as requested; for "auto", text on a terminal, journal for the journal, json elsewhere.

    Text to the journal always has priorities. A stream is the journal if it has the device and inode of `$JOURNAL_STREAM`
    (systemd.exec(5)): a child whose stderr was redirected inherits the variable, but not the stream.
    """
    if requested == "json":
        return "json"
    if _is_journal(stream, environment.get("JOURNAL_STREAM", "")):
        return "journal"
    return "text" if requested == "text" or _is_terminal(stream) else "json"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):  # closed
        return False


def _is_journal(stream: TextIO, announced: str) -> bool:
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return False
    return announced == f"{status.st_dev}:{status.st_ino}"


class LogTelemetry(Telemetry):
    """Writes each event as a line on `stream`, if its level is at least `level`."""

    def __init__(self, stream: TextIO, *, clock: Clock, level: Level, line_format: LineFormat) -> None:
        self._stream: Final = stream
        self._clock: Final = clock
        self._rank: Final = _RANKS[level]
        self._format: Final = line_format
        self._lock: Final = Lock()

    def log(self, level: Level, event: str, words: str, facts: Mapping[str, Fact]) -> None:
        """Writes one line, if `level` is shown. `event` is the name for programs, `words` is the message for people."""
        if _RANKS[level] < self._rank:
            return
        try:
            line = self._line(level, event, words, facts)
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that left, a closed stream
            return

    def _line(self, level: Level, event: str, words: str, facts: Mapping[str, Fact]) -> str:
        """One line with its line end. A byte that is not a character (in a file name that is not UTF-8) is escaped."""
        if self._format == "json":
            # The fixed fields come first. They are merged again after the facts, so that no fact can replace them.
            always = {"time": self._time(), "level": level, "event": event, "message": words}
            shown = {key: readable_path(fact) if isinstance(fact, str) else fact for key, fact in facts.items()}
            fields = {**always, **shown, **always}
            line = json.dumps(fields, ensure_ascii=False, default=str)
        else:
            start = f"<{_PRIORITIES[level]}>" if self._format == "journal" else f"{self._time()} {level:<7} "
            line = start + " ".join([words, *(f"{key}={_as_text(fact)}" for key, fact in facts.items())])
        return f"{line}\n".encode(errors="backslashreplace").decode()

    def _time(self) -> str:
        """The present time as RFC 3339 in UTC, to the millisecond."""
        seconds, rest_ns = divmod(self._clock.wall_ns(), 10**9)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns // 10**6:03}Z"

    def started(self, **facts: Fact) -> None:
        self.log("info", "started", "ready", facts)

    def stopped(self, **facts: Fact) -> None:
        self.log("info", "stopped", "stopped cleanly", facts)

    def left_out(self, *, what: str, **facts: Fact) -> None:
        self.log("warning", "left_out", f"the results are not complete: {what}", {**facts, "what": what})

    def column_absent(self, **facts: Fact) -> None:
        self.log("warning", "column_absent", "no row of the sink had the field of a column", facts)

    def batch_committed(self, **facts: Fact) -> None:
        self.log("debug", "batch_committed", "committed", facts)

    def records_rejected(self, **facts: Fact) -> None:
        self.log("debug", "records_rejected", "rejected in this commit", facts)

    def rejections_counted(self, **facts: Fact) -> None:
        words = "records rejected since the last such line; see 'event-processor dead-letters list'; the first"
        self.log("warning", "rejections_counted", words, facts)

    def file_opened(self, **facts: Fact) -> None:
        self.log("info", "file_opened", "reading", facts)

    def file_missing(self, **facts: Fact) -> None:
        self.log("warning", "file_missing", "file not found; waiting for it", facts)

    def file_rotated(self, **facts: Fact) -> None:
        self.log("info", "file_rotated", "renamed; following it to its end", facts)

    def file_truncated(self, **facts: Fact) -> None:
        self.log("warning", "file_truncated", "shorter than the part already read; a new generation begins", facts)

    def file_replaced(self, **facts: Fact) -> None:
        self.log("warning", "file_replaced", "replaced by other content; a new generation begins", facts)

    def file_lost(self, **facts: Fact) -> None:
        words = "input is lost, and records may be missing; 'event-processor lost' lists it"
        key = f"sources.{facts.get('source', 'NAME')}.rotated"
        self.log("error", "file_lost", words, {**facts, "if_it_was_renamed": f"set {key} to the names of the rotated files"})

    def file_left_out(self, **facts: Fact) -> None:
        words = 'not read: it was rotated before the first start; start = "oldest" in the source reads it'
        self.log("warning", "file_left_out", words, facts)

    def file_twice(self, **facts: Fact) -> None:
        self.log("warning", "file_twice", "the same file as another path of this source; it is read once", facts)

    def order_by_times(self, **facts: Fact) -> None:
        words = "rotated files are read in the order of their modification times, because their names show none; it may be wrong"
        self.log("warning", "order_by_times", words, facts)

    def file_uncertain(self, **facts: Fact) -> None:
        words = "taken for the file that was read before; if it is another that begins alike, its first records are missing"
        self.log("warning", "file_uncertain", words, facts)

    def losses_committed(self, **facts: Fact) -> None:
        self.log("info", "losses_committed", "losses that are not acknowledged", facts)

    def file_retired(self, **facts: Fact) -> None:
        self.log("info", "file_retired", "read to its end and closed", facts)

    def file_unreadable(self, **facts: Fact) -> None:
        self.log("warning", "file_unreadable", "cannot be read; trying again", facts)

    def source_unreachable(self, **facts: Fact) -> None:
        self.log("warning", "source_unreachable", "cannot be reached; trying again", facts)

    def file_readable(self, **facts: Fact) -> None:
        self.log("info", "file_readable", "no longer missing or unreadable", facts)

    def file_damaged(self, **facts: Fact) -> None:
        self.log("error", "file_damaged", "cannot be decoded to its end; everything before the damage was read", facts)

    def leading_nuls_skipped(self, **facts: Fact) -> None:
        self.log("warning", "leading_nuls_skipped", "skipped NULs at the start; the writer does not use O_APPEND", facts)

    def watcher_unavailable(self, **facts: Fact) -> None:
        which = "this folder" if facts["path"] else "any folder"
        self.log("warning", "watcher_unavailable", f"cannot watch {which}; only polling finds changes", facts)

    def checkpoint_recovered(self, **facts: Fact) -> None:
        self.log("error", "checkpoint_recovered", "the checkpoint could not be used; resumed from its predecessor", facts)

    def journal_followed(self, **facts: Fact) -> None:
        self.log("info", "journal_followed", "read again in the order of the lost checkpoint", facts)

    def journal_left(self, **facts: Fact) -> None:
        words = (
            "the log could not be read again in the order of the lost checkpoint; a sink that was sent other records will stop"
        )
        self.log("warning", "journal_left", words, facts)

    def state_migrated(self, *, path: str, kept_as: str, unknown: str) -> None:
        words = "state converted from version 1 to version 2"
        if not unknown:
            self.log("info", "state_migrated", words, {"path": path, "kept_as": kept_as})
            return
        words += "; some values are unknown: rebuild the state from the log: event-processor replay"
        self.log("warning", "state_migrated", words, {"path": path, "kept_as": kept_as, "unknown": unknown})

    def order_kept(self, *, by: str, implied_by: str) -> None:
        words = (
            f'windows now imply order.by = "{implied_by}", but this state was made with "{by}" and continues with it; '
            f'write order.by = "{by}" to keep that, or rebuild the state from the log: event-processor replay'
        )
        self.log("warning", "order_kept", words, {"by": by, "implied_by": implied_by})

    def orphan_removed(self, **facts: Fact) -> None:
        self.log("info", "orphan_removed", "removed a file that no checkpoint names", facts)

    def worker_started(self, **facts: Fact) -> None:
        self.log("info", "worker_started", "started a worker process", facts)

    def worker_unavailable(self, **facts: Fact) -> None:
        self.log("warning", "worker_unavailable", "could not start a worker process; decoding in the main process", facts)

    def worker_lost(self, **facts: Fact) -> None:
        self.log("warning", "worker_lost", "a worker process ended; its chunks are decoded in the main process", facts)

    def segments_merged(self, **facts: Fact) -> None:
        self.log("debug", "segments_merged", "merged segments of ids", facts)

    def order_idle_released(self, **facts: Fact) -> None:
        self.log("info", "order_idle_released", "order buffer flushed: the log was idle", facts)

    def sorted_released(self, **facts: Fact) -> None:
        self.log("debug", "sorted_released", "releasing sorted events", facts)

    def reloaded(self, *, changed: str) -> None:
        words = "configuration reloaded" if changed else "configuration reloaded; nothing changed"
        self.log("info", "reloaded", words, {"changed": changed} if changed else {})

    def reload_refused(self, **facts: Fact) -> None:
        self.log("error", "reload_refused", "reload refused; the present configuration stays in use", facts)

    def lane_waiting(self, **facts: Fact) -> None:
        self.log(
            "warning",
            "lane_waiting",
            "the service of a sink takes nothing now; its records wait, and one at a time is tried",
            facts,
        )

    def lane_stopped(self, **facts: Fact) -> None:
        self.log("error", "lane_stopped", "a sink is stopped until an operator repairs it; its records are kept", facts)

    def lane_flowing(self, **facts: Fact) -> None:
        self.log("info", "lane_flowing", "a sink takes records again", facts)

    def lane_paused(self, **facts: Fact) -> None:
        self.log("warning", "lane_paused", "a sink is paused; its records wait until it is resumed", facts)

    def lane_resumed(self, **facts: Fact) -> None:
        self.log("info", "lane_resumed", "a sink is resumed", facts)

    def lane_detached(self, **facts: Fact) -> None:
        words = "the outbox is full; from this record on, all are skipped at this sink until it is attached"
        self.log("error", "lane_detached", words, facts)

    def http_listening(self, **facts: Fact) -> None:
        self.log("info", "http_listening", "the HTTP server listens", facts)

    def http_unavailable(self, **facts: Fact) -> None:
        self.log(
            "error", "http_unavailable", "the HTTP server cannot listen; everything else goes on, and it is tried again", facts
        )

    def http_failed(self, **facts: Fact) -> None:
        self.log("error", "http_failed", "a request could not be answered", facts)

    def job_ended(self, *, outcome: str, **facts: Fact) -> None:
        self.log("warning" if outcome == "failed" else "info", "job_ended", "a job ended", {"outcome": outcome, **facts})

    def jobs_unavailable(self, **facts: Fact) -> None:
        self.log("error", "jobs_unavailable", "jobs wait: their files cannot be used; it is tried again", facts)

    def history_started_anew(self, **facts: Fact) -> None:
        words = "the figures of the past are kept anew; those before are gone"
        self.log("warning", "history_started_anew", words, facts)

    def history_unavailable(self, **facts: Fact) -> None:
        self.log("warning", "history_unavailable", "the figures of the past cannot be kept; trying again", facts)

    def intake_files_removed(self, **facts: Fact) -> None:
        words = "files of the intake were removed, as configured (intake.keep_days): what they held stays counted, and cannot be verified"
        self.log("info", "intake_files_removed", words, facts)

    def intake_files_kept(self, **facts: Fact) -> None:
        self.log("warning", "intake_files_kept", "old files of the intake cannot be removed; trying again", facts)

    def lane_failed(self, **facts: Fact) -> None:
        self.log("error", "lane_failed", "a sink is sent nothing more: its place in the outbox cannot be trusted", facts)

    def lane_rewound(self, **facts: Fact) -> None:
        words = "the database of a sink was restored from an older copy: what it does not have is written again"
        self.log("warning", "lane_rewound", words, facts)

    def snapshot_ahead(self, **facts: Fact) -> None:
        words = "an older state was restored: the table of a sink is written again when this state has read as far"
        self.log("warning", "snapshot_ahead", words, facts)

    def delivery_failed(self, **facts: Fact) -> None:
        words = "a record was refused for good; see 'event-processor dead-letters list --sink NAME'"
        self.log("warning", "delivery_failed", words, facts)


def _as_text(fact: Fact) -> str:
    """`fact` for a line of text. It is quoted if it is empty, or if it could look like several words."""
    text = str(fact).lower() if isinstance(fact, bool) else readable_path(str(fact))
    if not text or not text.isprintable() or not _NEEDS_QUOTES.isdisjoint(text):
        return json.dumps(text, ensure_ascii=not text.isprintable())
    return text
