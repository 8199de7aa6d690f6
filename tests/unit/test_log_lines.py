"""Lines of logs into objects: web servers, logfmt, LTSV, expressions; by hand."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.event import Chunk
from event_processor.records.json_lines.lines import cut_lines
from event_processor.records.log_lines import LogReader
from event_processor.records.objects import Objects


def read(name: str, content: str | bytes, *, pattern: str = "", value: str = "", limit: int = 1000) -> Objects:
    encoded = content.encode() if isinstance(content, str) else content
    lines = cut_lines(encoded, at_file_start=True, record_bytes_max=limit)
    return LogReader(name, pattern, value, record_bytes_max=limit).read(Chunk("a", 1, 0, encoded, {}), lines)


def only(name: str, line: str, *, pattern: str = "", value: str = "") -> dict[str, object]:
    found: dict[str, object] = json.loads(read(name, line, pattern=pattern, value=value).content)
    return found


COMBINED = '1.2.3.4 - - [10/Oct/2026:13:55:36 +0200] "{}" 200 12 "-" "{}"'


def test_a_line_of_a_web_server_has_its_eleven_fields() -> None:
    line = '::1 id frank m [10/Oct/2026:13:55:36 +0200] "GET /a?b=%20 HTTP/1.0" 301 007 "http://x/" "A \\"b\\" \\\\ \\x22c"'
    assert only("combined", line) == {
        "remote_addr": "::1", "ident": "id", "user": "frank m", "timestamp": "10/Oct/2026:13:55:36 +0200", "method": "GET",
        "path": "/a?b=%20", "protocol": "HTTP/1.0", "status": 301, "bytes": 7, "referer": "http://x/", "user_agent": 'A "b" \\ "c',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_line", "method", "path"),
    [
        ("GET /", "GET", "/"),
        ("", None, None),
        ("-", None, None),
        ("\\x16\\x03", None, "\x16\x03"),
        ("M-SEARCH * HTTP/1.1", "M-SEARCH", "*"),
    ],
)
def test_a_request_without_a_method_is_a_path_as_a_whole(request_line: str, method: str | None, path: str | None) -> None:
    found = only("combined", COMBINED.format(request_line, "x"))
    assert (found["method"], found["path"]) == (method, path)


def test_escaped_bytes_are_characters_of_utf_8_or_of_one_byte_each() -> None:
    assert only("combined", COMBINED.format("GET /", "caf\\xC3\\xA9"))["user_agent"] == "café"
    assert only("combined", COMBINED.format("GET /", "caf\\xE9"))["user_agent"] == "café"
    assert only("combined", COMBINED.format("GET /", "é \\x41"))["user_agent"] == "é A"


def test_the_common_form_lacks_two_fields() -> None:
    found = only("combined", '1.2.3.4 - - [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.0" 304 -')
    assert (found["status"], found["bytes"], found["referer"], found["user_agent"]) == (304, None, None, None)


def test_logfmt_has_names_values_and_names_alone() -> None:
    line = 'at=info  msg="a \\"b\\" \\u00e9\\n" empty= flag ms=12.50 url=http://x/?a=b'
    assert only("logfmt", line, value="ms") == {
        "at": "info", "msg": 'a "b" é\n', "empty": "", "flag": True, "ms": 12.5, "url": "http://x/?a=b",
    }  # fmt: skip
    assert b'"ms":12.50' in read("logfmt", line, value="ms").content


def test_ltsv_has_labels() -> None:
    assert only("ltsv", "time:10:00\thost:::1\tsize:-\t", value="size") == {"time": "10:00", "host": "::1", "size": None}


def test_the_named_groups_of_an_expression_are_fields() -> None:
    pattern = r"(?P<level>[A-Z]+)(?: (?P<code>\d+))? (?:.*)"
    assert only("regex", "WARN 7 x", pattern=pattern, value="code") == {"level": "WARN", "code": 7}
    assert only("regex", "WARN x", pattern=pattern) == {"level": "WARN", "code": None}


def test_each_line_has_its_own_outcome() -> None:
    found = read("ltsv", b"a:1\n \t\r\nx\n\xff:1\n" + b"l:" + b"x" * 60 + b"\nb:2", limit=50)
    assert (list(found.rows), found.blank_count) == ([0, 5], 1)
    assert [(each.row, each.stage, each.reason) for each in found.rejections] == [
        (2, "decode", "is not LTSV: a field without a label: 'x'"),
        (3, "decode", "is not utf-8 (byte 0)"),
        (4, "read", "record over the size limit (record_bytes_max)"),
    ]
    assert read("logfmt", 'a=1 "b').rejections[0].reason == "is not logfmt (character 5)"
    assert read("combined", "x").rejections[0].reason == "is not a line of the combined log format"
    assert read("regex", "ax", pattern="(?P<a>a)").rejections[0].reason == "does not match format_pattern"


@pytest.mark.parametrize(
    "keys",
    [
        {"format": "regex"},
        {"format": "regex", "format_pattern": "("},
        {"format": "regex", "format_pattern": "(a)"},
        {"format": "ltsv", "format_pattern": "(?P<a>a)"},
    ],
)
def test_an_expression_with_named_groups_belongs_to_regex(keys: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"format_pattern|expression"):
        FileSourceOptions.model_validate({"path": ConfiguredPath("log"), **keys})


def test_the_expression_is_part_of_what_a_state_depends_on() -> None:
    options = FileSourceOptions.model_validate({"path": ConfiguredPath("log"), "format": "regex", "format_pattern": "(?P<a>a)"})
    assert options.format_identity() == {"format": "regex", "format_pattern": "(?P<a>a)"}
    plain = FileSourceOptions.model_validate({"path": ConfiguredPath("log"), "format": "combined"})
    assert plain.format_identity() == {"format": "combined"}


def test_only_spaces_tabs_and_carriage_returns_are_blank() -> None:
    objects = read("ltsv", "\n \t\r\n\x0b\n\x0c\na:1\n")
    assert (objects.blank_count, list(objects.rows), [each.row for each in objects.rejections]) == (2, [4], [2, 3])
