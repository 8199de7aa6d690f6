"""The file system as we need it: the calls that may be asked of a disk.

Owns: `FileSystem`, which the operating system implements (`storage/file_system.py`), and a test's failing disk too.
Always: each method is one system call, `read_each` one or two a piece, and does nothing beyond its name. Never: nothing here decides when to call what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from event_processor.model.columns import ByteArray, IntArray

__all__ = ["DIRECTORY_MODE", "FILE_MODE", "FileStatus", "FileSystem"]

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What the kernel knows of a file: device and inode name it for its life, whatever its path; sizes in bytes."""

    device: int
    inode: int
    size_bytes: int
    is_directory: bool
    is_regular: bool
    modified_ns: int


class FileSystem(Protocol):
    """The calls we make. Each blocks, raises `OSError` as the kernel does, and does nothing beyond its name.

    `write` and `read` may do less than asked and say how much. Nothing is durable before `sync` of its descriptor, and no
    name (new, linked, renamed, unlinked) before `sync_directory` of its folder.
    """

    @property
    def has_descriptors_of_the_system(self) -> bool:
        """Whether a descriptor that `open` gives is the operating system's, so that a kernel may read from it."""
        ...

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        """A descriptor, closed on exec; `flags` are those of `os.open`."""
        ...

    def close(self, descriptor: int) -> None:
        """Gives the descriptor back. Makes nothing durable."""
        ...

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """At most `size_bytes` from `offset`; empty at the end of the file."""
        ...

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        """The same into `view`, at most what it holds, for who reads a thousand pieces at once; how many bytes were read."""
        ...

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        """`read_into` of piece i from offsets[i] into content[begins[i]:begins[i + 1]]; how many bytes were read in all.

        `begins` (n + 1,), `offsets` (n,). The disk may work on all of them at once.
        """
        ...

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Writes at the descriptor's place (the end, with O_APPEND); returns how many bytes were taken."""
        ...

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""
        ...

    def begin_writing(self, descriptor: int) -> None:
        """The disk begins with what was written, and nobody waits for it: a hint that makes nothing durable, and that fails unheard."""
        ...

    def sync(self, descriptor: int) -> None:
        """Content and size are durable when this returns. Never repeat it after a failure."""
        ...

    def sync_directory(self, path: str) -> None:
        """The names in the folder are durable when this returns."""
        ...

    def status(self, path: str) -> FileStatus | None:
        """Of what `path` names, links followed; None where there is nothing."""
        ...

    def status_of(self, descriptor: int) -> FileStatus:
        """Of an open file, whatever became of its name."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder."""
        ...

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        """Makes one folder, whose parent is there."""
        ...

    def link(self, path: str, new_path: str) -> None:
        """A second name for a file; fails where `new_path` is there."""
        ...

    def rename(self, path: str, new_path: str) -> None:
        """Puts `path` in the place of `new_path`, atomically."""
        ...

    def unlink(self, path: str) -> None:
        """Takes the name away."""
        ...

    def remove_directory(self, path: str) -> None:
        """Takes away a folder that is empty."""
        ...

    def lock(self, descriptor: int) -> bool:
        """Takes the exclusive advisory lock of an open file without waiting; False where somebody else has it."""
        ...
