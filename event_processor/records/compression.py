"""Compressions: which one a file's first bytes show, and its decoder.

Owns: the magic numbers, and the decoders of gzip, bzip2, xz and Zstandard.
Always: memory is bounded, whatever the file holds. Everything before a damage is decoded; then `DamagedError` says what is wrong. Each
raw block gives at least one decoded block, perhaps empty, before the next one is taken. A compression that is not read is refused by name: its bytes are never read as lines.
Never: trusts a name. No other module imports `zstandard`, which the extra `zstd` installs.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

__all__ = ["MAGIC_BYTES", "DamagedError", "Decode", "RefusedContentError", "compression_of", "decoder_of"]

MAGIC_BYTES: Final = 16
"""The number of a file's first bytes that show its compression."""
ZSTD: Final = "Zstandard"
COMPRESSIONS: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"\x1f\xa0", "compress (.Z)"),
    (b"Rar!\x1a\x07", "rar"),
    (b"LZIP\x01", "lzip"),
    (b"\x89LZO\0", "lzop"),
    (b"\x5d\0\0", "lzma"),
    (b"\xff\x06\0\0sNaPpY", "snappy"),
)
_BZIP2_BLOCKS: Final = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")
_BZIP2_BLOCK_OFFSET: Final = 4
SKIPPABLE_FRAME: Final = b"\x2a\x4d\x18"
"""Bytes 2 to 4 of a frame without content, which may come first in Zstandard and lz4 files. The first byte is 0x50 to 0x5f."""
SKIPPABLE_HEADER_BYTES: Final = 8
SKIPPED_FRAMES_MAX: Final = 1000

OUTPUT_BLOCK_BYTES: Final = 1 << 20
ZSTD_FEED_BYTES: Final = 512
"""In Zstandard, a run of equal bytes takes 4 bytes and decodes to up to 128 KiB. So this much input decodes to 16 MiB at most."""
GZIP_WINDOW_BITS: Final = 31
XZ_MEMORY_BYTES_MAX: Final = 256 << 20
"""`xz -9` needs 65 MiB. A file that needs more than this is damaged, or made to exhaust the memory."""

Decode: TypeAlias = Callable[[Iterator[bytes]], Iterator[bytes]]


class DamagedError(Exception):
    """The compressed stream ends too early, or is invalid."""


class RefusedContentError(OSError):
    """The file is compressed in a way that is not read. `strerror` says how, `hint` what to do. Retrying does not help."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(errno.ENOTSUP, reason)
        self.reason: Final = reason
        self.hint: Final = hint


def compression_of(read: Callable[[int, int], bytes]) -> str:
    """The compression of the bytes that `read(size_bytes, offset)` returns; empty if they are plain.

    A frame without content in front, as some compressors write it for an index, is passed over.
    """
    offset = 0
    for _ in range(SKIPPED_FRAMES_MAX):
        start = read(MAGIC_BYTES, offset)
        if start[1:4] != SKIPPABLE_FRAME or start[0] & 0xF0 != 0x50:
            break
        offset += SKIPPABLE_HEADER_BYTES + int.from_bytes(start[4:SKIPPABLE_HEADER_BYTES], "little")
    name = next((name for magic, name in COMPRESSIONS if start.startswith(magic)), "")
    if name == "bzip2" and not start[_BZIP2_BLOCK_OFFSET:].startswith(_BZIP2_BLOCKS):
        # A text may begin with these letters.
        name = ""
    return name or (ZSTD if offset else "")


def decoder_of(compression: str) -> Decode:
    """The decoder of a compression that `compression_of` names. Raises `RefusedContentError` if it is not read."""
    if compression == "gzip":
        return _gzip_blocks
    if compression == "bzip2":
        return lambda raw_blocks: _stream_blocks(raw_blocks, bz2.BZ2Decompressor, "bzip2")
    if compression == "xz":
        return lambda raw_blocks: _stream_blocks(raw_blocks, _xz_decoder, "xz")
    if compression == ZSTD:
        return _zstd_decode()
    raise RefusedContentError(
        f"compressed with {compression}, which is not read", "unpack it, or compress it with gzip, bzip2, xz or Zstandard"
    )


class _Decompressor(Protocol):
    """What `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES_MAX)


def _stream_blocks(raw_blocks: Iterator[bytes], new: Callable[[], _Decompressor], name: str) -> Iterator[bytes]:
    """Decodes the streams of a file in sequence. NULs may follow each stream."""
    decoder = new()
    try:
        for raw_block in raw_blocks:
            raw = raw_block
            while True:
                if decoder.eof:
                    raw = raw.lstrip(b"\0")
                    if not raw:
                        yield b""
                        break
                    decoder = new()
                yield decoder.decompress(raw, OUTPUT_BLOCK_BYTES)
                raw = decoder.unused_data if decoder.eof else b""
                if not decoder.eof and decoder.needs_input:
                    break
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DamagedError(f"invalid {name}: {error}") from error
    if not decoder.eof:
        raise DamagedError(f"the {name} stream is cut short")


def _gzip_blocks(raw_blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decodes the members of a gzip file in sequence. NULs may follow each member (RFC 1952, and padded tapes)."""
    decoder = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        for raw_block in raw_blocks:
            raw = raw_block
            while raw:
                if decoder.eof:
                    raw = raw.lstrip(b"\0")
                    if not raw:
                        yield b""
                        break
                    decoder = zlib.decompressobj(GZIP_WINDOW_BITS)
                yield decoder.decompress(raw, OUTPUT_BLOCK_BYTES)
                raw = decoder.unconsumed_tail or decoder.unused_data
        while rest := decoder.decompress(b"", OUTPUT_BLOCK_BYTES):
            yield rest
    except zlib.error as error:
        raise DamagedError(f"invalid gzip: {error}") from error
    if not decoder.eof:
        raise DamagedError("the gzip stream is cut short")


def _zstd_decode() -> Decode:
    """The decoder of Zstandard frames. Raises `RefusedContentError` if the package is not installed."""
    try:
        import zstandard  # noqa: PLC0415 - an extra, needed only for such a file
    except ImportError as error:
        raise RefusedContentError(
            "compressed with Zstandard, but this installation cannot read it",
            'install the extra: pip install "event-processor[zstd]"',
        ) from error

    def blocks(raw_blocks: Iterator[bytes]) -> Iterator[bytes]:
        decoder = zstandard.ZstdDecompressor().decompressobj()
        try:
            for raw_block in raw_blocks:
                for start in range(0, len(raw_block), ZSTD_FEED_BYTES):
                    raw = raw_block[start : start + ZSTD_FEED_BYTES]
                    while raw:
                        if decoder.eof:
                            decoder = zstandard.ZstdDecompressor().decompressobj()
                        yield decoder.decompress(raw)
                        raw = decoder.unused_data if decoder.eof else b""
        except zstandard.ZstdError as error:
            raise DamagedError(f"invalid Zstandard: {error}") from error
        if not decoder.eof:
            raise DamagedError("the Zstandard stream is cut short")

    return blocks
