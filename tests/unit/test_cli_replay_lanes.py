"""`replay` of a state with remote sinks: they go on under the same keys, or an operator decides what each of them gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.remote_shell import LOG, RemoteShell, remote_shell_in

MORE = '[sinks.{name}]\ntype = "python"\nclass = "receiver_of_a_test:Receiver"\noptions = {{ folder = "." }}\n'

TALLY = """
import pathlib

class Receiver:
    def __init__(self, options):
        self.folder = pathlib.Path(options["folder"])

    async def deliver(self, records, *, keys):
        with open(self.folder / "tally", "a") as tally:
            tally.writelines(key.replace(" ", "_") + "\\n" for key in keys)
"""
"""A receiver that takes everything, and writes down the keys."""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    """Six records were answered, the third with *bad*; two more wait for the paused sink."""
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    shell.deliver_all()
    shell.call("sinks", "pause", "remote")
    shell.append(7, 2)
    assert shell.run_once() == 69
    return shell


def replayed(shell: RemoteShell, *arguments: str) -> dict[str, Any]:
    found = shell.json("replay", "--yes", *arguments)
    assert isinstance(found, dict)
    return found


def state_id(shell: RemoteShell) -> str:
    return str(json.loads(shell.path("state", "checkpoint.json").read_text())["state"]["state_id"])


def lane(found: dict[str, Any], name: str = "remote") -> tuple[str, int, int]:
    (one,) = [each for each in found["lanes"] if each["sink"] == name]
    return one["result"], one["pending"], one["given_up"]


def figures(shell: RemoteShell, name: str = "remote") -> tuple[int, int, int, int]:
    (found,) = [each for each in shell.json("sinks", "list")["sinks"] if each["sink"] == name]
    assert found["released"] - found["started_after"] == sum(found[n] for n in ("delivered", "failed", "skipped", "pending"))
    return found["delivered"], found["failed"], found["skipped"], found["pending"]


def delivered_rest(shell: RemoteShell) -> list[tuple[str, int, float]]:
    """What is sent after the replay, when the sink is resumed."""
    before = shell.taken()
    shell.call("sinks", "resume", "remote")
    shell.deliver_all()
    after = list(shell.taken())
    for each in before:
        after.remove(each)
    return after


def keys(shell: RemoteShell, ids: list[int]) -> list[str]:
    """The keys of records of the log, by the form that the documentation gives."""
    places = {}
    offset = 0
    for line in shell.path("log.jsonl").read_bytes().splitlines(keepends=True):
        places[json.loads(line)["id"]] = offset
        offset += len(line)
    return [f"{state_id(shell)}:remote:log:1:{places[each]}" for each in ids]


def test_a_replay_that_changes_nothing_goes_on_under_the_same_keys(shell: RemoteShell) -> None:
    id_, files = state_id(shell), sorted(path.name for path in shell.path("state", "outbox").iterdir())
    shell.append(9, 1)
    found = replayed(shell)
    assert (found["keeps_state_id"], lane(found)) == (True, ("continues", 3, 0))
    assert (state_id(shell), figures(shell)) == (id_, (5, 1, 0, 3))
    assert sorted(path.name for path in shell.path("state", "outbox").iterdir())[:1] == files
    assert [(key, each) for key, each, _ in delivered_rest(shell)] == list(zip(keys(shell, [7, 8, 9]), [7, 8, 9], strict=True))
    assert figures(shell) == (8, 1, 0, 0)
    assert shell.call("verify") == 0


def test_an_outbox_that_is_gone_is_made_again_from_where_the_sink_is(shell: RemoteShell) -> None:
    for path in shell.path("state", "outbox").iterdir():
        path.unlink()
    assert shell.run_once() == 65
    assert lane(replayed(shell)) == ("continues", 2, 0)
    (path,) = shell.path("state", "outbox").iterdir()
    assert [json.loads(line)["sequence"] for line in path.read_bytes().splitlines()] == [7, 8]
    assert [(key, each) for key, each, _ in delivered_rest(shell)] == list(zip(keys(shell, [7, 8]), [7, 8], strict=True))


def test_a_state_without_a_checkpoint_goes_on_by_its_cursor(shell: RemoteShell) -> None:
    id_ = state_id(shell)
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        shell.path("state", name).write_text("x")
    found = replayed(shell)
    assert (found["keeps_state_id"], lane(found)) == (True, ("continues", 2, 0))
    assert state_id(shell) == id_
    assert [each for _, each, _ in delivered_rest(shell)] == [7, 8]
    assert figures(shell) == (7, 1, 0, 0)


def test_without_a_checkpoint_and_without_a_cursor_what_was_sent_is_not_known(shell: RemoteShell) -> None:
    for name in ("checkpoint.json", "checkpoint.previous.json", "delivery/remote.json"):
        shell.path("state", name).unlink()
    assert shell.call("replay", "--yes") == 78
    assert "--lane remote=again|skip" in shell.err
    assert lane(replayed(shell, "--lane", "remote=skip")) == ("skip", 0, 0)


@pytest.mark.parametrize("change", ["configuration", "log"])
def test_what_changes_the_records_needs_a_decision_and_changes_nothing_without(shell: RemoteShell, change: str) -> None:
    how = change_it(shell, change)
    before = {path: path.read_bytes() for path in shell.path("state").rglob("*") if path.is_file() and path.name != "lock"}
    assert shell.call("replay", "--yes", *how) == 78
    assert "sink remote needs a decision; 2 records wait now" in shell.out
    assert "decide for each sink whether it gets everything again" in shell.err
    after = {path: path.read_bytes() for path in shell.path("state").rglob("*") if path.is_file() and path.name != "lock"}
    assert after == before


def change_it(shell: RemoteShell, what: str) -> list[str]:
    """Makes the present state's records others. Returns what `replay` needs to read them."""
    if what == "configuration":
        path = shell.path("event-processor.toml")
        path.write_text(path.read_text() + '[event]\nvalue = "id"\n')
    else:
        # The journal's bytes are gone, so it is not followed: the log is another one.
        shell.path("log.jsonl").write_text(shell.path("log.jsonl").read_text().replace('"value": 2', '"value": 4'))
    return ["--start", "beginning"] if what == "log" else []


@pytest.mark.parametrize("change", ["configuration", "log"])
def test_again_sends_everything_under_new_keys(shell: RemoteShell, change: str) -> None:
    how = change_it(shell, change)
    id_ = state_id(shell)
    found = replayed(shell, *how, "--lane", "remote=again")
    assert (found["keeps_state_id"], lane(found)) == (False, ("again", 8, 0))
    assert state_id(shell) != id_
    sent = delivered_rest(shell)
    assert [(key, each) for key, each, _ in sent] == [
        (key, each) for key, each in zip(keys(shell, [*range(1, 9)]), range(1, 9), strict=True) if each != 3
    ]
    assert figures(shell) == (7, 1, 0, 0)
    assert any(".aside-" in path.name for path in shell.path("state", "delivery").iterdir())
    assert shell.call("verify") == 0


@pytest.mark.parametrize("change", ["configuration", "log"])
def test_skip_sends_only_what_comes_and_says_what_is_given_up(shell: RemoteShell, change: str) -> None:
    how = change_it(shell, change)
    assert lane(replayed(shell, *how, "--lane", "remote=skip")) == ("skip", 0, 2)
    assert figures(shell) == (0, 0, 0, 0)
    shell.append(9, 1)
    assert [each for _, each, _ in delivered_rest(shell)] == [9]
    assert figures(shell) == (1, 0, 0, 0)


def test_a_decision_that_is_not_needed_is_not_followed(shell: RemoteShell) -> None:
    assert lane(replayed(shell, "--lane", "remote=again")) == ("continues", 2, 0)
    assert [each for _, each, _ in delivered_rest(shell)] == [7, 8]


def test_each_sink_is_decided_alone(shell: RemoteShell) -> None:
    shell.configure(more=MORE.format(name="other"))
    assert shell.run_once() == 69
    how = change_it(shell, "log")
    assert shell.call("replay", "--yes", *how, "--lane", "remote=skip") == 78
    assert "--lane other=again|skip" in shell.err
    assert "--lane remote" not in shell.err
    found = replayed(shell, *how, "--lane", "remote=skip", "--lane", "other=again")
    assert (lane(found), lane(found, "other")) == (("skip", 0, 2), ("again", 8, 0))
    shell.deliver_all()
    assert figures(shell, "other") == (7, 1, 0, 0)


def test_a_new_sink_starts_as_configured(shell: RemoteShell) -> None:
    later = MORE.format(name="later")
    shell.configure(more=later + MORE.format(name="whole").replace("options", 'start = "beginning"\noptions'))
    found = replayed(shell)
    assert lane(found) == ("continues", 2, 0)
    assert (lane(found, "later"), lane(found, "whole")) == (("new", 0, 0), ("new", 8, 0))
    shell.append(9, 1)
    shell.call("sinks", "resume", "remote")
    shell.deliver_all()
    assert figures(shell, "later") == (1, 0, 0, 0)
    assert figures(shell, "whole") == (8, 1, 0, 0)
    assert figures(shell) == (8, 1, 0, 0)


def test_a_removed_sink_with_pending_records_is_refused(shell: RemoteShell) -> None:
    shell.path("event-processor.toml").write_text('[sources.log]\npath = "log.jsonl"\n')
    assert shell.call("replay", "--yes") == 78
    assert "sinks drop remote" in shell.err


def test_retried_records_that_wait_are_named_if_they_are_given_up(shell: RemoteShell) -> None:
    (letter,) = shell.json("dead-letters", "list", "--sink", "remote")["failed"]
    letter["object"]["value"] = 3
    shell.path("repaired.jsonl").write_text(json.dumps(letter))
    shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote")
    change_it(shell, "configuration")
    assert lane(replayed(shell, "--lane", "remote=again")) == ("again", 8, 1)


@pytest.mark.parametrize("argument", ["remote", "remote=twice", "other=skip"])
def test_a_wrong_decision_is_a_usage_error(shell: RemoteShell, argument: str) -> None:
    assert shell.call("replay", "--yes", "--lane", argument) == 64


def test_the_log_is_read_by_the_journal_so_that_a_late_order_stage_changes_no_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    with_sink = shell.path("event-processor.toml").read_text().replace("buffer_events = 0", "buffer_events = 2")
    shell.path("event-processor.toml").write_text(with_sink.partition("[sinks.")[0])
    assert shell.call("run", "--once") == 0
    shell.path("event-processor.toml").write_text(with_sink)
    with shell.path("log.jsonl").open("a") as log:
        log.write("".join(f'{{"id": {each}, "category": "a", "value": {each}}}\n' for each in (20, 9, 21, 22, 8, 23)))
    shell.deliver_all()
    sent = len(shell.taken())
    found = replayed(shell)
    assert (found["keeps_state_id"], lane(found)) == (True, ("continues", 0, 0))
    shell.deliver_all()
    assert len(shell.taken()) == sent
    assert LOG.count("\n") + sent > sent


def test_each_input_has_a_chain_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    more = '[aggregates.sums]\ngroup_by = ["category"]\nmeasures = { total = "sum(value)" }\nwindow = { size_s = 2 }\n[event]\ntimestamp = "at"\n'
    shell.configure(more=more)
    for name, input_name in (("letters", "dead_letters"), ("rows", "aggregates.sums")):
        path = shell.path("event-processor.toml")
        path.write_text(path.read_text() + MORE.format(name=name).replace("options", f'input = "{input_name}"\noptions'))
    shell.path("receiver_of_a_test.py").write_text(TALLY)
    lines = [f'{{"id": {n}, "category": "a", "value": {n}, "at": {n}}}\n' + "bad\n" * (n % 2) for n in range(1, 12)]
    shell.path("log.jsonl").write_text("".join(lines))
    shell.deliver_all()
    before = {name: figures(shell, name)[0] for name in ("remote", "letters", "rows")}
    assert (before["remote"], before["letters"], before["rows"] > 2) == (11, 6, True)
    for path in shell.path("state", "outbox").iterdir():
        path.unlink()
    with shell.path("log.jsonl").open("a") as log:
        log.write("worse\n" + "".join(f'{{"id": {n}, "category": "a", "value": 1, "at": {n}}}\n' for n in (12, 13, 14)))
    sent = shell.path("tally").read_text()
    found = replayed(shell)
    assert found["keeps_state_id"]
    assert [lane(found, name)[0] for name in before] == ["continues"] * 3
    assert shell.path("tally").read_text() == sent
    shell.deliver_all()
    assert figures(shell, "remote") == (14, 0, 0, 0)
    assert figures(shell, "letters") == (7, 0, 0, 0)
    assert len(set(shell.path("tally").read_text().split())) == len(shell.path("tally").read_text().split())
    assert shell.call("verify") == 0
