"""Logs to test with: clean ones, hostile ones, and small ones for property tests.

Owns: what a log may hold that has ever been seen to trip a reader of JSON Lines.
Always: the same arguments give the same bytes.
Never: nothing here says what a record is worth; that is the independent model's part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from hypothesis import strategies as st

from event_processor.records.compression import compression_of

__all__ = ["adversarial_log", "clean_log", "log_lines", "logs", "odd_records"]

EventId: TypeAlias = str | int
CATEGORIES: Final = ("order", "refund", "payment", "shipping", "größe", "注文", "a\u2028b", "x\u0085y", "\U0001f600", "nul\x00")
VALUES: Final = (
    "1e16",
    "0.1",
    "-0.0",
    "-0",
    "5e-324",
    "1",
    "-1e16",
    "0.30000000000000004",
    "1E+2",
    "2.5",
    "1e-999",
    str(2**70 + 1),
)
LONG_LINE_BYTES: Final = 1_200_000
DISORDER: Final = 40
"""How many places an event of the hostile log may stand from where its id would put it."""


def clean_log(
    events: int, seed: int, *, categories: int = 7, duplicates_share: float = 0.02, disorder: int = 16, first_id: int = 0
) -> bytes:
    """So many records, all valid, of about 100 bytes: string ids, cents as values, some duplicates, order disturbed a little."""
    random = Random(seed)
    numbers = [first_id + n for n in range(events)]
    for n in range(1, events):
        if random.random() < duplicates_share:
            numbers[n] = numbers[random.randrange(n)]
    order = sorted(range(events), key=lambda n: n + random.uniform(0, disorder))
    lines = []
    for n in order:
        value = random.randrange(-10_000, 1_000_000) / 100
        moment = f"2026-01-{1 + n // 86_400 % 28:02}T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z"
        lines.append(_event(f"evt-{numbers[n]:012}", f"category-{random.randrange(categories)}", repr(value), timestamp=moment))
    return b"".join(line + b"\n" for line in lines)


def adversarial_log(lines: int, seed: int) -> bytes:
    """About so many lines, of which a quarter are odd, each kind of oddity there at least once; it ends in a torn line."""
    random = Random(seed)
    odd = odd_records(random)
    hostile = list(odd) + random.choices([one for one in odd if len(one) < 100_000], k=max(0, lines // 4 - len(odd)))
    hostile += [b"\xef\xbb\xbf" + _event("bom", "order", "1"), b"", b" \t\r", b"\r"] * (1 + lines // 1000)
    content = [_ordinary(random, n, lines) for n in range(max(0, lines - len(hostile)))]
    for record in hostile:
        content.insert(random.randint(0, len(content)), record)
    ended = [line + random.choice((b"\n", b"\n", b"\r\n")) for line in content]
    start = b"\xef\xbb\xbf" if random.random() < 0.5 else b""
    return start + b"".join(ended) + _event("torn", "order", "1")[: random.randint(1, 30)]


def _ordinary(random: Random, n: int, lines: int) -> bytes:
    """A valid event, near its place by id: integers in the first half, strings in the second, those of earlier digits among them."""
    number = random.randrange(lines) if random.random() < 0.1 else max(0, n + random.randint(-DISORDER, DISORDER))
    strings = (f"evt-{number:06}", f"evt-{number:06}", f"evt-{number:06}", str(number % (1 + lines // 2)), f"é{number}")
    event_id: EventId = number if n < lines // 2 else random.choice(strings)
    timestamp = random.choice(("2026-01-01T00:00:00Z", "2026-01-01 01:02:03.5", 1_700_000_000 + n, 0.5, None, "soon"))
    extra = random.choice(({}, {"note": "line\u2028separator"}, {"deep": {"er": [1, {"x": None}]}}, {"emoji": "\U0001f680"}))
    return _event(
        event_id,
        random.choice(CATEGORIES),
        random.choice(VALUES),
        ascii_only=random.random() < 0.5,
        timestamp=timestamp,
        **extra,
    )


def _event(event_id: object, category: object, value: str, *, ascii_only: bool = False, **others: object) -> bytes:
    """One record; `value` is the number as it is to be written, every other argument is encoded."""
    words = {"id": event_id, "category": category, **others}
    encoded = {key: json.dumps(word, ensure_ascii=ascii_only) for key, word in words.items()} | {"value": value}
    return ("{" + ", ".join(f'"{key}": {word}' for key, word in encoded.items()) + "}").encode("utf-8", "surrogatepass")


def odd_records(random: Random) -> Sequence[bytes]:
    """Records (and some that are two lines, or two records on one) of every kind that has tripped a reader; valid ones among them."""
    families: list[Callable[[Random], list[bytes]]] = [
        _broken_encodings,
        _odd_numbers,
        _odd_types,
        _odd_ids,
        _odd_categories,
        _odd_shapes,
        _odd_keys,
        _odd_whitespace,
        _deep_ones,
        _long_ones,
        _duplicates,
    ]
    return [record for family in families for record in family(random)]


def _broken_encodings(random: Random) -> list[bytes]:
    plain = _event(f"enc-{random.randrange(10**6)}", "order", "1", note="x")
    return [
        plain.replace(b'"x"', b'"\xff"'),
        plain.replace(b'"x"', b'"\xc3\x28"'),
        plain.replace(b'"x"', b'"\xed\xa0\x80"'),
        plain.replace(b'"x"', b'"\xf4\x90\x80\x80"'),
        plain.replace(b'"x"', b'"\xc0\xaf"'),
        plain.replace(b"enc", b"en\xfe"),
        plain.replace(b'"x"', b'"\\ud800"'),
        plain.replace(b'"x"', b'"\\udc00\\ud800"'),
        plain.replace(b"enc", b"\\uD83D"),
        plain.replace(b"order", b"\\udfff"),
        plain.replace(b"note", b"\\ud800"),
        plain.replace(b'"x"', b'["y", {"z": "\\ud834"}]'),
        plain.replace(b"enc", b"\\ud83d\\ude00"),
        plain.replace(b'"x"', b'"\\\\ud800"'),
        plain.replace(b'"x"', b'"\x00"'),
        plain.replace(b'"x"', b'"\\u0000"'),
        plain.replace(b'"x"', b'"\x1f"'),
        plain.replace(b'"x"', b'"\x7f"'),
        plain.replace(b'"x"', b'"\\x41"'),
        plain.replace(b'"x"', b'"\\u12"'),
        plain + b"\x00",
        b"\x00" * 50,
        b"\xff\xfe{\x00}\x00",
    ]


def _odd_numbers(random: Random) -> list[bytes]:
    digits = "".join(random.choices("123456789", k=400))
    written = ["NaN", "-NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "-1e999", digits, f"-{digits}", f"0.{digits}"]
    written += [f"{digits}e-400", f"1{'0' * 288}", str(2**960), str(2**959), "1e288", "1e290", "1.7976931348623157e308"]
    written += ["01", "-", "+1", ".5", "5.", "1e", "1e+", "0x10", "1_000", "1,5", "--1", "1 2", "\u0661", "1" + "0" * 5000]
    written += [
        "9007199254740993",
        "0.1",
        "1e16",
        "-0.0",
        "-0",
        "0e5",
        "5e-324",
        "2e-324",
        "4.35",
        "123456789012345678901234567890",
    ]
    return [_event(f"num-{random.randrange(10**6)}-{n}", "order", number) for n, number in enumerate(written)]


def _odd_types(random: Random) -> list[bytes]:
    written = ['"5"', '"1e3"', '""', "true", "false", "null", "[]", "[1]", "{}", '{"v": 1}']
    records = [_event(f"type-{random.randrange(10**6)}-{n}", "order", value) for n, value in enumerate(written)]
    ids: tuple[object, ...] = (True, False, None, 1.0, 1e300, [], ["a"], {}, {"a": 1})
    records += [_event(event_id, "order", "1") for event_id in ids]
    categories: tuple[object, ...] = (True, None, 5, 0.5, [], {"a": 1})
    records += [_event("category-type", category, "1") for category in categories]
    return [*records, b'{"id": 1e2, "category": "order", "value": 1}', b'{"id": -0, "category": "order", "value": 1}']


def _odd_ids(random: Random) -> list[bytes]:
    number = random.randrange(10**9)
    ids: list[EventId] = [number, str(number), f"{number} ", f"0{number}", -number, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1]
    ids += [
        10**30,
        "",
        " ",
        "x" * 1024,
        "x" * 1025,
        "é" * 1024,
        "\U0001f600" * 1024,
        "\U0001f600" * 1025,
        "a",
        "a\x00",
        "A",
        "\uffff",
    ]
    escaped = [b'{"id": "\\u0041", "category": "order", "value": 1}', b'{"\\u0069d": "B", "category": "order", "value": 1}']
    return [*(_event(one, "order", "1") for one in ids), *escaped, _event("B", "order", "1"), _event("\\u0041", "order", "1")]


def _odd_categories(random: Random) -> list[bytes]:
    names = ("", " ", "x" * 256, "x" * 257, "é" * 256, "\U0001f600" * 257, "order ", "Order", "null", "\x00", "\\", '"')
    return [_event(f"cat-{random.randrange(10**6)}-{n}", name, "1") for n, name in enumerate(names)]


def _odd_shapes(random: Random) -> list[bytes]:
    one, two = (_event(f"shape-{random.randrange(10**6)}-{n}", "order", "1") for n in range(2))
    middle = one.index(b", ")
    return [
        one[:middle] + b",\n" + one[middle + 1 :],
        one[:middle] + b"\r" + one[middle:],
        one + two,
        one + b" " + two,
        one + b"," + two,
        b"[" + one + b"]",
        b"[" + one + b"," + two + b"]",
        *(b"{}", b"[]", b"5", b"-1.5", b'"text"', b"true", b"null", b"{", b"}", b"{}{}", b"[}", b"'", b"#", b"nonsense"),
        *(one[:-1], one[:-2], one[1:], one[:middle], one[:-1] + b",}", one[:-1] + b"]", b"{," + one[1:], one + b"x"),
        one.replace(b'"', b"'"),
        one.replace(b": ", b" "),
        one.replace(b"}", b", // comment\t}"),
        b"{" + one + b"}",
        b'{"a": ' + one + b"}",
    ]


def _odd_keys(random: Random) -> list[bytes]:
    name = f"key-{random.randrange(10**6)}".encode()
    good = b'"id": "' + name + b'", "category": "order", "value": 1'
    return [
        b"{" + good + b', "value": 2}',
        b"{" + good + b', "value": "2"}',
        b'{"value": "2", ' + good + b"}",
        b'{"id": 5, "category": 5, ' + good + b"}",
        b"{" + good + b', "id": null}',
        b"{" + good + b', "other": "\\ud800", "other": "fine"}',
        b"{" + good + b', "": 1, "": 2, "id ": 3}',
        b'{"ID": 1, "category": "order", "value": 1}',
        b'{"category": "order", "value": 1}',
        b'{"id": "k", "value": 1}',
        b'{"id": "k", "category": "order"}',
        b"{" + good + b", 1: 2}",
    ]


def _odd_whitespace(random: Random) -> list[bytes]:
    record = _event(f"space-{random.randrange(10**6)}", "order", "1")
    blanks = [b"", b" ", b"\t", b"\r", b" \t \r\r", b"   "]
    not_blank = [b"\x0b", b"\x0c", b"\xc2\xa0", b"\xc2\x85", b"\xe2\x80\xa8", b"\x00", b"\xef\xbb\xbf", b"\x1a"]
    around = [b" \t" + record + b"\t ", record + b"\r\r", b"\r" + record, b"\x0c" + record, record + b"\xc2\x85"]
    return [*blanks, *not_blank, *around, record.replace(b": ", b" \t:\t "), record.replace(b" ", b"\xc2\xa0")]


def _deep_ones(random: Random) -> list[bytes]:
    records = []
    for levels in (99, 100, 101, 5000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            core = "" if opening == "[" else "0"
            inner = opening * (levels - 1) + core + closing * (levels - 1)
            records.append(
                f'{{"id": "deep-{random.randrange(10**6)}", "category": "order", "value": 1, "deep": {inner}}}'.encode()
            )
    in_a_string = _event(f"deep-{random.randrange(10**6)}", "order", "1", note='[{"' * 300)
    unclosed = b'{"id": "deep", "category": "order", "value": 1, "deep": ' + b"[" * 3000
    side_by_side = _event(f"deep-{random.randrange(10**6)}", "order", "1", wide=[[] for _ in range(300)])
    return [*records, in_a_string, unclosed, side_by_side]


def _long_ones(random: Random) -> list[bytes]:
    """One line over the usual limit of 1 MiB, and one far below it that is still longer than a small batch."""
    too_long = _event(f"long-{random.randrange(10**6)}", "order", "1", padding="x" * LONG_LINE_BYTES)
    return [too_long, _event(f"long-{random.randrange(10**6)}", "order", "1", padding="é" * 20_000)]


def _duplicates(random: Random) -> list[bytes]:
    event_id = f"dup-{random.randrange(10**6)}"
    first = _event(event_id, "order", "1")
    rejected_first = _event(f"{event_id}-r", "order", '"1"')
    return [first, first, _event(event_id, "refund", "2"), rejected_first, _event(f"{event_id}-r", "order", "1")]


def log_lines(lines_max: int = 30) -> st.SearchStrategy[list[bytes]]:
    """Lines without their ends: ordinary events over few ids and categories, and odd records that are not too long."""
    ids = st.one_of(st.integers(-3, 12), st.integers(0, 12).map(str), st.sampled_from(["A", "A1", "A10", "A2", "é", "x\u2028"]))
    values = st.one_of(st.sampled_from(VALUES), st.floats(-1e15, 1e15).map(repr), st.integers(-9, 9).map(str))
    times = st.sampled_from([None, 0, 1.5, "2026-01-01T00:00:00Z", "2026-01-01 00:00:00.25", "2025-12-31T23:59:59+01:00", "no"])
    ordinary = st.builds(_event, ids, st.sampled_from(CATEGORIES), values, ascii_only=st.booleans(), timestamp=times)
    small = [record for record in odd_records(Random(0)) if len(record) < 20_000 and b"\n" not in record]
    odd = st.one_of(st.sampled_from(small), st.binary(max_size=12).filter(lambda content: b"\n" not in content))
    return st.lists(st.one_of(ordinary, ordinary, ordinary, odd), max_size=lines_max)


COMPRESSED: Final = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")


def of_records(log: bytes) -> bytes:
    """A log that is nothing but records: NULs at its head tell of a log cut by its writer, some other bytes of a compressed file."""
    log = log.lstrip(b"\x00")
    return b"\n" + log if log.startswith(COMPRESSED) else log


@st.composite
def logs(draw: st.DrawFn, lines_max: int = 30) -> bytes:
    """A whole small log: lines with either end, and sometimes a torn one at the end."""
    lines = draw(log_lines(lines_max))
    content = b"".join(line + draw(st.sampled_from([b"\n", b"\r\n"])) for line in lines)
    return content + draw(st.sampled_from([b"", b'{"id": 1', b" ", b'{"id": "last", "category": "order", "value": 1}']))


def is_plain(log: bytes) -> bool:
    """Whether no compression begins like this log: such a file is unpacked, or refused by name."""
    return not compression_of(lambda size_bytes, offset: log[offset : offset + size_bytes])
