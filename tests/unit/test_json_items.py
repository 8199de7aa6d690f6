"""Documents into lines: every item where Python's own parser finds it, whatever the blocks; and what is said where a document breaks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.records.json_documents import DocumentError, ItemCutter, item_path


def cut(blocks: Iterable[bytes], path: str) -> tuple[list[bytes], str]:
    """The lines, the last perhaps unfinished, and why it ended before its time."""
    cutter = ItemCutter(item_path(path))
    found: list[bytes] = []
    try:
        for block in blocks:
            found.extend(cutter.feed(block))
        found.extend(cutter.finish())
    except DocumentError as error:
        return b"".join(found).split(b"\n"), str(error)
    assert b"".join(found).endswith(b"\n") or not found
    return b"".join(found).split(b"\n")[:-1], ""


def in_blocks(document: bytes, sizes: list[int]) -> list[bytes]:
    """The document in blocks of these sizes, over and over."""
    blocks, place, turn = [], 0, 0
    while place < len(document):
        blocks.append(document[place : place + sizes[turn % len(sizes)]])
        place, turn = place + len(blocks[-1]), turn + 1
    return blocks


def items_of(document: Any, path: str) -> list[Any] | None:
    """The items by the definition: on the parsed document. None where no array stands there."""
    found = [document]
    *names, _ = path.split(".")
    for name in names:
        found = [each[name] for each in found if isinstance(each, dict) and name in each]
    arrays = [each for each in found if isinstance(each, list)]
    return [item for array in arrays for item in array] if arrays else None


TEXTS = st.text(st.sampled_from('a"\\[]{},:\n é\U0001f600'), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(-1e6, 1e6) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "value", 'b"]', "ü"]), inner, max_size=4),
    max_leaves=20,
)
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)
PATHS = st.sampled_from(["item", "value.item", "value.a.item"])


@given(JSON, PATHS, SIZES, st.sampled_from([None, 1]), st.booleans())
@example({"value": [{"a": "\\"}, 'x\\"', [], {}]}, "value.item", [1], None, True)
@example([1, 2], "item", [1], None, False)
def test_the_items_are_those_of_the_parsed_document(
    document: Any, path: str, sizes: list[int], indent: int | None, escaped: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=escaped).encode()
    lines, reason = cut(in_blocks(text, sizes), path)
    expected = items_of(document, path)
    if expected is None:
        assert "array" in reason
    else:
        assert reason == ""
    assert [json.loads(line) for line in lines if line] == (expected or [])


@given(st.lists(JSON, min_size=1, max_size=5), SIZES, st.data())
def test_what_comes_before_the_end_of_a_truncated_document_is_given_whole(
    items: list[Any], sizes: list[int], data: st.DataObject
) -> None:
    texts = [json.dumps(item).encode() for item in items]
    document = b'{"@odata.context":"x","value":[' + b",".join(texts) + b"]}"
    end = data.draw(st.integers(1, len(document) - 1))
    lines, reason = cut(in_blocks(document[:end], sizes), "value.item")
    assert reason == f"the document is cut short: it ends at byte {end}"
    ends = [len(b'{"@odata.context":"x","value":[' + b",".join(texts[: count + 1])) for count in range(len(texts))]
    whole = sum(place <= end for place in ends)
    assert lines[:-1][: whole - 1] == texts[: max(0, whole - 1)]
    assert all(text.startswith(line) for text, line in zip(texts, lines, strict=False))


@pytest.mark.parametrize(
    ("document", "lines", "reason"),
    [
        (b"[1,2}", [b"1", b"2"], "not JSON at byte 4: expected ',' or the closing bracket, not '}'"),
        (b"[1 2]", [b"1"], "not JSON at byte 3: expected ',' or the closing bracket, not '2'"),
        (b"[1,]", [b"1"], "not JSON at byte 3: expected a value, not ']'"),
        (b"[,1]", [], "not JSON at byte 1: expected a value or ']', not ','"),
        (b"[1]]", [b"1"], "not JSON at byte 3: expected a value, not ']'"),
        (b"[1]\n[2][3", [b"1", b"2", b"3"], "the document is cut short: it ends at byte 9"),
        (b"[1] {} [2]", [b"1"], "the document is not an array"),
        (b" \n", [], "the document is cut short: it ends at byte 2"),
        (b"{}", [], "the document is not an array"),
        (b"5", [], "the document is not an array"),
        (b"\xff\xfe[\x00", [], "the document is not an array"),
        (b'{"a":1,}', [], "not JSON at byte 7: expected a name in quotes, not '}'"),
        (b"{1:2}", [], "not JSON at byte 1: expected a name in quotes or '}', not '1'"),
        (b'{"a" 1}', [], "not JSON at byte 5: expected ':', not '1'"),
        (b"[{]", [b"{]"], "the document is cut short: it ends at byte 3"),
    ],
)
def test_where_a_document_breaks_is_said_and_what_came_before_is_given(document: bytes, lines: list[bytes], reason: str) -> None:
    for size in (1, 100):
        found, said = cut(in_blocks(document, [size]), "item")
        assert ([line for line in found if line], said) == (lines, reason)


def test_an_item_keeps_its_bytes_but_for_line_ends() -> None:
    lines, _ = cut([b'[ {"a" :\r\n1.10, "b":"\\n\xc3\xa9"} ,\n 00012e5]'], "item")
    assert lines == [b'{"a" :  1.10, "b":"\\n\xc3\xa9"}', b"00012e5"]


@pytest.mark.parametrize("size", [1, 100])
def test_a_line_end_within_a_string_stays_a_fault(size: int) -> None:
    lines, reason = cut(in_blocks(b'["a\nb",{"c":"d\re"},{"f":1},["g\\\n"]]', [size]), "item")
    assert (lines, reason) == ([b'"a\x01b"', b'{"c":"d\x01e"}', b'{"f":1}', b'["g\\\x01"]'], "")


def test_an_empty_file_has_no_items_and_no_fault() -> None:
    assert cut([], "item") == ([], "")


def test_a_byte_order_mark_is_skipped() -> None:
    assert cut([b"\xef\xbb\xbf[1]"], "item") == ([b"1"], "")


def test_an_item_without_end_is_passed_on_block_by_block() -> None:
    cutter = ItemCutter(("item",))
    assert b"".join(cutter.feed(b'["')) == b'"'
    for _ in range(100):
        assert b"".join(cutter.feed(b"x" * 1000)) == b"x" * 1000
    assert not cutter._kept


def test_a_name_without_end_is_a_fault_and_not_kept_for_ever() -> None:
    cutter = ItemCutter(("value", "item"))
    assert not list(cutter.feed(b'{"' + b"x" * 65_000))
    with pytest.raises(DocumentError, match="a name is longer than 65536 bytes"):
        list(cutter.feed(b"x" * 1000))


def test_what_does_not_lead_to_the_items_is_skipped_without_being_kept() -> None:
    document = b'{"value":{"x":[[1,{"value":[9]}]],"item":3,"other":"' + b"y" * 200_000 + b'"},"value":[7]}'
    assert cut(in_blocks(document, [1000]), "value.item") == ([b"3", b"7"], "")


def cut_own(blocks: Iterable[bytes], path: str) -> tuple[bytes, bytes]:
    """All lines, and the own bytes at the same places."""
    cutter = ItemCutter(item_path(path))
    lines, own = b"", b""
    for block in blocks:
        piece = b"".join(cutter.feed(block))
        lines, own = lines + piece, own + (cutter.take_own() or piece)
    piece = b"".join(cutter.finish())
    return lines + piece, own + (cutter.take_own() or piece)


@given(st.lists(JSON, max_size=5), SIZES, st.sampled_from([None, 1, "\t"]), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_the_own_bytes_of_the_items_stand_where_their_lines_do(
    items: list[Any], sizes: list[int], indent: int | str | None, line_end: str, is_broken: bool
) -> None:
    """Line ends between tokens are spaces; those inside strings, which no JSON has, are kept."""
    texts = [json.dumps(item, indent=indent).replace("\n", line_end) for item in items]
    spaced = [text.replace("\r", " ").replace("\n", " ") for text in texts]
    if is_broken:
        texts, spaced = ([text.replace('a"', 'a\r\nb\\\n"') for text in each] for each in (texts, spaced))
    document = (f'{{"value" : [ {f"{line_end}, ".join(texts)} ]{line_end}}}').encode()
    lines, own = cut_own(in_blocks(document, sizes), "value.item")
    assert len(lines) == len(own)
    place = 0
    for line, text in zip(lines.split(b"\n")[:-1], spaced, strict=True):
        assert own[place : place + len(line) + 1] == text.encode() + b"\n"
        place += len(line) + 1


@pytest.mark.parametrize("size", [1, 100])
def test_a_nul_belongs_to_the_item_that_it_is_before_or_within(size: int) -> None:
    lines, reason = cut(in_blocks(b'[1,\0{"a":1},2,\0\0,3\0, \0"x",[\0],\0]', [size]), "item")
    assert (lines, reason) == ([b"1", b'\0{"a":1}', b"2", b"\0\0", b"3\0", b'\0"x"', b"[\0]", b"\0"], "")


@pytest.mark.parametrize(
    ("document", "path", "reason"),
    [
        (b'{"value": null}', "value.item", 'there is no array at "value": it is null'),
        (b'{"value": {}}', "value.item", 'there is no array at "value": it is an object'),
        (b'{"value": false}', "value.item", 'there is no array at "value": it is false'),
        (b'{"value": -5}', "value.item", 'there is no array at "value": it is a number'),
        (b"{}", "value.item", 'there is no array at "value": the document has no "value"'),
        (b'{"other": []}', "value.item", 'there is no array at "value": the document has no "value"'),
        (b"[]", "value.item", 'there is no array at "value": the document is an array'),
        (b'"x"', "value.item", 'there is no array at "value": the document is a string'),
        (b'{"a": {"c": 1}}', "a.b.item", 'there is no array at "a.b": "a" has no "b"'),
        (b'{"a": null}', "a.b.item", 'there is no array at "a.b": "a" is null'),
        (b'{"a": null, "a": {"b": "x"}}', "a.b.item", 'there is no array at "a.b": it is a string'),
        (b'{"value": []}', "value.item.x.item", 'there is no array at "value.item.x": "value" is empty'),
        (b'{"value":\0[1]}', "value.item", "not JSON at byte 9: expected a value, not a NUL byte"),
        (b"[1] \0", "item", "not JSON at byte 4: expected a value, not a NUL byte"),
    ],
)
def test_the_reason_says_what_is_there_instead_of_the_items(document: bytes, path: str, reason: str) -> None:
    for size in (1, 100):
        assert cut(in_blocks(document, [size]), path)[1] == reason


@given(st.lists(JSON, max_size=5), SIZES, st.sampled_from([None, 1]), st.sampled_from(["\n", " ", "\r\n\n"]))
def test_whole_documents_may_follow_one_another(documents: list[Any], sizes: list[int], indent: int | None, between: str) -> None:
    text = between.join(json.dumps(each, indent=indent) for each in documents).encode()
    lines, reason = cut(in_blocks(text, sizes), "@document") if text else ([], "")
    assert reason == ""
    assert [json.loads(line) for line in lines if line] == documents


@pytest.mark.parametrize(
    ("document", "lines", "reason"),
    [
        (b'{"a":1}{"b":\n2}[]', [b'{"a":1}', b'{"b": 2}', b"[]"], ""),
        (b'{"a":1},{"b":2}', [b'{"a":1}'], "not JSON at byte 7: expected a value, not ','"),
        (b'{"a":1} {"b":', [b'{"a":1}', b'{"b":'], "the document is cut short: it ends at byte 13"),
        (b'{"a":1}]', [b'{"a":1}'], "not JSON at byte 7: expected a value, not ']'"),
    ],
)
def test_where_one_of_several_documents_breaks_is_said(document: bytes, lines: list[bytes], reason: str) -> None:
    for size in (1, 100):
        found, said = cut(in_blocks(document, [size]), "@document")
        assert ([line for line in found if line], said) == (lines, reason)
