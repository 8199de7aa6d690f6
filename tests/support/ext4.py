"""File systems made for one test: a real ext4 on a loop device that can lose its power, and a small tmpfs that can be full.

Owns: mounting and unmounting. Needs root.
Always: what was mounted is unmounted at the end of the `with`, and the loop device with it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Ext4Image", "ext4_image", "read_only", "tmpfs"]

EXT4_IOC_SHUTDOWN: Final = 0x8004587D
"""`_IOR('X', 125, __u32)`, from the kernel's fs/ext4/ext4.h."""
NO_LOG_FLUSH: Final = 2
"""The journal is not written out: what no fsync made durable is gone, as when the power fails."""
IMAGE_BYTES: Final = 64 << 20


class Ext4Image:
    """An ext4 in a file, mounted on a folder."""

    def __init__(self, image: Path, folder: Path) -> None:
        """Makes the file system and mounts it on `folder`, which is made where it is missing."""
        self._image = image
        self.folder = folder
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(image))
        folder.mkdir(exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Mounts it; the journal is replayed. The loop device is given back by the kernel at the unmount."""
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Unmounts it, where it is mounted."""
        if self.folder.is_mount():
            _run("umount", str(self.folder))

    def cut_power(self) -> None:
        """From here on every call fails, and what was not durable is lost. Mounted again it is as after the power came back."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


@contextmanager
def ext4_image(image: Path, folder: Path) -> Iterator[Ext4Image]:
    """A mounted ext4 that is unmounted in the end."""
    disk = Ext4Image(image, folder)
    try:
        yield disk
    finally:
        disk.unmount()


@contextmanager
def tmpfs(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of `size_bytes` in memory, mounted on `folder`."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


def resize(folder: Path, size_bytes: int) -> None:
    """Gives a tmpfs another size."""
    _run("mount", "-o", f"remount,size={size_bytes}", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The file system mounted on `folder` takes no writes, not even root's."""
    _run("mount", "-o", "remount,ro", str(folder))
    try:
        yield
    finally:
        _run("mount", "-o", "remount,rw", str(folder))


def _run(*command: str) -> None:
    """Runs a command. Raises `RuntimeError` with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
