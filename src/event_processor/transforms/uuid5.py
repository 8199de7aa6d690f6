"""UUIDs of version 5, many at once.

Always: each is what `uuid.uuid5` gives (RFC 9562, 5.5), as a JSON string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

__all__ = ["uuid5_strings"]

_DIGITS: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_FORM: Final = np.frombuffer(b'"00000000-0000-0000-0000-000000000000"', np.uint8)
_DIGIT_PLACES: Final = np.flatnonzero(ord("0") == _FORM)
_UUID_BYTES: Final = 16
_VERSION_BYTE, _VERSION, _VARIANT_BYTE, _VARIANT = 6, 0x50, 8, 0x80


def uuid5_strings(namespace: bytes, names: Sequence[bytes]) -> list[bytes]:
    """For each name in UTF-8 its UUID in the namespace, of 16 bytes."""
    new = hashlib.sha1  # what the version prescribes, and no secret hangs on it
    digests = b"".join([new(namespace + name).digest() for name in names])
    if not digests:
        return []
    numbers = np.frombuffer(digests, np.uint8).reshape(len(names), -1)[:, :_UUID_BYTES].copy()
    numbers[:, _VERSION_BYTE] = numbers[:, _VERSION_BYTE] & 0x0F | _VERSION
    numbers[:, _VARIANT_BYTE] = numbers[:, _VARIANT_BYTE] & 0x3F | _VARIANT
    strings = np.tile(_FORM, (len(names), 1))
    strings[:, _DIGIT_PLACES] = _DIGITS[numbers].reshape(len(names), -1)
    content, width = strings.tobytes(), len(_FORM)
    return [content[begin : begin + width] for begin in range(0, len(content), width)]
