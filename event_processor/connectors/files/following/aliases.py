"""Names within a glob that are one file: links, and files that were renamed while they are read.

Owns: which new path of a glob is a file that is read under another name.
Always: such a file is read once, and reported once. A name is looked at again after it got another file.
Never: opens a file that another path has open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from event_processor.connectors.files.following.generation import SourceContext
from event_processor.connectors.files.following.path import Lineage
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.paths import look_at
from event_processor.storage.durable import FileStatus

__all__ = ["Aliases"]

COMPARED_MAX: Final = 256
"""With more paths whose past is known, a file that was read under another name before a restart is not recognised."""


class Aliases:
    """The second names of the files of one glob."""

    def __init__(self, context: SourceContext) -> None:
        self._context: Final = context
        self._names: Final[dict[str, tuple[int, int]]] = {}

    def without(self, paths: Sequence[str], lineages: Sequence[Lineage]) -> list[str]:
        """The `paths` that are files of their own; the others are read as files of `lineages`, or of an earlier path.

        Raises `StorageError`.
        """
        if not paths:
            # A thousand idle paths are looked at often.
            return []
        read = {inode: lineage.path for lineage in lineages if (inode := lineage.inode) is not None}
        with_past = [lineage for lineage in lineages if lineage.has_past][:COMPARED_MAX]
        own: list[str] = []
        for path in paths:
            status = look_at(self._context.fs, path).status
            if status is None:
                own.append(path)
                continue
            inode = (status.device, status.inode)
            if self._names.get(path) == inode:
                continue
            other = read.get(inode) or self._read_before(path, status, with_past)
            if other is None:
                self._names.pop(path, None)
                read[inode] = path
                own.append(path)
                continue
            self._names[path] = inode
            self._context.telemetry.file_twice(source=self._context.source, path=path, same_as=other)
        return own

    def _read_before(self, path: str, status: FileStatus, lineages: Sequence[Lineage]) -> str | None:
        candidate = Candidate(path, status, is_live=False)
        return next((lineage.path for lineage in lineages if lineage.has_read(candidate)), None)
