"""What of a source cannot be read now, by path: reported when it begins, and when it ends.

Owns: the paths that are reported as missing or unreadable, and the look at folders and rotated files that nothing else would
notice.
Always: a report begins once and ends once, whatever is tried in between. An obstacle never stops the source.
Never: decides what is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from event_processor.connectors.files.content import Content, Opener
from event_processor.connectors.files.paths import look_at, storage_failure
from event_processor.model.contracts import Clock
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem

__all__ = ["Obstacles"]

MISSING: Final = ""
"""The obstacle of a path without a file."""
LOOK_S: Final = 5.0
"""Folders and reported paths are looked at again after this time: two system calls for each."""


class Obstacles:
    """The obstacles of one source. `OSError`s that must stop the process are not obstacles; the caller raises them."""

    def __init__(self, source: str, *, fs: FileSystem, clock: Clock, telemetry: Telemetry) -> None:
        self._source: Final = source
        self._fs: Final = fs
        self._clock: Final = clock
        self._telemetry: Final = telemetry
        self._present: Final[dict[str, str]] = {}
        self._own_looks: Final[set[str]] = set()
        """The reported paths that `look_again` must end; a lineage ends the others."""
        self._next_look_s = 0.0

    def found(self, path: str, obstacle: str) -> None:
        """`path` cannot be read because of `obstacle`, or has no file (empty). Reports it unless that was reported already."""
        if self._present.get(path) == obstacle:
            return
        self._present[path] = obstacle
        if obstacle:
            self._telemetry.file_unreadable(source=self._source, path=path, reason=obstacle)
        else:
            self._telemetry.file_missing(source=self._source, path=path)

    def ended(self, path: str) -> None:
        """`path` can be read, or nothing needs it any more. Reports it if an obstacle there was reported."""
        self._own_looks.discard(path)
        if self._present.pop(path, None) is not None:
            self._telemetry.file_readable(source=self._source, path=path)

    def reporting(self, open_content: Opener) -> Opener:
        """`open_content`, which also reports an existing file that cannot be opened, such as a rotated one."""

        def opened(path: str) -> Content:
            try:
                content = open_content(path)
            except FileNotFoundError:
                raise
            except OSError as error:
                if not storage_failure("open", path, error):
                    reason, hint = error.strerror or str(error), getattr(error, "hint", "")
                    self.found(path, f"{reason}; {hint}" if hint else reason)
                    self._own_looks.add(path)
                raise
            if path in self._own_looks:
                self.ended(path)
            return content

        return opened

    def look_again(self, folders: Iterable[str]) -> None:
        """Reports folders that cannot be listed, and ends reports whose reason is gone. Costs nothing if it was done just now."""
        if (now_s := self._clock.monotonic_s()) < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_S
        for path in {*folders, *self._own_looks}:
            obstacle = self._obstacle(path)
            if obstacle == MISSING:
                self.ended(path)
            else:
                self.found(path, obstacle)
                self._own_looks.add(path)

    def _obstacle(self, path: str) -> str:
        """Why an existing folder or file cannot be opened for reading; empty if it can, or if there is none."""
        try:
            status = self._fs.status(path)
            if status is None or not (status.is_directory or look_at(self._fs, path).status):
                return MISSING
            self._fs.close(self._fs.open(path, os.O_RDONLY))
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            if failure := storage_failure("open", path, error):
                raise failure from error
            return error.strerror or str(error)
        return MISSING
