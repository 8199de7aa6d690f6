"""States that the last code of version 1 wrote: they count on under version 2, and what version 1 did not keep is said, not guessed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell

STATES = Path(__file__).parents[1] / "states" / "version_1"
NAMES = sorted(path.name for path in STATES.iterdir())
UNKNOWN = {
    "held-events": "the places of 16 held events",
    "windows": "the number of rows of minutes; the places of 8 held events",
    "count-only": "the number of values, and so the mean, of 3 categories",
    "counts": "",
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Caller:
    """Calls commands in one folder or another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._shell = Shell(Path(), capsys)
        self.err = ""

    def call(self, folder: Path, *arguments: str) -> int:
        self._monkeypatch.chdir(folder)
        code = self._shell.call(*arguments)
        self.err = self._shell.err
        return code

    def logged(self, folder: Path, *arguments: str) -> list[dict[str, str]]:
        """What a call logged that a state was migrated."""
        assert self.call(folder, "--log-format", "json", *arguments) == 0, self.err
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "state_migrated"]


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capsys)


@pytest.fixture
def old(name: str, tmp_path: Path) -> Path:
    """The folder as version 1 left it."""
    shutil.copytree(STATES / name, tmp_path / "old")
    return tmp_path / "old"


def state_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "state" / "checkpoint.json").read_bytes())["state"])


def grow(folder: Path) -> None:
    with (folder / "events" / "events.jsonl").open("ab") as log:
        log.write((folder / "more" / "events.jsonl").read_bytes())


def known(state: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What `state` says as far as `other` knows it."""
    said: dict[str, Any] = json.loads(json.dumps({key: state[key] for key in ("counts", "categories", "aggregates", "order")}))
    for category, total in other["categories"].items():
        if total["values"] is None:
            del said["categories"][category]["values"], said["categories"][category]["mean"]
    for aggregate, document in other["aggregates"].items():
        for key in ("rows", "left_out"):
            if document[key] is None:
                del said["aggregates"][aggregate][key]
    return said


def test_a_state_of_version_1_counts_on_as_if_the_log_were_read_at_once(
    name: str, caller: Caller, old: Path, tmp_path: Path
) -> None:
    grow(old)
    assert caller.call(old, "run", "--once") == 0
    fresh = tmp_path / "fresh"
    shutil.copytree(old, fresh, ignore=shutil.ignore_patterns("state", "out"))
    assert caller.call(fresh, "run", "--once") == 0
    continued = state_of(old)
    assert known(continued, continued) == known(state_of(fresh), continued)
    for path in (fresh / "out").glob("*"):
        assert (old / "out" / path.name).read_bytes() == path.read_bytes()
    letters = [folder / "state" / "dead_letters.jsonl" for folder in (old, fresh)]
    assert letters[0].read_bytes() == letters[1].read_bytes()


def test_the_old_checkpoint_is_kept_and_the_log_says_what_is_not_known(name: str, caller: Caller, old: Path) -> None:
    before = (old / "state" / "checkpoint.json").read_bytes()
    (said,) = caller.logged(old, "run", "--once")
    assert (old / "state" / "checkpoint.version-1.json").read_bytes() == before
    assert json.loads((old / "state" / "checkpoint.json").read_bytes())["version"] == 2
    assert said.get("unknown", "") == UNKNOWN[name]
    assert ("event-processor replay" in said["message"]) == bool(UNKNOWN[name])
    assert caller.logged(old, "run", "--once") == []


@pytest.mark.parametrize("is_started", [False, True])
def test_every_command_reads_a_state_of_version_1_before_and_after_its_first_start(
    caller: Caller, old: Path, *, is_started: bool
) -> None:
    if is_started:
        grow(old)
        assert caller.call(old, "run", "--once") == 0
    assert caller.call(old, "verify") == 0, caller.err
    assert caller.call(old, "inspect") == 0
    assert caller.call(old, "explain", "7") == 0
    assert caller.call(old, "status") == 69
    assert caller.call(old, "dead-letters", "list") == 0


def test_a_replay_knows_everything(caller: Caller, old: Path) -> None:
    grow(old)
    assert caller.call(old, "run", "--once") == 0
    assert caller.call(old, "replay", "--yes") == 0, caller.err
    state = state_of(old)
    assert None not in [total["values"] for total in state["categories"].values()]
    assert None not in [each["rows"] for each in state["aggregates"].values()]
    assert caller.call(old, "verify") == 0


def test_a_broken_checkpoint_falls_back_to_the_predecessor_of_version_1(caller: Caller, old: Path) -> None:
    """The first start leaves it as the predecessor."""
    assert caller.call(old, "run", "--once") == 0
    grow(old)
    (old / "state" / "checkpoint.json").write_bytes(b"torn")
    assert caller.call(old, "run", "--once") == 0
    assert caller.call(old, "verify") == 0, caller.err
    assert state_of(old)["counts"]["records"] == 94
