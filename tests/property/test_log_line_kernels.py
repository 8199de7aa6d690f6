"""Lines of logs that the kernel reads, against the reader of single lines: any bytes, in any company."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.kernels.library import LIBRARY
from event_processor.kernels.log_lines import write_log_objects
from event_processor.model.event import Chunk
from event_processor.records import log_lines
from event_processor.records.json_lines.lines import cut_lines
from event_processor.records.log_lines import LogReader
from event_processor.records.objects import Objects

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no kernels")
LIMIT = 200
VALUES = {"combined": ["", "bytes", "path", "status"], "logfmt": ["", "ms", "a.b"], "ltsv": ["", "ms", '"a.b"']}

TOKENS = {
    "combined": [
        *(
            "203.0.113.9",
            "-",
            "frank",
            "[",
            "]",
            '"',
            " ",
            "  ",
            "\\",
            "\\x22",
            "é",
            "\t",
            "\x7f",
            "\xa0",
            "200",
            "0",
            "007",
            "2326",
        ),
        *(
            "[10/Oct/2026:13:55:36 +0200]",
            '"GET /a?b=1 HTTP/1.1"',
            '"-"',
            '""',
            '"GET /"',
            '"get / HTTP/1.1"',
            '"M-SEARCH * HTTP/1"',
        ),
        *('"Mozilla/5.0 (X11)"', "HTTP/2.0", "GET", "1234567890123456789"),
    ],
    "logfmt": [
        *(
            "a",
            "ms",
            "a.b",
            "=",
            " ",
            "  ",
            '"',
            "\\",
            "\\n",
            "x y",
            "1",
            "-1.50",
            "+1",
            "007",
            "-",
            "1e5",
            "é",
            "\t",
            "'",
            "ms=12",
        ),
        *('msg="slow query"', "level=info"),
    ],
    "ltsv": [
        "a",
        "ms",
        "a.b",
        ":",
        "\t",
        "\t\t",
        '"',
        "\\",
        " ",
        "1",
        "-0.0",
        "+1",
        "1.",
        ".5",
        "-",
        "é",
        "\x01",
        "ms:12",
        "host:::1",
    ],
}
WHOLE = {
    "combined": '{} - {} [10/Oct/2026:13:55:36 +0200] "{} HTTP/1.1" {} {} "{}" "{}"',
    "logfmt": 'a={} b="{}" ms={} {}= c{} d={} e={}',
    "ltsv": "a:{}\tb:{}\tms:{}\t{}:\tc{}:\td:{}\te:{}",
}


@contextmanager
def without_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_lines, "write_log_objects", lambda *_, **__: None)
        yield


def read(form: str, content: bytes, value: str) -> Objects:
    lines = cut_lines(content, at_file_start=True, record_bytes_max=1 << 20)
    return LogReader(form, "", value, record_bytes_max=LIMIT).read(Chunk("log", 1, 0, content, {}), lines)


def require_equal(form: str, content: bytes, value: str) -> None:
    found = read(form, content, value)
    with without_kernel():
        expected = read(form, content, value)
    assert found.content == expected.content
    assert (list(found.rows), found.blank_count) == (list(expected.rows), expected.blank_count)
    assert found.rejections == expected.rejections


def lines_of(form: str) -> st.SearchStrategy[str]:
    tokens = st.sampled_from(TOKENS[form])
    loose = st.lists(tokens, max_size=14).map("".join)
    spaced = st.lists(tokens, max_size=12).map(" ".join)
    plain = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=6)
    whole = st.tuples(*[tokens | plain] * 7).map(lambda parts: WHOLE[form].format(*parts))
    return loose | spaced | whole | whole


@pytest.mark.parametrize("form", TOKENS)
@given(data=st.data())
def test_the_kernel_writes_what_the_reader_of_single_lines_writes(form: str, data: st.DataObject) -> None:
    lines = data.draw(st.lists(lines_of(form), max_size=6))
    value = data.draw(st.sampled_from(VALUES[form]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    require_equal(form, end.join(lines).encode(errors="surrogatepass"), value)


@pytest.mark.parametrize("form", TOKENS)
@given(content=st.binary(max_size=60))
@example(b"")
@example(b"\n\n")
def test_any_bytes_are_read_alike(form: str, content: bytes) -> None:
    require_equal(form, content, "bytes")


@pytest.mark.parametrize(
    ("form", "line", "left"),
    [
        ("combined", '::1 - - [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.1" 200 - "-" "curl/8"', 0),
        ("combined", '::1 - me too [] "" - 5', 0),
        ("combined", '::1 - - [10/Oct/2026:13:55:36 +0200] "\\x16" 400 0 "-" "-"', 1),
        ("combined", r'::1 - - [x] "GET /\x22\\ HTTP/1.1" 400 0 "\"" "\x5Ca\y"', 0),
        ("logfmt", 'level=info msg="slow query" ms=12 ok path=C:\\x', 0),
        ("logfmt", 'level=info msg="a \\"b\\""', 1),
        ("logfmt", "a=1 a=2", 1),
        ("logfmt", " ".join(f"n{number}=" for number in range(64)), 0),
        ("logfmt", " ".join(f"n{number}=" for number in range(65)), 1),
        ("ltsv", 'host:::1\tua:"x"\\\tms:0.5\t', 0),
        ("ltsv", "ms:5e3", 1),
    ],
)
def test_ordinary_lines_are_read_by_the_kernel(form: str, line: str, left: int) -> None:
    content = line.encode()
    lines = cut_lines(content, at_file_start=True, record_bytes_max=LIMIT)
    written = write_log_objects(form, content, (lines.starts, lines.ends), value_names=(b"ms", b""), line_bytes_max=1 << 20)
    assert written is not None
    assert (written[1] == 0).sum() == left
    require_equal(form, content, "ms")


@pytest.mark.parametrize(
    ("form", "line"),
    [
        *(("combined", line) for line in (
            'a b  [x] "GET / HTTP/1.1" 200 5', 'a b c [x] "GET  HTTP/1.1" 200 5', 'a b c [x] "GET / HTTP/1.1" 099 5',
            'a b c [x] "GET / HTTP/1.1" 200 05', 'a b c [x] "GET / HTTP/" 200 5', 'a b c [x] "GET / HTTP/1.1 " 200 5',
            'a b c [x] "G1 /" 20 5', 'a b c [x] "" - -', 'a b c [x]"" - -', 'a b c [x] "" - - "-" "-" ', 'a b "c [x] "" - -', 'a b c[x] "" - -',
            ' b c [x] "" - -', 'a b c [x] "-" 200 1234567890123456789', 'a b c [x] "-" 200 5 "-"', 'a  c [x] "-" 200 5', 'a b c [x] "Get /" 2000 5',
            r'a\x41 b c [x] "-" 200 5', r'a b c [\x41] "-" 200 5', r'a b \x1f [x] "-" 200 5', r'a \" c [x] "-" 200 5',
            r'a b c\ [x] "-" 200 5', r'a b c [x] "\x2d" 200 5', r'a b c [x] "GET /\ HTTP/1.1" 200 5', r'a b c [x] "\" 200 5', r'a b c [x] "\n" 200 5',
            r'a b c [x] "\x6e\n" 200 5', r'a b c [x] "\xC3\xA9" 200 5', r'a b c [x] "\x7f\x2" 200 5 "\\" "\""', r'a b c [x] "GET /\x22\"\5c HTTP/1" 200 5',
            r'a b c [x] "-" 200 5 "\x1f" "-"', r'a b c [x] "-" 200 5 "-" "\x80"', r'a b c [x] "-" 200 5 "-" "\"', r'a "b\" c [x] "-" 200 5',
        )),
        *(("logfmt", line) for line in ("ms=007", "ms=-", "ms=", "ms", 'ms=" 5"', "ms=1.", "ms=-0", "ms=1234567890123456789", "a=1 a=1", " a ", "=1", 'a="x"y', 'a=x"y"')),
        *(("ltsv", line) for line in ("ms:007", "ms:-", "ms:", "ms: 5", "ms:-0.50", "a:1\ta:2", "a:1\t\tb:2", ":1", "a", "a:\t", "\ta:1")),
    ],
)  # fmt: skip
def test_lines_at_the_edge_of_a_form_are_read_alike(form: str, line: str) -> None:
    require_equal(form, line.encode(), "ms")


def test_the_longest_objects_fit_into_their_room() -> None:
    for form, line in (
        ("logfmt", " ".join(chr(code) for code in range(64, 126) if chr(code) not in '="')),
        ("logfmt", "\\ " * 1),
        ("logfmt", "\\" * 190),
        ("ltsv", "\\:" + '"' * 190),
        ("ltsv", "\t".join(f"{chr(code)}:" for code in range(64, 120))),
        ("combined", 'a - - [] "" - -'),
    ):
        require_equal(form, (line + "\n").encode() * 300, "")
