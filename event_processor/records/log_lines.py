"""Lines of logs that are not JSON: of web servers, logfmt, LTSV, and lines in an expression of your own.

Owns: how a line becomes an object, and the reasons for rejections of lines.
Always: a line is judged alone. A text keeps its characters. Only the field of `event.value`, and status and bytes of a web server, become
numbers, with their digits. Most lines are read by a kernel, which writes the same bytes; the others, one by one.
Never: guesses a format from a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from event_processor.columns.number_texts import json_number
from event_processor.kernels.log_lines import write_log_objects
from event_processor.model.columns import IntArray
from event_processor.model.contracts import Rejection
from event_processor.model.event import Chunk
from event_processor.model.field_names import name_keys
from event_processor.records.json_lines.lines import BLANK_BYTES, Lines
from event_processor.records.objects import Objects

__all__ = ["LogReader", "pattern_fault"]

_STAGE: Final = "decode"
_ENCODER: Final = msgspec.json.Encoder()
_Fields = dict[str, object]
_Parse = Callable[[str], "_Fields | str"]
"""The fields of a line, or why it has none."""

_TEXT: Final = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
"""The inside of quotes, with escapes. Written so that a run of plain characters is one step."""
_COMBINED: Final = re.compile(
    r"(\S++) (\S++) ([^\[]+) \[([^\]]*+)\] "
    rf'"({_TEXT})" ([0-9]{{3}}|-) ([0-9]{{1,18}}|-)(?: "({_TEXT})" "({_TEXT})")?'
)
_REQUEST: Final = re.compile(r"([A-Z][A-Z_-]*) (\S+)(?: (HTTP/[0-9.]+))?")
_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v"}
_LOGFMT: Final = re.compile(r'([^\s="]+)(?:=(?:"(' + _TEXT + r')"|([^\s"]*)))?(?:\s+|$)')
_LOGFMT_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_MISSING: Final = "-"
_KERNEL_FORMS: Final = ("combined", "logfmt", "ltsv")
_COMBINED_TEXTS: Final = frozenset(
    ("remote_addr", "ident", "user", "timestamp", "method", "path", "protocol", "referer", "user_agent")
)


class LogReader:
    """The `ObjectReader` of lines of a log."""

    def __init__(self, name: str, pattern: str, value: str, *, record_bytes_max: int) -> None:
        """`name`: one of the formats of lines of logs. `pattern`: of "regex"; `pattern_fault` is empty. `value`: the field with numbers, dotted; or empty."""
        self._record_bytes_max: Final = record_bytes_max
        parsers: dict[str, _Parse] = {"combined": _combined, "logfmt": _logfmt, "ltsv": _ltsv}
        self._parse: Final = _by_pattern(re.compile(pattern)) if name == "regex" else parsers[name]
        self._value_names: Final = frozenset({value, ".".join(name_keys(value))} if value else ())
        # In a combined line, the kernel makes no number of a text.
        is_text = name == "combined" and self._value_names & _COMBINED_TEXTS
        self._kernel_form: Final = name if name in _KERNEL_FORMS and not is_text else ""

    def read(self, _chunk: Chunk, lines: Lines) -> Objects:
        first, second, *_ = *(name.encode() for name in self._value_names), b"", b""
        written = self._kernel_form and write_log_objects(
            self._kernel_form,
            lines.content,
            (lines.starts, lines.ends),
            value_names=(first, second),
            line_bytes_max=self._record_bytes_max,
        )
        content, ends = written or (b"", np.zeros(len(lines.starts), np.int64))
        left = np.flatnonzero(np.diff(ends, prepend=0) == 0).tolist()
        if not left:
            return Objects(range(len(ends)), content, 0, [])
        return self._with_others(lines, content, ends, left)

    def _with_others(self, lines: Lines, content: bytes, ends: IntArray, left: Sequence[int]) -> Objects:
        """The objects of all lines. `content` has those that the kernel read, each of which ends at `ends`; `left` are the other rows."""
        pieces: list[bytes] = []
        rejections: list[Rejection] = []
        without = np.zeros(len(ends), np.bool_)
        blank_count, place = 0, 0
        for row in left:
            found = self._read(lines.record(row))
            if isinstance(found, dict):
                end = int(ends[row])
                pieces += (content[place:end], _ENCODER.encode(found), b"\n")
                place = end
                continue
            without[row] = True
            if found is None:
                blank_count += 1
            else:
                rejections.append(Rejection(row, *found, ""))
        pieces.append(content[place:])
        is_whole = not (blank_count or rejections)
        rows = range(len(ends)) if is_whole else np.flatnonzero(~without).tolist()
        return Objects(rows, b"".join(pieces), blank_count, rejections)

    def _read(self, line: bytes) -> _Fields | tuple[str, str] | None:
        """The fields of a line; the stage and the reason of its rejection; None if it is blank."""
        if len(line) > self._record_bytes_max:
            return "read", "record over the size limit (record_bytes_max)"
        if not line.strip(BLANK_BYTES):
            return None
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return _STAGE, f"is not utf-8 (byte {error.start})"
        found = self._parse(text)
        if isinstance(found, str):
            return _STAGE, found
        for name in self._value_names & found.keys():
            found[name] = _number(found[name])
        return found


def pattern_fault(pattern: str) -> str:
    """What is wanted instead of an expression; empty if it can read lines."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"an expression of Python's re: {error}"
    return "" if compiled.groupindex else "an expression with named groups, such as (?P<level>[A-Z]+)"


def _by_pattern(pattern: re.Pattern[str]) -> _Parse:
    def parse(text: str) -> _Fields | str:
        match = pattern.fullmatch(text)
        return "does not match format_pattern" if match is None else dict(match.groupdict())

    return parse


def _combined(text: str) -> _Fields | str:
    """A line of Apache or nginx, with referer and user agent ("combined") or without them ("common"). "-" is null."""
    match = _COMBINED.fullmatch(text)
    if match is None:
        return "is not a line of the combined log format"
    address, ident, user, timestamp, request, status, size, referer, agent = match.groups()
    parts = _REQUEST.fullmatch(request)
    method, path, protocol = parts.groups() if parts else (None, request, None)
    return {
        "remote_addr": address,
        "ident": _said(ident),
        "user": _said(user),
        "timestamp": timestamp,
        "method": method,
        "path": _said(path),
        "protocol": protocol,
        "status": None if status == _MISSING else int(status),
        "bytes": None if size == _MISSING else int(size),
        "referer": _said(referer),
        "user_agent": _said(agent),
    }


def _said(text: str | None) -> str | None:
    """The text without the server's escapes; None for "-" or nothing."""
    if text is None or text in {_MISSING, ""}:
        return None
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _CONTROLS.get(found[2], found[2]), text)
    # \xc3\xa9 are two bytes of one character. What is no UTF-8 stays one character for each byte.
    try:
        return plain.encode("latin-1").decode()
    except UnicodeError:
        return plain


def _logfmt(text: str) -> _Fields | str:
    """Pairs name=value, with spaces between. A name alone is true. A value in quotes has the escapes of JSON."""
    found: _Fields = {}
    place = len(text) - len(text.lstrip())
    while place < len(text):
        match = _LOGFMT.match(text, place)
        if match is None:
            return f"is not logfmt (character {place + 1})"
        name, quoted, plain = match.groups()
        if quoted is not None:
            found[name] = _unquoted(quoted)
        else:
            found[name] = True if plain is None else plain
        place = match.end()
    return found


def _unquoted(text: str) -> str:
    """The content of a quoted value of logfmt."""
    if "\\" not in text:
        return text
    plain = _LOGFMT_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _CONTROLS.get(found[2], found[2]), text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _ltsv(text: str) -> _Fields | str:
    """Pairs label:value, with tabs between."""
    found: _Fields = {}
    for pair in text.rstrip("\t").split("\t"):
        label, colon, value = pair.partition(":")
        if not colon or not label:
            return f"is not LTSV: a field without a label: {pair[:60]!r}"
        found[label] = value
    return found


def _number(value: object) -> object:
    """A text as a number with its digits; null if it is empty or "-"; otherwise as it is, so that the judge refuses it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in {"", _MISSING}:
        return None
    number = json_number(text.encode(errors="replace"))
    return value if number is None else msgspec.Raw(number)
