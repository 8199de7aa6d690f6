"""Notices of changes: hints that there may be something to read.

Owns: the observer thread, and the folders it watches.
Always: polling backs it up. A folder that cannot be watched (no inotify left, a network file system, not there yet) is reported.
It costs only the poll interval.
Never: reads anything. Never wakes the loop for another file in the same folder, because our own state may be there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Final

from watchdog.events import (
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from event_processor.connectors.files.paths import PathPattern
from event_processor.model.contracts import Wakeup
from event_processor.model.errors import StorageError
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem

__all__ = ["FOLDERS_MAX", "LogWatcher"]

FOLDERS_MAX: Final = 64
"""Each watched folder costs two threads and an inotify instance; a user has 128 instances by default."""
LIMIT_ERRORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""No inotify instance or watch is left."""
STOP_TIMEOUT_S: Final = 5.0
CHANGES: Final = (FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent)
"""The events that change a file. We do not even ask the kernel for notices of opening and closing, which include our own."""


class LogWatcher:
    """Sets a wakeup when a file that matches a pattern is written, created, renamed or removed."""

    def __init__(self, patterns: Sequence[str], wakeup: Wakeup, *, fs: FileSystem, telemetry: Telemetry) -> None:
        """`patterns`: paths and globs, as `FileSourceOptions.patterns` returns them. Nothing is watched before `start`."""
        self._patterns: Final = [PathPattern(os.path.abspath(pattern)) for pattern in patterns]
        self._notice: Final = _Notice(self._patterns, wakeup.set)
        self._fs: Final = fs
        self._telemetry: Final = telemetry
        self._observer: BaseObserver | None = None
        self._reported: Final[set[tuple[str, str]]] = set()

    def start(self) -> None:
        """Watches what can be watched, and reports the rest. Never raises for a folder."""
        try:
            # The kernel may refuse even an empty observer: a user has only so many instances.
            observer = Observer()
            observer.start()
        except OSError as error:
            self._report("", _reason(error))
            return
        self._observer = observer
        self.attend()

    def rest(self) -> None:
        """See `Notices.rest`."""
        if self._observer and self._observer.is_alive():
            self._observer.unschedule_all()

    def attend(self) -> None:
        """See `Notices.attend`. Never raises for a folder."""
        if not self._observer or not self._observer.is_alive():
            return
        for number, folder in enumerate(self._folders()):
            if number >= FOLDERS_MAX:
                self._report(folder, f"more than {FOLDERS_MAX} folders")
                break
            try:
                self._observer.schedule(self._notice, folder, event_filter=list(CHANGES))
            except OSError as error:
                if error.errno in LIMIT_ERRORS:
                    # Every further folder would fail as well.
                    self._report("", _reason(error))
                    break
                self._report(folder, error.strerror or str(error))

    def stop(self) -> None:
        """Ends the thread. May be repeated."""
        if self._observer and self._observer.is_alive():
            self._observer.stop()
            self._observer.join(STOP_TIMEOUT_S)

    def _folders(self) -> list[str]:
        """The folders that exist or are named without a glob, each once."""
        folders: set[str] = set()
        for pattern in self._patterns:
            try:
                folders.update(pattern.folders(self._fs))
            except StorageError as error:
                self._report(pattern.pattern, error.message)
        return sorted(folders)

    def _report(self, path: str, reason: str) -> None:
        """Reports it once, however often it is retried."""
        if (path, reason) not in self._reported:
            self._reported.add((path, reason))
            self._telemetry.watcher_unavailable(path=path, reason=reason)


def _reason(error: OSError) -> str:
    words = str(error.args[-1] if error.args else error)
    return f"{words}; raise fs.inotify.max_user_instances or max_user_watches" if error.errno in LIMIT_ERRORS else words


class _Notice(FileSystemEventHandler):
    """Runs in the observer's thread. Sets the wakeup for files that match the patterns, and does nothing else."""

    def __init__(self, patterns: Sequence[PathPattern], wake: Callable[[], None]) -> None:
        self._patterns: Final = patterns
        self._wake: Final = wake

    def dispatch(self, event: FileSystemEvent) -> None:
        if not isinstance(event, CHANGES):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if any(pattern.matches(path) for pattern in self._patterns for path in paths):
            self._wake()
