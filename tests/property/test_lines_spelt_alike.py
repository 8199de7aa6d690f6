"""Lines that are spelt as one before them are read as each of them is alone: that they stand together changes nothing but time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.lines import KERNELS
from event_processor.model.event import NESTING_DEPTH_MAX
from event_processor.records.json_lines.kernel_reader import WalkedReader
from event_processor.records.json_lines.lines import cut_lines

if KERNELS is None:
    pytest.skip("the kernels are not compiled", allow_module_level=True)

EVENT = EventOptions(id="id", category="k.name", value="value", timestamp="at")
READER = WalkedReader(KERNELS, EVENT, None)
BEHIND = b"\n" + b" " * 200
"""Near the end of the content a line is not compared with others."""
TEXTS = ['"a"', '"bb"', '""', '"a\\nb"', '"\\u0041"', '"é"', '"' + "x" * 15 + '"', '"' + "y" * 33 + '"', '"' + "c" * 257 + '"', '"' + "i" * 1025 + '"', '"\x01"', '"\\"']  # fmt: skip
NUMBERS = ["1", "-1", "0", "-0", "-0.0", "0.5", "344.38", "01", "1.", "1e3", "1E-2", "-", "12345678", "123456789012345", "1234567890123456", "12345678.5", "1.12345678", "123456789.1234567", "9" * 20, "1" + "0" * 70, "NaN", "Infinity"]  # fmt: skip
OTHERS = ["null", "true", "[]", "{}", '[1,{"id":"x"}]', "[" * 97 + "]" * 97, "[" * 98 + "]" * 98, "[" * 99 + "]" * 99, "", "nul", '{"value":1}', "[1,]"]  # fmt: skip
VALUES = [*TEXTS, *NUMBERS, *OTHERS]
USUAL = {"id": ['"a"', '"b1"', "7", "-12"], "k": ['"c"', '"dd"'], "value": ["1", "2.5", "-344.38"], "at": ['"t"', "12", "null"], "x": ['"m"', '"m\\"n"', "5", "[1]"]}  # fmt: skip

TIMESTAMP_MAX = 60

Members = list[tuple[str, str]]


def line_of(members: Members, style: tuple[str, str, str]) -> bytes:
    """An object of these members; the category stands within another one."""
    comma, colon, around = style
    parts = []
    for name, value in members:
        inner = f'{{"u":1{comma}"name"{colon}{value}}}' if name == "k" else value
        parts.append(f'"{name}"{colon}{inner}')
    return f"{around}{{{comma.join(parts)}}}{around}".encode("utf-8", "surrogatepass")


STYLES = [(",", ":", ""), (", ", ": ", ""), (" ,\r", "\t:", " "), (",", ":" + " " * 70, ""), (",", ":", "\r")]
styles = st.sampled_from(STYLES)
orders = st.permutations(["id", "k", "value", "at", "x"]).flatmap(
    lambda names: st.integers(3, 5).map(lambda count: names[:count])
)


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """Lines of a few spellings, in turns or one after the other, some of their values out of the ordinary."""
    spellings = draw(st.lists(st.tuples(orders, styles), min_size=1, max_size=6))
    lines = []
    for _ in range(draw(st.integers(1, 30))):
        names, style = draw(st.sampled_from(spellings))
        members = [(name, draw(st.sampled_from(USUAL[name]))) for name in names]
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(members) - 1))
            # A timestamp that is too long is none, and then it cannot be told what it was.
            members[at] = (
                members[at][0],
                draw(st.sampled_from([each for each in VALUES if members[at][0] != "at" or len(each) <= TIMESTAMP_MAX])),
            )
        line = line_of(members, style)
        if draw(st.integers(0, 9)) == 0:
            cut = draw(st.integers(0, len(line)))
            line = line[:cut] + draw(st.sampled_from([b"", b" ", b"}", b",", b'"', b"\r", b"\\"])) + line[cut + 1 :]
        lines.append(line + draw(st.sampled_from([b"", b"", b"\r"])))
    return lines


def read(content: bytes) -> tuple[dict[int, tuple[Any, ...]], Sequence[Any]]:
    """What each row holds, and what is wrong with others."""
    found, rejections = READER.read(cut_lines(content, at_file_start=False, record_bytes_max=1 << 20))
    if found is None:
        return {}, rejections
    assert found.ids is not None
    assert found.categories is not None
    assert found.values is not None
    assert found.timestamps is not None
    categories = [found.categories.names[code] for code in found.categories.codes.tolist()]
    values = [value.hex() for value in found.values.tolist()]
    rows = zip(found.ids.to_list(), categories, values, found.timestamps.to_list(), strict=True)
    return dict(zip(found.rows.tolist(), rows, strict=True)), rejections


def alone(lines: list[bytes]) -> tuple[dict[int, tuple[Any, ...]], Sequence[Any]]:
    """The same, each line read by itself; then those left out whose id or timestamp is of another kind than the first event's."""
    events: dict[int, tuple[Any, ...]] = {}
    rejections: list[Any] = []
    for row, line in enumerate(lines):
        found, wrong = read(line)
        events.update((row, event) for event in found.values())
        rejections += [(row, each.stage, each.reason, each.field) for each in wrong]
    first = next(iter(events.values()), None)
    return {row: event for row, event in events.items() if first and kinds(event) == kinds(first)}, rejections


def kinds(event: tuple[Any, ...]) -> tuple[bool, bool, bool]:
    """Of the id and of the timestamp: a text, or a number, or (the timestamp) none."""
    return isinstance(event[0], str), isinstance(event[3], str), event[3] is None


@settings(max_examples=400, deadline=None)
@given(logs())
@example([b'{"id":"a","k":{"name":"c"},"value":1}', b'{"id":"a","k":{"name":"c"},"value":1}}'])
@example([b'{"id":"a","k":{"name":"c"},"value":1}', b'{"id":"a","k":{"name":"c"},"value":1e5}'])
@example([b'{"id":"a","k":{"name":"c"},"value":1}\r\r', b'{"id":"a","k":{"name":"c"},"value":1}\r'])
@example([b'{"id":"a","k":{"name":"c"},"value":1,"at":null}', b'{"id":"a","k":{"name":"c"},"value":1,"at":"t"}'])
@example([b'{"id":"a","k":{"name":"c"},"value":1,"at":null}', b'{"id":"a","k":{"name":"c"},"value":1,"at":5}'])
@example([b'{"id":"a","k":{"name":"c"},"value":1,"x":5}', b'{"id":"a","k":{"name":"c"},"value":1,"x":5.}'])
@example([b'{"id":"a","k":{"name":"c"},"value":1}', b'{"id":"a\nb","k":{"name":"c"},"value":1}'])
def test_lines_that_stand_together_are_read_as_each_alone(lines: list[bytes]) -> None:
    lines = b"\n".join(lines).split(b"\n")
    events, rejections = read(b"\n".join(lines) + BEHIND)
    wanted = alone(lines)
    assert events == wanted[0]
    assert [(each.row, each.stage, each.reason, each.field) for each in rejections] == wanted[1]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("usual", [dict.fromkeys(USUAL), {"at": "null", "x": "[]"}, {"id": "7", "at": "12", "x": "5"}])
def test_each_value_in_each_place_behind_lines_of_the_same_spelling(style: tuple[str, str, str], usual: dict[str, str]) -> None:
    names = list(USUAL)
    members = [(name, usual.get(name) or USUAL[name][0]) for name in names]
    lines = []
    for name in names:
        for value in VALUES:
            if name == "at" and len(value) > TIMESTAMP_MAX:
                continue
            odd = [(other, value if other == name else usual_value) for other, usual_value in members]
            lines += [line_of(members, style), line_of(odd, style), line_of(members, style)]
    lines = b"\n".join(lines).split(b"\n")
    events, rejections = read(b"\n".join(lines) + BEHIND)
    assert (events, [(each.row, each.stage, each.reason, each.field) for each in rejections]) == alone(lines)


def test_more_spellings_than_are_remembered_and_lines_too_long_to_be() -> None:
    lines = []
    for number in range(600):
        names = [f'"f{number % 7}{place}":{place}' for place in range(number % 30)]
        fields = [*names, f'"id":"i{number}"', '"k":{"name":"c"}', f'"value":{number}.5']
        lines.append(("{" + ",".join(fields[number % 3 :] + fields[: number % 3]) + "}").encode())
    events, _ = read(b"\n".join(lines) + BEHIND)
    assert events == {row: (f"i{row}", "c", (row + 0.5).hex(), None) for row in range(600)}


@pytest.mark.parametrize("before", range(64))
@pytest.mark.parametrize("at", range(5))
def test_a_name_that_differs_in_one_letter_wherever_it_stands_between_two_values(before: int, at: int) -> None:
    usual = b'{"id":"a","k":{"name":"c"},' + b" " * before + b'"value":1}'
    other = usual.replace(b"value", b"value"[:at] + b"_" + b"value"[at + 1 :])
    events, rejections = read(b"\n".join([usual, other, usual]) + BEHIND)
    assert sorted(events) == [0, 2]
    assert [(each.row, each.field) for each in rejections] == [(1, "value")]


@pytest.mark.parametrize("arrays", range(96, 101))
def test_what_nests_too_deeply_within_an_object_that_leads_to_a_field(arrays: int) -> None:
    lines = [f'{{"id":"a","k":{{"u":{nested},"name":"c"}},"value":1}}'.encode() for nested in ("[]", "[" * arrays + "]" * arrays)]
    events, rejections = read(b"\n".join(lines) + BEHIND)
    assert (events, [(each.row, each.stage, each.reason, each.field) for each in rejections]) == alone(lines)
    assert (1 in events) == (arrays + 2 <= NESTING_DEPTH_MAX)
