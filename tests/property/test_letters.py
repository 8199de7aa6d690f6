"""Dead letters as they are written: by the kernel or one after the other, they say what happened to which record."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.configuration.configuration import EventOptions
from event_processor.engine.dead_letters import letters_of
from event_processor.kernels import dead_letters as kernel
from event_processor.kernels.dead_letters import write_letters
from event_processor.kernels.library import LIBRARY
from event_processor.model.event import Chunk
from event_processor.model.rejections import Fault, Rejection, Rejections
from event_processor.records.json_lines.format import JsonLinesFormat

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
faults = st.builds(Fault, texts, texts, st.sampled_from(["decode", "validate", "totals"]))
odd = st.sampled_from(
    [b"\x00", b"\x1f", b"\x7f", b'"', b"\\", b"\t", b"\r", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"plain text of some length"]
)
not_utf8 = st.sampled_from([
    b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3",
    b"\xff", b"\xe2\x82A", b"\xf0\x9f\x98A",
])  # fmt: skip
records = st.lists(st.one_of(odd, texts.map(lambda text: text.replace("\n", "").encode())), max_size=5).map(b"".join)
any_bytes = st.lists(st.one_of(odd, not_utf8), max_size=5).map(b"".join)


def letter(chunk: Chunk, line: int, offset: int, record: bytes, rejection: Rejection) -> dict[str, Any]:
    """What one says, as the documentation has it."""
    place = {"source": chunk.source, "generation": chunk.generation, "line": line, "offset": offset}
    told = place | {"stage": rejection.stage, "reason": rejection.reason, "field": rejection.field}
    try:
        return told | {"record": record.decode()}
    except UnicodeDecodeError:
        return told | {"record_base64": base64.b64encode(record).decode()}


@given(
    st.lists(st.tuples(records, st.none() | faults), max_size=8),
    st.lists(any_bytes, max_size=1),
    texts,
    st.integers(0, 2**31),
    st.integers(0, 2**50),
)
@example([(b"x", Fault('"line":0,"offset":0', "f"))], [], '"line":0,"offset":0,"', 0, 0)
@example([(bytes(each for each in range(128) if each != 10), Fault("all"))], [], "s", 3, 10**15)
def test_letters_are_written_as_each_alone(
    lines: list[tuple[bytes, Fault | None]], others: list[bytes], source: str, line: int, offset: int
) -> None:
    lines = [*lines, *((each, Fault("other bytes")) for each in others)]
    content = b"".join(record + b"\n" for record, _ in lines)
    ends = np.cumsum([len(record) + 1 for record, _ in lines], dtype=np.int64) - 1
    starts = ends - np.array([len(record) for record, _ in lines], np.int64)
    chunk = Chunk(source, 2, offset, content, {})
    columns = JsonLinesFormat(EventOptions(), record_bytes_max=1 << 20, timestamps_used=False).decode(chunk)
    # A return at the end belongs to the line's end for others; here it is a byte like any.
    columns = replace(columns, starts=starts, ends=ends)
    found = [(row, fault) for row, (_, fault) in enumerate(lines) if fault is not None]
    rejections = Rejections.of([Rejection(row, fault.stage, fault.reason, fault.field) for row, fault in found])
    written = letters_of(chunk, columns, rejections, line)
    expected = [
        letter(chunk, line + 1 + each.row, offset + int(starts[each.row]), lines[each.row][0], each) for each in rejections
    ]
    assert [json.loads(each) for each in written.records()] == expected
    assert written.count == len(expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "write_letters", lambda *_: None)
        assert letters_of(chunk, columns, rejections, line).records() == written.records()


@pytest.mark.skipif(LIBRARY is None, reason="there are no kernels")
def test_the_kernel_knows_what_is_utf8() -> None:
    borders = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    tails = (b"", b"\x80", b"\xbf\x80", b"\x80\x41")
    found = [bytes([first]) for first in range(0x80, 0x100)]
    found += [bytes([first, second]) + tail for first in range(0x80, 0x100) for second in borders for tail in tails]
    for record in found:
        for content in (record, b"plain text, " + record, record + b" and what follows"):
            assert (written(content) is not None) == is_utf8(content), content
    for length in range(4):
        assert (written("😀".encode(), length) is not None) == (length == 0), "what goes on behind the record is not its own"


def written(content: bytes, length: int = -1) -> bytes | None:
    """A letter of one record, with nothing around it: all of the content, or so much."""
    zero = np.zeros(1, np.int64)
    ends = np.array([len(content) if length < 0 else length])
    return write_letters(content, (zero, ends), (zero, zero), zero, [b"", b"", b""])


def is_utf8(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True
