"""Reports about one path for the operator: each once, until it changes.

Owns: which telemetry method reports what.
Never: decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from event_processor.connectors.files.following.generation import Generation, SourceContext
from event_processor.connectors.files.following.identity import FileIdentity
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.following.succession import Succession
from event_processor.connectors.files.paths import Found
from event_processor.model.losses import Loss

__all__ = ["LineageReports"]

DOUBTS_MAX: Final = 1000
"""After so many doubts they may be reported again."""


class LineageReports:
    """The reports about one path."""

    def __init__(self, context: SourceContext, path: str) -> None:
        self._context: Final = context
        self._telemetry: Final = context.telemetry
        self._source: Final = context.source
        self._path: Final = path
        self._obstacles: Final = context.obstacles
        self._is_glob: Final = context.options.is_glob
        self._is_damaged = False
        self._doubted: Final[set[tuple[str, str]]] = set()

    def looked(self, found: Found, *, is_open: bool) -> None:
        """Reports once that nothing can be read at the path; again only after a file there was open (`is_open`)."""
        if found.status is None and not (self._is_glob and not found.obstacle):
            # A glob's files come and go, so one that is gone is not missing.
            self.blocked(found.obstacle)
        elif is_open or found.status is None:
            self._obstacles.ended(self._path)

    def blocked(self, obstacle: str) -> None:
        """The file at the path cannot be read, or is missing (empty `obstacle`)."""
        self._obstacles.found(self._path, obstacle)

    def opened(self, current: Generation, offset: int) -> None:
        """The first bytes of a new or resumed generation are about to be read."""
        if current.tail.leading_nul_bytes:
            self._telemetry.leading_nuls_skipped(
                source=self._source, path=current.path, offset=0, size_bytes=current.tail.leading_nul_bytes
            )
        self._telemetry.file_opened(source=self._source, path=current.path, generation=current.number or 0, offset=offset)

    def left(self, current: Generation, found: Found) -> None:
        """The path no longer has the current file; `current.path` is its present path, if it has one."""
        if current.number is None:
            return
        if current.path != self._path:
            self.rotated(current.path, current.number)
        elif found.status is not None:
            self._telemetry.file_replaced(source=self._source, path=self._path, generation=current.number)

    def rotated(self, new_path: str, generation: int) -> None:
        """The file, or a copy of it, is read at `new_path`."""
        self._telemetry.file_rotated(source=self._source, path=self._path, new_path=new_path, generation=generation)

    def uncertain(self, path: str, doubt: str) -> None:
        """The file at `path` is taken for one that was read, but may be another because of `doubt`, if there is one: once for each."""
        if len(self._doubted) >= DOUBTS_MAX:
            self._doubted.clear()
        if doubt and (path, doubt) not in self._doubted:
            self._doubted.add((path, doubt))
            self._telemetry.file_uncertain(source=self._source, path=path, reason=doubt)

    def changed(self, generation: int, offset: int, size_bytes: int) -> None:
        """The file was cut or rewritten in place."""
        if size_bytes < offset:
            self._telemetry.file_truncated(
                source=self._source, path=self._path, generation=generation, offset=offset, size_bytes=size_bytes
            )
        else:
            self._telemetry.file_replaced(source=self._source, path=self._path, generation=generation)

    def not_found(self, generation: int, identity: FileIdentity, candidates: Sequence[Candidate]) -> None:
        """A file of the state was not found. It was changed in place if its inode is among `candidates`, else it is lost."""
        live = next((each for each in candidates if each.is_live and identity.has_inode_of(each.status)), None)
        if live:
            self.changed(generation, identity.offset, live.status.size_bytes)
        else:
            reason = "not found before it was read to its end"
            self.lost(self._path, generation=generation, offset=identity.offset, size_bytes=None, reason=reason)

    def lost(self, path: str, *, generation: int, offset: int, size_bytes: int | None, reason: str) -> None:
        """Bytes from `offset` on are lost: of `generation`, or (0) of a file that was never read. `size_bytes`: None if unknown.

        Every loss of a source of files is reported here. The state remembers it.
        """
        context = self._context
        rotated = context.options.rotated_pattern(self._path) or "its rotated files by their names"
        self._telemetry.file_lost(
            source=self._source,
            path=path,
            generation=generation,
            offset=offset,
            size_bytes=size_bytes,
            reason=reason,
            looked_at=f"{self._path}, {rotated}",
        )
        # A name need not be UTF-8, but the state is.
        label = context.options.label(path).encode(errors="backslashreplace").decode()
        context.losses.append(Loss(self._source, generation, label, offset, size_bytes, reason))

    def removed_unread(self, current: Generation) -> None:
        """A file that was never read is closed, though it has content."""
        size_bytes = max(0, current.status.size_bytes - current.tail.offset)
        self.lost(
            current.path,
            generation=current.number or 0,
            offset=current.tail.offset,
            size_bytes=size_bytes,
            reason="removed before it was read",
        )

    def refused(self, rotated: Candidate, reason: str) -> None:
        """This rotated file cannot be read by this installation, and is passed over. The obstacle was reported already."""
        self.lost(rotated.path, generation=0, offset=0, size_bytes=rotated.status.size_bytes, reason=reason)

    def cut(self, current: Generation) -> None:
        """The current file was cut or rewritten, and no copy was found of bytes that were seen but not read."""
        lost_bytes = current.seen_bytes - current.tail.offset
        if lost_bytes > 0 and not current.tail.content.is_compressed:
            self.lost(
                current.path,
                generation=current.number or 0,
                offset=current.tail.offset,
                size_bytes=lost_bytes,
                reason="cut or rewritten before it was read",
            )

    def left_out(self, rotated: Sequence[Candidate]) -> None:
        """These rotated files are not read at the first start."""
        for each in rotated:
            self._telemetry.file_left_out(source=self._source, path=each.path, size_bytes=each.status.size_bytes)

    def next_chosen(self, current: Generation | None, succession: Succession) -> None:
        """The next file was chosen, after `current` if that is still open."""
        generation = (current.number if current else None) or 0
        if succession.own:
            self.uncertain(succession.own.candidate.path, succession.own.doubt)
        for each in succession.passed_over:
            self.uncertain(each.path, "it is equal to a file that was read before, but its name is after the last one")
        if succession.by_times:
            paths = [each.path for each in (succession.step, *succession.newer) if isinstance(each, Candidate)]
            self._telemetry.order_by_times(source=self._source, path=self._path, files=", ".join(paths))
        for number in succession.missing:
            reason = "a rotated file of this number is missing"
            self.lost(f"{self._path} (rotation {number})", generation=generation, offset=0, size_bytes=None, reason=reason)

    def finished(self, current: Generation) -> None:
        """The current file was read to its end and closed."""
        if damage := current.tail.content.damage:
            reason = f"cannot be decoded to its end: {damage}"
            self.damaged(current)
            offset = current.tail.offset
            self.lost(current.path, generation=current.number or 0, offset=offset, size_bytes=None, reason=reason)
        if current.number is not None:
            self._telemetry.file_retired(
                source=self._source, path=current.path, generation=current.number, size_bytes=current.tail.offset
            )

    def arriving(self, current: Generation) -> None:
        """A compressed file changed, so an end that came too early may not be its end."""
        if self._is_damaged:
            self._is_damaged = False
            self._telemetry.file_readable(source=self._source, path=current.path)

    def damaged(self, current: Generation) -> None:
        """A compressed file ends too early."""
        if current.tail.content.damage:
            self._is_damaged = True
            self._telemetry.file_damaged(
                source=self._source,
                path=current.path,
                generation=current.number or 0,
                offset=current.tail.offset,
                reason=current.tail.content.damage,
            )
