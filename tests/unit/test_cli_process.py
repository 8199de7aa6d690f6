"""`process`: what it is called with, and what it says; tests/system/test_process.py has what it does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from event_processor.cli.process import size_bytes
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.lock import HANDED_LOCK, DirectoryLock
from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    os.unlink("event-processor.toml")
    return made


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-", "log.jsonl"), "- is standard input; it cannot be combined with files"),
        (("-", "--state", "st"), "standard input cannot be read twice"),
        (("log.jsonl", "--output", "log.jsonl"), "log.jsonl: this run already reads or writes this file"),
        (("log.jsonl", "--output", "folder"), "folder: not a file that can be replaced"),
        (("log.jsonl", "--output", "/dev/null"), "/dev/null: not a file that can be replaced"),
        (("log.jsonl", "--output", "none/result"), "none/result: folder not found"),
        (("log.jsonl", "--output", ""), "an output file has an empty name"),
        (("log.jsonl", "--dead-letters", ""), "an output file has an empty name"),
        (("log.jsonl", "--output", "new", "--dead-letters", "./new"), "./new: this run already reads or writes this file"),
        (("log.jsonl", "--progress", "s3://bucket/progress.json"), "--progress s3://bucket/progress.json: not a local file"),
        (("log.jsonl", "--source", "other"), "--source other: no such source of files is configured"),
        (("log.jsonl", "--format", "yaml"), '"ltsv", "regex", or "package.module:Class"'),
        (("log.jsonl", "--item-path", "value.item"), 'json_item_path applies only to format = "json"'),
        (("log.jsonl", "--chunk-size", "many"), "'many' is not a size"),
        (("log.jsonl", "--chunk-size", "10"), "'10' is not a size from 1024 to"),
        ((), "Missing argument"),
    ],
)
def test_a_wrong_call_is_answered_with_what_is_wrong(shell: Shell, arguments: Sequence[str], words: str) -> None:
    shell.path("folder").mkdir()
    assert shell.call("process", *arguments) == 64
    assert shell.out == ""
    assert words in shell.err


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4194304", 4_194_304),
        ("4MiB", 4_194_304),
        ("4MB", 4_000_000),
        ("4m", 4_000_000),
        ("64 KiB", 65_536),
        ("2k", 2_000),
        ("1024B", 1_024),
        ("1GiB", 1 << 30),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "4.5MB", "4TB", "1023", "2GiB", "4 M B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a size from 1024 to"):
        size_bytes(text)


def test_a_lock_that_was_handed_on_is_inherited_by_no_program_of_a_users_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on after the run would keep the lock."""
    shell.path("starts_a_program.py").write_text(
        "import os, pydantic\n"
        "os.system('for each in /proc/self/fd/*; do readlink $each; done > inherited; env > known')\n"
        "class Model(pydantic.BaseModel):\n    id: int | str\n"
    )
    monkeypatch.syspath_prepend(str(shell.path(".")))
    lock = DirectoryLock(OperatingSystem(), str(shell.path("handed.lock")), "the server")
    os.set_inheritable(lock.descriptor, True)
    monkeypatch.setenv(HANDED_LOCK, str(lock.descriptor))
    assert shell.call("process", "log.jsonl", "--set", "event.model=starts_a_program:Model") == 0
    assert "/inherited" in shell.path("inherited").read_text(), "what the program has open is listed"
    assert "handed.lock" not in shell.path("inherited").read_text()
    assert HANDED_LOCK not in shell.path("known").read_text()
    lock.release()


def test_the_result_is_a_line_of_json_for_each_category(shell: Shell) -> None:
    assert shell.call("process", "log.jsonl") == 0
    one = {"sum": 2.0, "min": 2.0, "max": 2.0, "mean": 2.0, "first_id": "1", "last_id": "1", "last_timestamp": None, "values": 1}
    two = {"sum": 1.5, "min": 0.5, "max": 1.0, "mean": 0.75, "first_id": 1, "last_id": 2, "last_timestamp": None, "values": 2}
    assert [json.loads(line) for line in shell.out.splitlines()] == [
        {"category": "a", "count": 2, **two},
        {"category": "b", "count": 1, **one},
    ]
    assert shell.err.splitlines()[0] == "5 records: 3 accepted, 1 duplicate, 1 rejected, 0 blank"


def test_on_a_terminal_the_result_is_a_table_unless_lines_are_asked_for(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _stream: True)
    assert shell.call("process", "log.jsonl") == 0
    assert "│ a " in shell.out
    assert "{" not in shell.out
    assert shell.call("process", "log.jsonl", "--json") == 0
    assert shell.out.startswith('{"category":"a"')


def test_a_failed_write_of_the_output_leaves_what_was_there(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.path("result").write_text("before")
    write = OperatingSystem.write

    def full(fs: OperatingSystem, descriptor: int, content: bytes | memoryview) -> int:
        if bytes(content).startswith(b'{"category"'):
            raise OSError(28, "No space left on device")
        return write(fs, descriptor, content)

    monkeypatch.setattr(OperatingSystem, "write", full)
    assert shell.call("process", "log.jsonl", "--output", "result") == 74
    assert shell.path("result").read_text() == "before"
    assert sorted(path.name for path in shell.folder.iterdir()) == ["log.jsonl", "result"]


def test_progress_is_kept_in_a_file_that_others_read(shell: Shell) -> None:
    log = b"".join(b'{"id": %d, "category": "a", "value": 1}\n' % number for number in range(100))
    (shell.folder / "log.jsonl").write_bytes(log)
    assert shell.call("process", "log.jsonl", "--no-sinks", "--progress", "progress.json") == 0
    found = json.loads((shell.folder / "progress.json").read_bytes())
    assert found == {"done_bytes": len(log), "size_bytes": len(log), "phase": ""}
    assert shell.call("process", "log.jsonl", "--no-sinks", "--progress", "log.jsonl") == 64, "it would replace the input"


def test_an_input_that_is_still_written_is_read_as_far_as_a_file_says(shell: Shell) -> None:
    log = b"".join(b'{"id": %d, "category": "a", "value": 1}\n' % number for number in range(3))
    (shell.folder / "log.jsonl").write_bytes(log + b"never acknowledged")
    (shell.folder / "come.json").write_text(json.dumps({"offset": len(log), "length": len(log), "other": "ignored"}))
    assert shell.call("process", "log.jsonl", "--arriving", "come.json", "--no-sinks") == 0
    assert json.loads(shell.out)["count"] == 3
    assert "3 records: 3 accepted" in shell.err
    for arguments, code, words in (
        (("log.jsonl", "log.jsonl", "--arriving", "come.json"), 64, "--arriving is for one input"),
        (("log.jsonl", "--arriving", "s3://bucket/come.json"), 64, "--arriving is for files on this machine"),
        (("log.jsonl", "--arriving", "none.json"), 66, "none.json: is gone"),
        (("log.jsonl", "--arriving", "come.json", "--output", "come.json"), 64, "already reads or writes this file"),
    ):
        assert (shell.call("process", *arguments), words in shell.err) == (code, True), arguments


def test_what_an_input_that_is_written_is_packed_with_is_not_looked_for_beyond_what_has_come(shell: Shell) -> None:
    """The bytes behind it were never acknowledged. With them, this is a zip, which is refused."""
    shell.path("new").write_bytes(b"PK\x03\x04")
    shell.path("come.json").write_text('{"offset": 1, "length": 1}')
    assert shell.call("process", "new", "--arriving", "come.json", "--no-sinks") == 0
    assert "1 records: 0 accepted, 0 duplicate, 1 rejected" in shell.err


def test_a_pipe_is_read_like_standard_input_and_cannot_be_resumed(shell: Shell) -> None:
    assert shell.call("process", "log.jsonl") == 0
    expected = shell.out
    os.mkfifo(shell.path("pipe"))
    for options, code in ((("--state", "st"), 64), ((), 0)):
        reading, writing = os.pipe()
        os.write(writing, shell.path("log.jsonl").read_bytes())
        os.close(writing)
        assert shell.call("process", f"/dev/fd/{reading}", *options) == code
        os.close(reading)
    assert shell.out == expected
    assert shell.call("process", "pipe", "log.jsonl") == 66
    assert "a pipe is read if it is the only input" in shell.err
