import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from event_processor.cli import COMMANDS
from event_processor.cli.boundary import INTERRUPTED_EXIT_CODE, run
from event_processor.cli.command_line import CommandEntry, arranged
from event_processor.cli.completion import completed_command
from event_processor.cli.context import Invocation, invocation
from event_processor.cli.examples import EXAMPLES
from event_processor.cli.output import write_lines
from event_processor.model.errors import (
    ConfigurationError,
    EventProcessorError,
    ExitCode,
    InputGoneError,
    LockedError,
    StateError,
    StorageError,
    UsageError,
)

PROGRAM = [sys.executable, "-m", "event_processor"]


class Stage:
    """A command of our own, `probe`, that does what a test wants, and what it was told."""

    def __init__(self, module: types.ModuleType) -> None:
        self.entries = (CommandEntry("probe", module.__name__, "Probes."), CommandEntry("heavy", "no.such.module", "Is heavy."))
        self.act: Callable[[], None] = lambda: None
        self.told: Invocation | None = None
        self.file = ""


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    module = types.ModuleType("probe_command")
    stage = Stage(module)

    def command(context: typer.Context, file: Annotated[str, typer.Argument()] = "") -> None:
        """Probes, at length."""
        stage.told = invocation(context)
        stage.file = file
        stage.act()

    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return stage


def failing(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--once"], ("run", "--once")),
        (["run", "--config", "a", "--once", "--state=s"], ("--config", "a", "--state=s", "run", "--once")),
        (["--log-level", "debug", "run"], ("--log-level", "debug", "run")),
        (["run", "--", "--config", "a"], ("run", "--", "--config", "a")),
        (["--config", "--state", "run"], ("--config", "--state", "run")),
        (["run", "--configuration", "--stateful=x"], ("run", "--configuration", "--stateful=x")),
    ],
)
def test_global_options_may_stand_behind_the_command(arguments: list[str], expected: tuple[str, ...]) -> None:
    line = arranged(arguments)
    assert line.arguments == expected
    assert line.command == "run"


def test_what_the_global_options_say_reaches_the_command(stage: Stage) -> None:
    arguments = ["--config", "a", "probe", "x", "--config=b", "--state", "s", "--log-format", "json", "--log-level=error"]
    assert run(arguments, stage.entries) == ExitCode.OK
    assert stage.told == Invocation(("a", "b"), (), "s", "json", "error")
    assert stage.told.overrides() == {
        "state.dir": ("s", "--state"),
        "log.format": ("json", "--log-format"),
        "log.level": ("error", "--log-level"),
    }
    assert stage.file == "x"


def test_what_was_not_said_overrides_nothing(stage: Stage) -> None:
    run(["probe"], stage.entries)
    assert stage.told == Invocation()
    assert stage.told.overrides() == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("m", hint="h"), 64),
        (StateError("m", hint="h"), 65),
        (InputGoneError("m", hint="h"), 66),
        (StorageError("write", "f", 28, "full", hint="h"), 74),
        (LockedError("m", hint="h"), 75),
        (ConfigurationError("m", hint="h"), 78),
    ],
)
def test_an_error_becomes_its_message_its_hint_and_its_exit_code(
    stage: Stage, capsys: pytest.CaptureFixture[str], error: EventProcessorError, code: int
) -> None:
    stage.act = failing(error)
    assert run(["probe"], stage.entries) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"event-processor: {error.message}\n  h\n"


def test_an_error_is_json_where_logs_are_asked_to_be(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.act = failing(StateError("bad\nstate", hint="replay"))
    assert run(["probe", "--log-format=json"], stage.entries) == ExitCode.STATE
    expected = {"level": "error", "event": "failed", "message": "bad\nstate", "hint": "replay", "exit_code": 65}
    assert json.loads(capsys.readouterr().err) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prob"], "No such command 'prob'"),
        (["probe", "--loud"], "No such option: --loud"),
        (["probe", "a", "b"], "unexpected extra argument"),
        (["--log-level", "loud", "probe"], "'loud' is not one of"),
        (["probe", "--config"], "--config needs a value"),
    ],
)
def test_a_wrong_call_is_64_and_says_where_to_look(
    stage: Stage, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(arguments, stage.entries) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert words in said
    assert said.endswith("--help\n")


def test_no_command_is_64_with_the_list_of_them_on_stderr(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], stage.entries) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Is heavy." in captured.err


def test_help_lists_every_command_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], (CommandEntry("heavy", "no.such.module", "Is heavy."),)) == ExitCode.OK
    assert "Is heavy." in capsys.readouterr().out


def test_help_of_a_command_is_its_docstring(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "--help"], stage.entries) == ExitCode.OK
    assert "Probes, at length." in capsys.readouterr().out


def test_a_group_of_commands_stands_beside_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("letters_command")
    group = typer.Typer()
    module.app = group  # type: ignore[attr-defined]

    @group.command("list")
    def list_letters(context: typer.Context) -> None:
        write_lines([str(invocation(context).state_directory)])

    @group.command("purge")
    def purge_letters() -> None:
        raise AssertionError

    monkeypatch.setitem(sys.modules, module.__name__, module)
    entries = (*stage.entries, CommandEntry("letters", module.__name__, "Letters."))
    assert run(["letters", "list", "--state", "s"], entries) == ExitCode.OK
    assert capsys.readouterr().out == "s\n"
    assert run(["letters"], entries) == ExitCode.USAGE


def test_what_nobody_foresaw_is_one_line_and_no_traceback(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.act = failing(KeyError("a\nb"))
    assert run(["probe"], stage.entries) == ExitCode.INTERNAL
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "event-processor: internal error: KeyError: 'a\\nb'"
    assert lines[1].startswith("  this is a bug, please report it")
    assert len(lines) == 2


def test_a_traceback_is_shown_to_who_debugs(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.act = failing(KeyError("x"))
    assert run(["probe", "--log-level", "debug"], stage.entries) == ExitCode.INTERNAL
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (typer.Exit(ExitCode.NOT_KEEPING_UP), 69),
        (typer.Exit(), 0),
        (typer.Abort(), 64),
        (KeyboardInterrupt(), INTERRUPTED_EXIT_CODE),
        (BrokenPipeError(32, "Broken pipe"), 0),
        (OSError(5, "Input/output error"), 74),
        (RecursionError("deep"), 70),
        (MemoryError(), 70),
    ],
)
def test_every_way_to_end_has_its_exit_code(stage: Stage, error: BaseException, code: int) -> None:
    stage.act = failing(error)
    assert run(["probe"], stage.entries) == code


def test_a_stderr_that_is_closed_costs_the_words_and_not_the_code(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.act = failing(StateError("m"))
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["probe"], stage.entries) == ExitCode.STATE


@pytest.mark.parametrize("argument", ["version", "--help"])
def test_a_reader_that_leaves_is_no_failure(argument: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    called = subprocess.run([*PROGRAM, argument], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (called.returncode, called.stderr) == (0, "")


@pytest.mark.parametrize("argument", ["version", "--help"])
def test_an_output_that_is_full_is_74(argument: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        called = subprocess.run([*PROGRAM, argument], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert called.returncode == ExitCode.STORAGE
    assert "No space left on device" in called.stderr
    assert "Traceback" not in called.stderr
    assert "Exception ignored" not in called.stderr


def test_every_command_of_the_list_is_there_and_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for entry in COMMANDS:
        assert run([entry.name, "--help"], COMMANDS) == ExitCode.OK, entry.name
        assert "Usage: event-processor" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_help_cuts_no_summary(columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run(["--help"], COMMANDS) == ExitCode.OK
    shown = " ".join(capsys.readouterr().out.split())
    assert "..." not in shown.replace("[ARGS]...", "")
    assert all(entry.summary in shown for entry in COMMANDS)
    for group in ("dead-letters", "sinks"):
        assert run([group, "--help"], COMMANDS) == ExitCode.OK
        assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_every_command_has_examples_below_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert EXAMPLES.keys() == {entry.name for entry in COMMANDS}
    for entry in COMMANDS:
        assert run([entry.name, "--help"], COMMANDS) == ExitCode.OK
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        assert lines[lines.index("Examples:") + 1 :][: len(EXAMPLES[entry.name])] == list(EXAMPLES[entry.name])


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_an_error_is_coloured_on_a_terminal_only(
    variables: dict[str, str], is_coloured: bool, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for stream, expected in ((Screen(), is_coloured), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert run(["prob"], stage.entries) == ExitCode.USAGE
        assert ("\x1b[1;31mevent-processor:\x1b[0m No such command" in stream.getvalue()) is expected
        assert ("\x1b" in stream.getvalue()) is expected


def test_a_command_says_on_a_terminal_which_configuration_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    (tmp_path / "event-processor.toml").touch()
    assert run(["config"], COMMANDS) == ExitCode.OK
    assert capsys.readouterr().err == ""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert run(["config", "--json"], COMMANDS) == ExitCode.OK
    assert screen.getvalue() == "configuration: event-processor.toml\n"


@pytest.mark.parametrize(
    ("typed", "arranged_words", "command"),
    [
        ("event-processor run --config a.toml --o", "event-processor --config a.toml run --o", "run"),
        ("event-processor sinks --state 'a b' pause ", "event-processor --state 'a b' sinks pause ", "sinks"),
        ("event-processor run --config 'a", "event-processor --config a", ""),
        ("event-processor --set x=1 run --log-level ", "event-processor --set x=1 --log-level ", ""),
        ("event-processor run --log-level=de", "event-processor --log-level=de", ""),
        ("event-processor run --config --state a", "event-processor run --config --state a", ""),
        ("event-processor ", "event-processor ", ""),
        ("event-processor", "event-processor ", ""),
    ],
)
def test_words_that_a_shell_completes_are_put_in_order(typed: str, arranged_words: str, command: str) -> None:
    line = {"_EVENT_PROCESSOR_COMPLETE": "complete_fish", "_TYPER_COMPLETE_ARGS": typed}
    assert (completed_command(line), line["_TYPER_COMPLETE_ARGS"]) == (command, arranged_words)


def test_words_of_bash_after_the_cursor_are_left_out() -> None:
    words = {
        "_EVENT_PROCESSOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "event-processor\nrun\n--config\nx\n--on\n--drain",
        "COMP_CWORD": "4",
    }
    assert completed_command(words) == "run"
    assert (words["COMP_WORDS"], words["COMP_CWORD"]) == ("event-processor --config x run --on", "4")


@pytest.mark.parametrize(
    ("typed", "completed"), [("event-processor va", "validate"), ("event-processor --config x process --no-", "--no-sinks")]
)
def test_a_shell_completes_commands_and_their_options(typed: str, completed: str) -> None:
    words = typed.split()
    environment = {
        **os.environ,
        "_EVENT_PROCESSOR_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    script = "from event_processor.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['event-processor']; {script}"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert said.stdout.split() == [completed]
