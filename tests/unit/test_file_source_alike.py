"""Rotated files that begin alike, with a header or only a few bytes: each line of them is read once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.file_source import LogFolder, Reader

LOG = "events.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


def reader_of(folder: LogFolder, *, path: str = LOG, **options: Any) -> Reader:
    """A reader that has read and committed a header."""
    reader = Reader(folder, path, record_bytes_max=8192, **options)
    folder.append(LOG, b"header\n")
    assert reader.read()[-1] == b"header"
    reader.commit()
    return reader


def test_the_position_of_a_new_inode_comes_before_what_is_read_from_it(folder: LogFolder) -> None:
    reader = reader_of(folder)
    folder.copytruncate()
    assert reader.read_all() == []
    os.unlink(folder.path(f"{LOG}.1"))
    folder.rotate()
    folder.append(LOG, b"header\nnew\n")
    # The reader holds each chunk to the offset of the one before.
    assert reader.read_all() == [b"new"]
