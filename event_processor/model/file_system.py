"""The contract of the file system: the system calls that we use.

Owns: `FileSystem`. `storage/file_system.py` implements it with the operating system; tests implement failing disks.
Always: each method is one system call (`read_each`: one or two per piece) and does only what its name says.
Never: decides when to make a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from event_processor.model.columns import ByteArray, IntArray

__all__ = ["DIRECTORY_MODE", "FILE_MODE", "FileStatus", "FileSystem"]

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What the kernel knows about a file. Device and inode identify it for its whole life, even if its path changes."""

    device: int
    inode: int
    size_bytes: int
    is_directory: bool
    is_regular: bool
    modified_ns: int


class FileSystem(Protocol):
    """The calls that we make. Each blocks, raises `OSError` as the kernel does, and does only what its name says.

    `write` and `read` may do less than asked, and return how much. Content is durable only after `sync` of its descriptor. A name
    (new, linked, renamed, unlinked) is durable only after `sync_directory` of its folder.
    """

    @property
    def has_descriptors_of_the_system(self) -> bool:
        """Whether `open` returns descriptors of the operating system, so that a C kernel may read from them."""
        ...

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        """Returns a descriptor, closed on exec; `flags` as in `os.open`."""
        ...

    def close(self, descriptor: int) -> None:
        """Releases the descriptor. Makes nothing durable."""
        ...

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        """Reads at most `size_bytes` from `offset`; empty at the end of the file."""
        ...

    def read_into(self, descriptor: int, view: memoryview, offset: int) -> int:
        """As `read`, into `view`, at most its length, for callers with a thousand pieces at once. Returns the bytes read."""
        ...

    def read_each(self, descriptor: int, content: ByteArray, begins: IntArray, offsets: IntArray) -> int:
        """Reads piece i from offsets[i] into content[begins[i]:begins[i + 1]]. Returns the bytes read in all.

        `begins` (n + 1,), `offsets` (n,). The disk may work on all pieces at once.
        """
        ...

    def next_data(self, descriptor: int, offset: int) -> int:
        """The offset of the first byte from `offset` on that is not in a hole; the size of the file if there is none.

        `offset` itself if the file system does not know its holes.
        """
        ...

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Writes at the descriptor's position (with O_APPEND, the end). Returns the bytes written."""
        ...

    def write_at(self, descriptor: int, content: bytes, offset: int) -> int:
        """Writes at `offset`, whatever the descriptor's position (without O_APPEND). Returns the bytes written."""
        ...

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        """Cuts the file to `size_bytes`."""
        ...

    def begin_writing(self, descriptor: int) -> None:
        """Asks the disk to start writing, without waiting. A hint: makes nothing durable, reports no failure."""
        ...

    def sync(self, descriptor: int) -> None:
        """Makes content and size durable before it returns. Never repeat it after a failure."""
        ...

    def sync_directory(self, path: str) -> None:
        """Makes the names in the folder durable before it returns."""
        ...

    def status(self, path: str) -> FileStatus | None:
        """Status of the file at `path`, links followed; None if there is none."""
        ...

    def status_of(self, descriptor: int) -> FileStatus:
        """Status of an open file, even if it has lost its name."""
        ...

    def link_target(self, path: str) -> str | None:
        """What the symbolic link at `path` says; None if there is no link."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        ...

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        """Makes one folder. Its parent exists."""
        ...

    def link(self, path: str, new_path: str) -> None:
        """Adds a second name for a file; fails if `new_path` exists."""
        ...

    def rename(self, path: str, new_path: str) -> None:
        """Moves `path` to `new_path` atomically, and replaces a file there."""
        ...

    def unlink(self, path: str) -> None:
        """Removes the name."""
        ...

    def remove_directory(self, path: str) -> None:
        """Removes an empty folder."""
        ...

    def lock(self, descriptor: int) -> bool:
        """Takes the exclusive advisory lock of an open file without waiting; False if another process holds it."""
        ...
