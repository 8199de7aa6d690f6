"""CSV in UTF-16, and with carriage returns for line ends: against Python's own decoder, in any blocks, over restarts, and as a user runs it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions
from event_processor.records.converted_text import TextCutter, converted_text_path
from event_processor.records.delimited_cells import Dialect
from event_processor.records.json_documents import DocumentError
from event_processor.records.quoted_lines import QuotedLineCutter, quoted_lines_path
from support.command_line import Shell, shell_in
from support.file_source import LogFolder, Reader, chunks_of_lives

MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


def converted(cutter: TextCutter, content: bytes, sizes: list[int]) -> tuple[bytes, bytes, str]:
    """The lines, their own bytes, and the fault, if the content comes in blocks of these sizes, again and again."""
    made, own, place = b"", b"", 0
    for size in cycle(sizes):
        block = content[place : place + size]
        pieces: list[bytes] = []
        fault = ""
        try:
            pieces.extend(cutter.feed(block) if block else cutter.finish())
        except DocumentError as error:
            fault = str(error)
        piece = b"".join(pieces)
        made, own = made + piece, own + (cutter.take_own() or piece)
        if fault or not block:
            return made, own, fault
        place += size
    raise AssertionError("there are sizes")


@given(
    text=st.text(st.sampled_from("aé€😀\r\n,\"'"), max_size=30),
    encoding=st.sampled_from(["utf-16-le", "utf-16-be"]),
    is_named=st.booleans(),
    has_mark=st.booleans(),
    returns=st.booleans(),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
def test_text_of_utf_16_becomes_utf_8_wherever_blocks_end(
    *, text: str, encoding: str, is_named: bool, has_mark: bool, returns: bool, sizes: list[int]
) -> None:
    mark = MARKS[encoding] if has_mark or not is_named else b""
    path = converted_text_path(encoding if is_named else "utf-16", (), ends_with_returns=returns)
    made, own, fault = converted(TextCutter(path), mark + text.encode(encoding), sizes)
    expected = text.encode()
    assert (made, own, fault) == (expected.replace(b"\r", b"\n") if returns else expected, made, "")


@given(
    text=st.lists(st.sampled_from(["a", ",", '"', '""', "\n", "\r", "é"]), max_size=30).map("".join),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
def test_quoted_cells_of_converted_text_may_hold_line_ends(text: str, sizes: list[int]) -> None:
    quoted = quoted_lines_path(Dialect(), 100)
    made, own, _ = converted(
        TextCutter(converted_text_path("utf-16", quoted, ends_with_returns=True)), text.encode("utf-16"), sizes
    )
    plain = text.replace("\r", "\n").encode()
    alone = QuotedLineCutter(quoted)
    expected = b"".join([*alone.feed(plain), *alone.finish()]) if plain else b""
    assert (made, own) == (expected, plain)


@pytest.mark.parametrize(
    ("content", "lines", "fault"),
    [
        (b"", b"", ""),
        (b"\xff\xfe", b"", ""),
        (b"\xff", b"", "has no byte order mark of UTF-16"),
        (b"id,a\n", b"", "has no byte order mark of UTF-16"),
        (b"\xff\xfea\0\n\0b", b"a\n", "ends within a character of UTF-16"),
        (b"\xff\xfea\0\n\0b\0\x3d\xd8", b"a\nb", "ends within a character of UTF-16"),
        (b"\xff\xfea\0\n\0b\0\x3d\xd8\0", b"a\nb", "ends within a character of UTF-16"),
        (b"\xff\xfea\0\x00\xdc", b"a\xed\xb0\x80", ""),
        (b"\xff\xfea\0\x00\xd8b\0\n\0", b"a\xed\xa0\x80b\n", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_what_is_not_utf_16_is_a_fault_after_the_text_before_it(content: bytes, lines: bytes, fault: str, size: int) -> None:
    made, _, found = converted(TextCutter(converted_text_path("utf-16", (), ends_with_returns=False)), content, [size])
    assert made == lines
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("keys", [{"csv_encoding": "utf-16"}, {"csv_line_end": "cr"}])
def test_reading_continues_after_any_chunk(keys: dict[str, str], is_packed: bool, tmp_path: Path) -> None:
    text = "id,category,value\n" + "".join(f"{n},é{n % 3},{n}\n" for n in range(40))
    content = text.encode("utf-16") if "csv_encoding" in keys else text.replace("\n", "\r").encode()
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(content) if is_packed else content)
    template = FileSourceOptions.model_validate({"path": ConfiguredPath("x"), "format": "csv", "record_bytes_max": 64, **keys})
    options = InputFilesOptions.of(template, [str(path)], [path.stat().st_size])
    chunks = chunks_of_lives(options, 40)
    found, opened = b"".join(chunk.content for chunk in chunks), len(chunks)
    assert found == text.encode()
    assert opened > 5


@pytest.mark.parametrize("keys", [{"csv_encoding": "utf-16"}, {"csv_line_end": "cr"}, {"csv_quoted_line_breaks": True}])
def test_the_last_line_of_text_that_is_still_written_is_not_a_record_before_the_file_is_quiet(
    keys: dict[str, Any], tmp_path: Path
) -> None:
    """A document shows by its brackets that it is cut short, and text does not."""

    def written(text: str) -> bytes:
        return (
            text.encode("utf-16-le")
            if "csv_encoding" in keys
            else text.replace("\n", "\r" if "csv_line_end" in keys else "\n").encode()
        )

    folder = LogFolder(tmp_path)
    reader = Reader(folder, "a.csv", format="csv", **keys)
    folder.append("a.csv", written("\ufeffa\n1\n2"))
    found = reader.read()
    folder.append("a.csv", written("3\n4"))
    found += reader.read()
    assert [each.removeprefix(b"\xef\xbb\xbf") for each in found] == [b"a", b"1", b"23"]
    assert reader.read_all() == [b"4"]


def test_a_file_that_was_quiet_within_a_surrogate_pair_is_the_same_file_after_a_restart(tmp_path: Path) -> None:
    content = "\ufeffa\n1\n2😀\n3\n".encode("utf-16-le")
    half = content.index("😀".encode("utf-16-le")) + 2
    folder = LogFolder(tmp_path)
    reader = Reader(folder, "a.csv", format="csv", csv_encoding="utf-16")
    folder.append("a.csv", content[:half])
    assert reader.read_all() == [b"a", b"1", b"2"]
    reader.stop()
    folder.append("a.csv", content[half:])
    assert reader.read_all() == ["😀".encode(), b"3"]
    assert {chunk.generation for chunk in reader.chunks} == {1}


def table(name: str) -> str:
    """Rows with a bad one in the middle, and a text outside of Latin-1."""
    rows = [(f"{name}{n}", "łąka 😀" if n % 3 else "b", "x" if n == 7 else str(n / 4)) for n in range(20)]
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows([("id", "category", "value"), *rows])
    return written.getvalue()


def totals_of(text: str) -> dict[str, tuple[int, float]]:
    """By category, as the standard library reads the text."""
    found: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if row["value"] != "x":
            found.setdefault(row["category"], []).append(float(row["value"]))
    return {name: (len(values), sum(values)) for name, values in found.items()}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    made.path("event-processor.toml").write_text('[sources.sheet]\npath = "a.csv"\nformat = "csv"\n', encoding="utf-8")
    return made


@pytest.mark.parametrize(
    ("keys", "encoding", "line_end"),
    [
        ('csv_encoding = "utf-16"', "utf-16", "\n"),
        ('csv_encoding = "utf-16"', "utf-16", "\r\n"),
        ('csv_encoding = "UTF-16BE"', "utf-16-be", "\n"),
        ('csv_line_end = "cr"', "utf-8", "\r"),
        ('csv_line_end = "cr"\ncsv_encoding = "utf-16"', "utf-16", "\r"),
    ],
)
def test_a_user_gets_the_totals_of_the_text_and_the_place_of_a_bad_row(
    keys: str, encoding: str, line_end: str, shell: Shell
) -> None:
    with shell.path("event-processor.toml").open("a", encoding="utf-8") as configuration:
        configuration.write(keys + "\n")
    text = table("r")
    content = text.replace("\n", line_end).encode(encoding)
    shell.path("a.csv").write_bytes(content)
    shell.path("a.csv.gz").write_bytes(gzip.compress(content))
    for name in ("a.csv", "a.csv.gz"):
        assert shell.call("process", name, "--state", f"state-{name}") == 0, shell.err
        rows: list[dict[str, Any]] = [json.loads(line) for line in shell.out.splitlines()]
        assert {row["category"]: (row["count"], row["sum"]) for row in rows} == totals_of(text)
        (letter,) = [json.loads(line) for line in shell.path(f"state-{name}/dead_letters.jsonl").read_text().splitlines()]
        assert (letter["line"], letter["reason"]) == (9, "is not a number: 'x'")
        as_utf_8 = text.replace("\n", line_end).encode()
        assert as_utf_8[letter["offset"] :].startswith(letter["record"].encode() + line_end.encode())


def test_a_file_in_another_form_than_configured_says_which_key_to_set(shell: Shell) -> None:
    shell.path("a.csv").write_bytes(table("r").encode("utf-16"))
    shell.call("process", "a.csv", "--state", "state")
    letters = [json.loads(line) for line in shell.path("state/dead_letters.jsonl").read_text().splitlines()]
    assert {letter["reason"] for letter in letters} == {'the file is UTF-16: set csv_encoding = "utf-16"'}
    with shell.path("event-processor.toml").open("a", encoding="utf-8") as configuration:
        configuration.write('csv_encoding = "utf-16"\n')
    shell.path("b.csv").write_bytes(table("r").encode())
    shell.call("process", "b.csv")
    assert "has no byte order mark of UTF-16" in shell.err
