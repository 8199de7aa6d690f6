"""Which files of a path were read before, by content.

Owns: the fingerprints of the files that were read to their end (`retired`) or left out at the first start (`left_out`). They are
part of the position of the generation after them, so every checkpoint has them.
Always: bounded: the newest `RETIRED_MAX` and `LEFT_OUT_MAX`. `forgotten` says that there were more, or that an earlier version kept
none. `retired` depends only on the bytes of the log.
Never: looks at a name or a time, except to remember the answer about a file that has not changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from event_processor.connectors.files.content import Content, Opener, PlainContent, open_regular
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity, hash_of
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.paths import storage_failure
from event_processor.model.event import Json
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["LEFT_OUT_MAX", "LEFT_OUT_RANK", "RETIRED_MAX", "Knowledge", "KnownFiles"]

RETIRED_MAX: Final = 32
LEFT_OUT_MAX: Final = 32
LEFT_OUT_RANK: Final = -1
HASH_DIGITS: Final = 16
RAW: Final = "raw"
_ANSWERS_MAX: Final = 1000

_Comparison: TypeAlias = Literal["quick", "whole", "start"]
"""How a file is compared: as `ranks` says, with every byte of a compressed file, or whether it only begins like a known one."""


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """A whole file: its size, and the hashes of its first and last min(4096, size) bytes. `is_raw`: of the compressed bytes."""

    size_bytes: int
    head_hash: str
    tail_hash: str
    is_raw: bool = False

    @classmethod
    def parsed(cls, text: str) -> _Fingerprint:
        *raw, size, head_hash, tail_hash = text.split(":")
        return cls(int(size), head_hash, tail_hash, raw == [RAW])

    @property
    def sample_bytes(self) -> int:
        return min(SAMPLE_BYTES, self.size_bytes)

    def text(self) -> str:
        raw = f"{RAW}:" if self.is_raw else ""
        return f"{raw}{self.size_bytes}:{self.head_hash}:{self.tail_hash}"

    def has_head_of(self, head: bytes) -> bool:
        return len(head) >= self.sample_bytes and hash_of(head[: self.sample_bytes])[:HASH_DIGITS] == self.head_hash

    def is_at_start_of(self, content: Content) -> bool:
        """Whether `content`, which has this head, begins with this file. Raises `OSError`."""
        tail = content.read(self.sample_bytes, self.size_bytes - self.sample_bytes)
        return len(tail) == self.sample_bytes and hash_of(tail)[:HASH_DIGITS] == self.tail_hash

    def is_whole(self, content: Content) -> bool:
        """Whether `content` is this file, no more and no less. A compressed file is decoded to its end. Raises `OSError`."""
        return self.is_at_start_of(content) and not content.read(1, self.size_bytes)


def _fingerprint(content: Content, size_bytes: int, *, is_raw: bool) -> _Fingerprint:
    sample_bytes = min(SAMPLE_BYTES, size_bytes)
    head_hash = hash_of(content.read(sample_bytes, 0))[:HASH_DIGITS]
    tail_hash = hash_of(content.read(sample_bytes, size_bytes - sample_bytes))[:HASH_DIGITS]
    return _Fingerprint(size_bytes, head_hash, tail_hash, is_raw)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The fingerprints, oldest first, as texts."""

    retired: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    forgotten: bool = False

    @classmethod
    def of(cls, identity: FileIdentity) -> Knowledge:
        """The files before that of `identity`. If an earlier version wrote it, other files were read that it does not name."""
        is_of_earlier_version = bool(identity.offset) and not identity.prefix_hashes
        return cls(identity.retired, identity.left_out, identity.forgotten or is_of_earlier_version)

    def after(self, identity: FileIdentity) -> Knowledge:
        """The same after the file of `identity` was read to its end, as far as its offset."""
        if not identity.offset:
            return self
        heads = identity.head_hash[:HASH_DIGITS], identity.tail_hash[:HASH_DIGITS]
        retired = (*self.retired, _Fingerprint(identity.offset, *heads).text())
        is_full = len(retired) > RETIRED_MAX
        return replace(self, retired=retired[-RETIRED_MAX:], forgotten=self.forgotten or is_full)

    def fields(self) -> dict[str, Json]:
        """This knowledge as fields of a position; those without content are left out."""
        found: dict[str, Json] = {"retired": list(self.retired), "left_out": list(self.left_out), "forgotten": self.forgotten}
        return {key: value for key, value in found.items() if value}

    def described_in(self, identity: FileIdentity) -> FileIdentity:
        """`identity` with this knowledge, for the state."""
        return replace(identity, retired=self.retired, left_out=self.left_out, forgotten=self.forgotten)


class KnownFiles:
    """Recognises the files of a `Knowledge`. Remembers its answers about files that do not change."""

    def __init__(self, fs: FileSystem, open_content: Opener) -> None:
        self.knowledge = Knowledge()
        self._fs: Final = fs
        self._open_content: Final = open_content
        self._answers: Final[dict[tuple[object, ...], tuple[int, ...]]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every file that was read or left out is known, so that any other file is new."""
        return not self.knowledge.forgotten

    def forget(self) -> None:
        """Says that more was read or left out than is known."""
        self.knowledge = replace(self.knowledge, forgotten=True)

    def leave_out(self, candidates: Sequence[Candidate]) -> None:
        """Adds these files, oldest first: they are not read. A file that cannot be read now is not remembered."""
        fingerprints = [text for each in candidates if (text := self._whole(each))]
        left_out = (*self.knowledge.left_out, *fingerprints)
        is_full = len(left_out) > LEFT_OUT_MAX or len(fingerprints) < len(candidates)
        self.knowledge = replace(self.knowledge, left_out=left_out[-LEFT_OUT_MAX:], forgotten=self.knowledge.forgotten or is_full)

    def ranks(self, candidates: Sequence[Candidate], *, thorough: bool = False) -> Mapping[str, int]:
        """The known ones of `candidates` (oldest first) by path, with the order in which they were read.

        `LEFT_OUT_RANK` for all that were left out. If there are more files with one content than were read, the newer are new.
        Unless `thorough`, a compressed file is compared by its first 4,096 bytes alone: to decode all of it takes long. It is decoded
        if these bytes leave a choice between two known files, or between two candidates.
        """
        texts = [*self.knowledge.left_out, *self.knowledge.retired]
        total = Counter(texts)
        remaining = Counter(total)
        found = {each.path: self._places(each, texts, "whole" if thorough else "quick") for each in candidates} if texts else {}
        claims = Counter(text for places in found.values() for text in {texts[place] for place in places})
        paths: dict[str, list[str]] = {}
        for each in candidates if texts else ():
            places = found[each.path]
            claimed = {texts[place] for place in places}
            if not thorough and (len(claimed) > 1 or any(claims[text] > total[text] for text in claimed)):
                places = self._places(each, texts, "whole")
            place = next((place for place in reversed(places) if remaining[texts[place]]), None)
            if place is not None:
                remaining[texts[place]] -= 1
                paths.setdefault(texts[place], []).append(each.path)
        # Equal files are in the order in which they were read, and the first of them were removed first.
        ranked = {text: [place for place, each in enumerate(texts) if each == text][-len(paths[text]) :] for text in paths}
        return {path: self._rank(place) for text in paths for path, place in zip(paths[text], ranked[text], strict=True)}

    def ranks_of_grown(self, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """As `ranks`, for files that begin with a known one: bytes may have been added to a file that was read to its end."""
        texts = [*self.knowledge.left_out, *self.knowledge.retired]
        found = [(each.path, self._places(each, texts, "start")) for each in candidates] if texts else []
        return {path: self._rank(places[-1]) for path, places in found if places}

    def _rank(self, place: int) -> int:
        return max(LEFT_OUT_RANK, place - len(self.knowledge.left_out))

    def _places(self, candidate: Candidate, texts: Sequence[str], comparison: _Comparison) -> Sequence[int]:
        """The places in `texts` of the known files that `candidate` is, ascending."""
        if candidate.is_live:
            return ()
        status = candidate.status
        key = (candidate.path, comparison, status.device, status.inode, status.size_bytes, status.modified_ns, tuple(texts))
        if key not in self._answers:
            if len(self._answers) >= _ANSWERS_MAX:
                self._answers.clear()
            self._answers[key] = tuple(self._looked_up(candidate, texts, comparison))
        return self._answers[key]

    def _looked_up(self, candidate: Candidate, texts: Sequence[str], comparison: _Comparison) -> list[int]:
        raw = self._whole(candidate) if any(text.startswith(RAW) for text in texts) else ""
        content = self._opened(candidate.path)
        if content is None:
            return [place for place, text in enumerate(texts) if text == raw]
        try:
            with storage_call("read", candidate.path):
                head = content.read(SAMPLE_BYTES, 0)
                if not candidate.has_inode_of(content.status()):
                    return []
                return [
                    place
                    for place, text in enumerate(texts)
                    if text == raw or _is_known(_Fingerprint.parsed(text), content, head, comparison)
                ]
        finally:
            content.close()

    def _whole(self, candidate: Candidate) -> str:
        """The fingerprint of the whole file; of its compressed bytes if it is compressed. Empty if it cannot be read."""
        content = self._opened(candidate.path)
        is_raw = content is None or content.is_compressed
        if content is not None:
            content.close()
        try:
            plain = PlainContent(self._fs, open_regular(self._fs, candidate.path))
        except OSError as error:
            if failure := storage_failure("open", candidate.path, error):
                raise failure from error
            return ""
        try:
            with storage_call("read", candidate.path):
                status = plain.status()
                # If it was renamed since it was listed, another file is at its path now.
                is_it = candidate.has_inode_of(status)
                return _fingerprint(plain, status.size_bytes, is_raw=is_raw).text() if is_it else ""
        finally:
            plain.close()

    def _opened(self, path: str) -> Content | None:
        try:
            return self._open_content(path)
        except OSError as error:
            if failure := storage_failure("open", path, error):
                raise failure from error
            return None


def _is_known(fingerprint: _Fingerprint, content: Content, head: bytes, comparison: _Comparison) -> bool:
    if fingerprint.is_raw or not fingerprint.has_head_of(head):
        return False
    if comparison == "start":
        return not content.is_compressed and fingerprint.is_at_start_of(content)
    if content.is_compressed:
        is_enough = fingerprint.size_bytes > SAMPLE_BYTES and comparison == "quick"
        return is_enough or fingerprint.is_whole(content)
    return content.status().size_bytes == fingerprint.size_bytes and fingerprint.is_at_start_of(content)
