"""Compressions: recognised by their first bytes, decoded in bounded memory, or refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from event_processor.connectors.files.content import CompressedContent, open_content
from event_processor.records.compression import RefusedContentError, compression_of
from event_processor.storage.durable import OperatingSystem
from support.left_open import close_after_test

TEXT = b"".join(b'{"id": %d}\n' % number for number in range(5000))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def decoded(path: Path, content: bytes) -> CompressedContent:
    path.write_bytes(content)
    opened = open_content(OperatingSystem(), str(path))
    close_after_test(opened.close)
    assert isinstance(opened, CompressedContent)
    return opened


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("padding", [b"", bytes(8)])
def test_streams_one_after_the_other_are_one_file(tmp_path: Path, name: str, padding: bytes) -> None:
    packed = COMPRESS[name](TEXT[:1000]) + padding + COMPRESS[name](TEXT[1000:]) + padding
    content = decoded(tmp_path / "x", packed)
    assert content.read(len(TEXT) + 1, 0) == TEXT
    assert content.damage == ""


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("cut_bytes", [1, 20])
def test_a_stream_cut_short_gives_what_decodes_and_says_so(tmp_path: Path, name: str, cut_bytes: int) -> None:
    content = decoded(tmp_path / "x", COMPRESS[name](TEXT)[:-cut_bytes])
    assert TEXT.startswith(content.read(len(TEXT) + 1, 0))
    assert content.damage == f"the {name} stream is cut short"


@pytest.mark.parametrize("name", ["bzip2", "xz"])
def test_a_damaged_stream_says_so(tmp_path: Path, name: str) -> None:
    packed = bytearray(COMPRESS[name](TEXT))
    packed[len(packed) // 2] ^= 0xFF
    content = decoded(tmp_path / "x", bytes(packed))
    content.read(len(TEXT) + 1, 0)
    assert content.damage.startswith(f"invalid {name}")


def test_a_frame_without_content_may_come_first(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    frame = struct.pack("<II", 0x184D2A50, 100) + b"x" * 100
    packed = frame + frame + zstandard.ZstdCompressor().compress(TEXT) + frame
    content = decoded(tmp_path / "x", packed)
    assert content.read(len(TEXT) + 1, 0) == TEXT
    assert content.damage == ""


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"PK\x03\x04" + bytes(30), "zip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7z"),
        (b"\x04\x22\x4d\x18" + bytes(30), "lz4"),
        (struct.pack("<II", 0x184D2A5F, 3) + b"abc\x04\x22\x4d\x18", "lz4"),
        (b"\x1f\x9d\x90" + bytes(30), "compress (.Z)"),
        (lzma.compress(TEXT, lzma.FORMAT_ALONE), "lzma"),
    ],
)
def test_any_other_compression_is_refused_by_name(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "x").write_bytes(start)
    with pytest.raises(RefusedContentError) as raised:
        open_content(OperatingSystem(), str(tmp_path / "x"))
    assert name in raised.value.reason
    assert "gzip, bzip2, xz or Zstandard" in raised.value.hint


@pytest.mark.parametrize("text", [b"BZh is a text\n", b"BZ", b"PK\n", b"", b"P*M\n", b'{"id": 1}\n', b"P"])
def test_text_is_not_taken_for_a_compression(text: bytes) -> None:
    assert compression_of(lambda size_bytes, offset: text[offset : offset + size_bytes]) == ""


def test_decoding_shows_progress(tmp_path: Path) -> None:
    """To find a place in a large compressed file again takes long, and the watchdog must be fed meanwhile."""
    (tmp_path / "x").write_bytes(gzip.compress(os.urandom(300_000)))
    calls: list[None] = []
    content = open_content(OperatingSystem(), str(tmp_path / "x"), progressed=lambda: calls.append(None))
    close_after_test(content.close)
    content.read(1, 299_999)
    assert len(calls) >= 4
