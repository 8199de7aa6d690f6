"""The options of a source of type file, and the names of its files in the state.

Owns: the keys of `[sources.NAME]` with `type = "file"`, and the rules between them; the options of a one-shot run's inputs (named
files, standard input).
Always: `label` and `path_of` are inverses. A label starts where the written path starts, so a moved folder keeps its state.
Never: opens a file.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.following.names import NameShape
from event_processor.model.event import Json
from event_processor.model.globs import are_apart, is_matched, may_share_names
from event_processor.model.options import SharedInput
from event_processor.records.source_format import SourceFormat

__all__ = ["STANDARD_INPUT", "FileSourceOptions", "InputFilesOptions", "OwnLogOptions", "StandardInputOptions"]

BYTES_MARK: Final = "bytes:"
"""A name in the state that is not UTF-8, or that begins like this, begins so; then bytes are escaped."""
NAME_PLACEHOLDER: Final = "{name}"


class FileSourceOptions(SourceFormat):
    """A log file, or a glob of log files. Each is followed through its rotations."""

    names_decide: ClassVar[bool] = False
    """Whether the names of rotated files certainly are in their order, so that no content must be compared: several may be equal."""
    type: Literal["file"] = "file"
    path: ConfiguredPath
    """The file, or a glob (`*`, `?`, `[…]`; no `**`). A relative path starts from the configuration's folder."""
    start: Literal["beginning", "oldest", "end"] = "beginning"
    """Where to start at the very first start. "beginning": the file at the path. "oldest": its rotated files too, oldest first.
    "end": the present content is never counted. Files that appear later are always read whole."""
    rotated: ConfiguredPath | None = Field(default=None, examples=["events/events.jsonl.*"])
    """A glob for the rotated files. By default they are recognised by their names: the log's name with a number, a date or a
    timestamp, plain or compressed. If `path` is a glob, it must contain `{name}`, the name of the file before its rotation."""
    retire_ms: int = Field(default=5000, ge=0, le=86_400_000)
    """A rotated file is finished after it has not grown for this time. What is written to it later is not seen."""
    files_concurrent_max: int = Field(default=0, ge=0, le=1_000_000, examples=[16])
    """How many files with unread input take turns. The others wait until one of these is read to its end or has no input for now.
    0 = all of them. For many compressed files or JSON documents: each file being read holds a batch and its decoder in memory."""

    @model_validator(mode="after")
    def _globs_are_sound(self) -> Self:
        if "**" in self.path:
            raise ValueError('"**" is not supported in path: name each level')
        if self.is_glob and self.rotated is not None and NAME_PLACEHOLDER not in self.rotated:
            raise ValueError(
                'rotated must contain "{name}" if path is a glob, or rotated files could not be matched to their paths'
            )
        return self

    @property
    def is_glob(self) -> bool:
        """Whether `path` is a glob, which may match any number of files."""
        return glob.has_magic(self.path)

    def identity(self) -> Mapping[str, Json]:
        return {
            "type": self.type,
            "path": self.path.written,
            "start": self.start,
            "record_bytes_max": self.record_bytes_max,
            **self.format_identity(),
        }

    def patterns(self) -> Sequence[str]:
        if self.rotated is not None:
            return [self.path, self.rotated.replace(NAME_PLACEHOLDER, "*")]
        return [self.path, (self.path if self.is_glob else glob.escape(self.path)) + ".*"]

    def shared_input(self, first: FileSourceOptions) -> SharedInput | None:
        """Two paths of one file, or a path that is a rotated file of the other source's."""
        path, other = _normal(self.path), _normal(first.path)
        if not are_apart(path, other):
            if is_matched(path, other) or is_matched(other, path):
                return SharedInput("path", "a different path", "this file")
            if may_share_names(path, other):
                return SharedInput("path", "a different path", "a file whose name both globs match", is_certain=False)
        if first._rotates(path) or self._rotates(other):
            return SharedInput("path", "a different path", "a rotated file", is_certain=False)
        return None

    def _rotates(self, path: str) -> bool:
        """Whether a rotated file of this source may have a name that `path`, perhaps a glob, matches."""
        if self.rotated is not None:
            return may_share_names(_normal(self.rotated.replace(NAME_PLACEHOLDER, "*")), path)
        own = _normal(self.path)
        if glob.has_magic(path):
            return may_share_names(f"{own}.*", path)
        folder, name = os.path.split(own)
        other_folder, other = os.path.split(path)
        return folder == other_folder and NameShape(name, numbers_infix=True).order_of(other) is not None

    def rotated_pattern(self, path: str) -> str:
        """The glob of the rotated files of the file at `path`; empty if their names decide (`following/names.py`)."""
        if self.rotated is None:
            return ""
        return self.rotated.replace(NAME_PLACEHOLDER, glob.escape(os.path.basename(path)))

    def label(self, path: str) -> str:
        """The name of `path` in the state: relative to the folder from which the written path starts.

        A name that is not UTF-8 is escaped, and marked by `bytes:`.
        """
        base = self._base()
        # A configured path is more than a string, but the state must get only a string.
        label = str(path[len(base) :] if base and path.startswith(base) else path)
        try:
            label.encode()
        except UnicodeEncodeError:
            return BYTES_MARK + _escaped(label)
        return BYTES_MARK + _escaped(label) if label.startswith(BYTES_MARK) else label

    def path_of(self, label: str) -> str:
        """The path for `label`."""
        if label.startswith(BYTES_MARK):
            label = _unescaped(label.removeprefix(BYTES_MARK))
        return label if os.path.isabs(label) else self._base() + label

    def _base(self) -> str:
        """The part of `path` before the written path; empty if it is unknown, or if the written path is absolute."""
        written = os.path.normpath(self.path.written)
        if os.path.isabs(written) or not self.path.endswith("/" + written):
            return ""
        return self.path[: -len(written)]


@lru_cache(maxsize=4096)
def _normal(path: str) -> str:
    return os.path.normpath(path)


def _escaped(path: str) -> str:
    """`path` with a backslash doubled, and each byte that is not UTF-8 as a backslash, `x` and two digits."""
    return os.fsencode(path.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")


def _unescaped(escaped: str) -> str:
    parts = re.split(r"\\(\\|x[0-9a-f]{2})", escaped)
    texts = [os.fsencode(text) if index % 2 == 0 else _byte(text) for index, text in enumerate(parts)]
    return os.fsdecode(b"".join(texts))


def _byte(escape: str) -> bytes:
    return b"\\" if escape == "\\" else bytes.fromhex(escape[1:])


STANDARD_INPUT: Final = "standard input"
_PLACE_KEYS: Final = frozenset({"path", "start"})
"""The keys that an input replaces by its own."""


class OwnLogOptions(FileSourceOptions):
    """A log to which only this program appends. It sets full files aside, under names that ascend."""

    names_decide: ClassVar[bool] = True


class InputFilesOptions(FileSourceOptions):
    """Finished files, read one after the other in this order."""

    files: tuple[str, ...]
    """The paths as they were named."""
    sizes_bytes: tuple[int, ...]
    """The size of each on disk when the run was requested: a file that has grown since is another input."""
    arriving: str = ""
    """If the only file is still written: the file that says how much of it counts. Its size is then the announced one. Otherwise empty."""

    @classmethod
    def of(cls, template: FileSourceOptions, files: Sequence[str], sizes_bytes: Sequence[int]) -> Self:
        """`files`, with records in the form of `template`. The paths are literal: nothing in them is a glob."""
        return cls.model_validate({**_copied(template), "files": tuple(files), "sizes_bytes": tuple(sizes_bytes)})

    def identity(self) -> Mapping[str, Json]:
        named = enumerate(zip(self.files, self.sizes_bytes, strict=True), start=1)
        return {
            **_identity_of_format(super().identity()),
            "type": "input files",
            **{f"file_{number}": f"{self.label(path)} ({size_bytes} bytes)" for number, (path, size_bytes) in named},
        }

    def label(self, path: str) -> str:
        """The path as it was named, for the state. A byte that is not UTF-8 is escaped."""
        return path.encode(errors="backslashreplace").decode()

    def patterns(self) -> Sequence[str]:
        return [os.path.abspath(path) for path in (*self.files, self.arriving) if path]


class StandardInputOptions(FileSourceOptions):
    """Input from a descriptor, read once."""

    descriptor: int = 0
    peeked: bytes = b""
    """The first bytes, which were already read from it."""

    @classmethod
    def of(cls, template: FileSourceOptions, descriptor: int = 0, peeked: bytes = b"") -> Self:
        """Standard input, with records in the form of `template`."""
        return cls.model_validate({**_copied(template), "descriptor": descriptor, "peeked": peeked})

    def identity(self) -> Mapping[str, Json]:
        return {**_identity_of_format(super().identity()), "type": STANDARD_INPUT}

    def patterns(self) -> Sequence[str]:
        return []


def _copied(template: FileSourceOptions) -> dict[str, object]:
    """All keys except the path, which is replaced by a path that names nothing."""
    copied: dict[str, object] = {key: getattr(template, key) for key in FileSourceOptions.model_fields}
    return {**copied, "path": ConfiguredPath("input"), "rotated": None}


def _identity_of_format(identity: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in identity.items() if key not in _PLACE_KEYS}
