"""A rejected record is kept with its own bytes, whoever writes the dead letter: the state, a sink, an export, `process`."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell, shell_in
from support.processes import DEADLINE_S, warm_job

ITEMS = [
    b'{"id":1,"category":"a","value":"x\ny"}',
    b'{    "id": 2,    "category": "a\rb\\\n", \t"value": 1 }',
    b'{   "id": 3,   "category": "a",   "value": "5" }',
    b'{"id":4, "category":"\xff"}',
    b'\0{"id":5, "category":"a","value":1}',
    b'{"id":6}',
]
GOOD = b'{\n "id": 7, "category": "a",\n "value": 1}'
REASONS = [
    "not JSON: invalid control character at (character 34)",
    "not JSON: invalid control character at (character 32)",
    '"value" is not a number: "5"',
    "not UTF-8: byte 0xff at offset 21 of the record",
    "contains a NUL byte",
    '"category" is missing; the record has "id"',
]
"""Line ends between tokens are spaces here, as in the dead letters."""
WRITTEN = [
    ITEMS[0],
    b'{\r\n  "id": 2,\r\n  "category": "a\rb\\\n",\n\t"value": 1\r}',
    b'{\n  "id": 3,\n  "category": "a",\n  "value": "5"\n}',
    b'{"id":4,\n"category":"\xff"}',
    b'\0{"id":5,\n"category":"a","value":1}',
    ITEMS[5],
]
DOCUMENT = b'{"value": [\n' + b" ,\n".join([*WRITTEN[:3], *[GOOD] * 100, *WRITTEN[3:]]) + b"\n]}\n"
LINES = [b'{"id":1,"category":"\xff"}', b'{"id":2}\x0b', b"\xc3\xa9\0"]
CONFIGURATION = """
[sources.documents]
path = "document.json"
format = "json"
json_item_path = "value.item"
[batch]
bytes_max = 1024
[sinks.rejected]
input = "dead_letters"
path = "rejected.jsonl"
"""


def records(lines: bytes) -> list[bytes]:
    """The bytes of the records, each in the member that fits."""
    found = []
    for letter in map(json.loads, lines.splitlines()):
        assert ("record" in letter) != ("record_base64" in letter)
        found.append(base64.b64decode(letter["record_base64"]) if "record_base64" in letter else letter["record"].encode())
    return found


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    return made


@pytest.mark.parametrize("compressed", [False, True])
def test_the_items_of_a_document_keep_their_bytes(shell: Shell, compressed: bool) -> None:
    shell.path("document.json").write_bytes(gzip.compress(DOCUMENT) if compressed else DOCUMENT)
    assert shell.call("run", "--once", "--drain") == 0
    written = shell.path("state", "dead_letters.jsonl").read_bytes()
    assert records(written) == ITEMS
    assert [letter["reason"] for letter in map(json.loads, written.splitlines())] == REASONS
    assert shell.path("rejected.jsonl").read_bytes() == written
    assert shell.call("verify") == 0
    assert shell.call("dead-letters", "export", "--output", "letters.jsonl") == 0
    exported: list[dict[str, Any]] = [json.loads(line) for line in shell.path("letters.jsonl").read_bytes().splitlines()]
    assert [each["record"].encode() for each in exported] == [item.replace(b"\xff", "\ufffd".encode()) for item in ITEMS]
    assert [base64.b64decode(each["record_base64"]) for each in exported if "record_base64" in each] == [ITEMS[3]]


def test_a_recomputed_state_has_the_same_dead_letters(shell: Shell) -> None:
    shell.path("document.json").write_bytes(DOCUMENT)
    assert shell.call("run", "--once", "--drain") == 0
    written = shell.path("state", "dead_letters.jsonl").read_bytes()
    assert shell.call("replay", "--yes") == 0
    assert shell.path("state", "dead_letters.jsonl").read_bytes() == written


@pytest.mark.parametrize("from_stdin", [False, True])
@pytest.mark.parametrize("repeat", [1, 40_000])
def test_process_keeps_the_bytes_of_items(tmp_path: Path, from_stdin: bool, repeat: int) -> None:
    """Also of several reads and chunks."""
    content = b"[" + b",\n".join([b'{\n"id":0}', *[GOOD] * repeat, *WRITTEN]) + b"]"
    (tmp_path / "document.json").write_bytes(content)
    arguments = ["--format", "json", "--item-path", "item", "--chunk-size", "100k", "--dead-letters", "letters.jsonl"]
    subprocess.run(
        [*warm_job(), "process", "-" if from_stdin else "document.json", *arguments],
        cwd=tmp_path,
        input=content if from_stdin else b"",
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert records((tmp_path / "letters.jsonl").read_bytes()) == [b'{ "id":0}', *ITEMS]


def test_lines_keep_their_bytes(shell: Shell) -> None:
    shell.path("event-processor.toml").write_text(CONFIGURATION.replace('format = "json"\njson_item_path = "value.item"\n', ""))
    shell.path("document.json").write_bytes(b"\n".join([*LINES, b""]))
    assert shell.call("run", "--once") == 0
    written = shell.path("state", "dead_letters.jsonl").read_bytes()
    assert records(written) == LINES
    assert shell.path("rejected.jsonl").read_bytes() == written
