"""The daemon as a process: signals, reloads, the lock, and what it says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Daemon, Pipeline, wait_until

EVENT = b'{"id": %d, "category": "a", "value": 1}\n'


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(EVENT % 1)
    return made


@pytest.fixture
def daemon(pipeline: Pipeline) -> Iterator[Daemon]:
    started = pipeline.start()
    wait_until(lambda: pipeline.progress() == len(EVENT % 1), "the first commit")
    yield started
    if started.alive:
        started.kill()


def append(pipeline: Pipeline, content: bytes) -> None:
    with pipeline.log.open("ab") as log:
        log.write(content)


def change(pipeline: Pipeline, before: str, after: str) -> None:
    path = pipeline.folder / "pipeline.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_a_commit_with_0(pipeline: Pipeline, daemon: Daemon, number: signal.Signals) -> None:
    append(pipeline, EVENT % 2)
    wait_until(lambda: pipeline.progress() == len(EVENT % 1) * 2, "the second commit")
    daemon.send(number)
    finished = daemon.wait()
    assert finished.exit_code == 0, daemon.said()
    assert '"held_events": 2' in daemon.said(), "what waits in the order stage is said"


def test_what_is_appended_is_followed(pipeline: Pipeline, daemon: Daemon) -> None:
    for number in range(2, 6):
        append(pipeline, EVENT % number)
        wait_until(lambda expected=number: pipeline.progress() == len(EVENT % 1) * expected, "a commit")  # type: ignore[misc]
    assert daemon.alive


def test_a_second_process_is_told_who_holds_the_state(pipeline: Pipeline, daemon: Daemon) -> None:
    second = pipeline.run("--once")
    assert second.exit_code == 75
    assert "held by process " in second.stderr
    assert "stop it first" in second.stderr
    assert daemon.alive


def test_a_reload_takes_up_what_the_state_does_not_depend_on(pipeline: Pipeline, daemon: Daemon) -> None:
    change(pipeline, "bytes_max = 1024", "bytes_max = 2048")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: "reloaded" in daemon.said(), "the reload")
    append(pipeline, EVENT % 2)
    wait_until(lambda: pipeline.progress() == len(EVENT % 1) * 2, "a commit after the reload")


def test_a_reload_that_adds_the_first_sink_starts_the_order_stage(pipeline: Pipeline) -> None:
    path = pipeline.folder / "pipeline.toml"
    whole = path.read_text()
    path.write_text(whole[: whole.index("[sinks.ordered]")])
    daemon = pipeline.start()
    try:
        wait_until(lambda: pipeline.progress() == len(EVENT % 1), "the first commit")
        path.write_text(whole)
        daemon.send(signal.SIGHUP)
        wait_until(lambda: "reloaded" in daemon.said(), "the reload")
        append(pipeline, EVENT % 2)
        wait_until(lambda: pipeline.progress() == len(EVENT % 1) * 2, "a commit after the reload")
    finally:
        daemon.kill()
    assert pipeline.run("--once", "--drain").exit_code == 0
    assert (pipeline.durable / "out" / "ordered.jsonl").read_bytes() == EVENT % 2, "what came before is not in the new sink"
    assert pipeline.verify().exit_code == 0


def test_a_reload_that_would_change_the_states_meaning_is_refused_and_the_daemon_goes_on(
    pipeline: Pipeline, daemon: Daemon
) -> None:
    change(pipeline, "[batch]", '[event]\nvalue = "amount"\n[batch]')
    daemon.send(signal.SIGHUP)
    wait_until(lambda: "reload_refused" in daemon.said(), "the refusal")
    assert "event.value" in daemon.said()
    assert "replay" in daemon.said()
    append(pipeline, EVENT % 2)
    wait_until(lambda: pipeline.progress() == len(EVENT % 1) * 2, "a commit after the refusal")


def test_a_reload_that_changes_a_sink_with_waiting_records_is_refused_and_the_daemon_goes_on(pipeline: Pipeline) -> None:
    path = pipeline.folder / "pipeline.toml"
    remote = '[services.api]\nbase_url = "http://127.0.0.1:9"\n[sinks.remote]\ntype = "http"\nservice = "api"\npath = "/a"\n'
    path.write_text(path.read_text() + remote)
    daemon = pipeline.start()
    try:
        wait_until(lambda: pipeline.progress() == len(EVENT % 1), "the first commit")
        append(pipeline, b"".join(EVENT % number for number in range(2, 20)))
        wait_until((pipeline.durable / "state" / "delivery" / "remote.json").exists, "the sink's cursor")
        change(pipeline, 'path = "/a"', 'path = "/b"')
        wait_until(lambda: any((pipeline.durable / "state" / "outbox").glob("*.jsonl")), "a record that waits")
        refused = pipeline.command_of("reload")
        assert refused.exit_code == 78
        assert "its target was changed" in refused.stderr
        assert daemon.alive
        before = pipeline.progress()
        append(pipeline, EVENT % 50)
        wait_until(lambda: pipeline.progress() > before, "a commit after the refusal")
        change(pipeline, 'path = "/b"', 'path = "/a"')
        assert pipeline.command_of("reload").exit_code == 0
    finally:
        daemon.kill()


def test_the_reload_command_waits_for_the_daemon_and_names_the_keys(pipeline: Pipeline, daemon: Daemon) -> None:
    change(pipeline, "bytes_max = 1024", "bytes_max = 2048")
    reloaded = pipeline.command_of("reload")
    assert reloaded.exit_code == 0
    assert "reloaded: batch.bytes_max\n" in reloaded.stderr
    again = pipeline.command_of("reload")
    assert again.exit_code == 0
    assert "reloaded: nothing changed\n" in again.stderr
    assert daemon.alive


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [("[batch]", '[event]\nvalue = "amount"\n[batch]', "event.value"), ("[batch]", "[batsh]", "batsh")],
)
def test_the_reload_command_is_78_with_what_was_refused_and_status_says_it_until_it_is_undone(
    pipeline: Pipeline, daemon: Daemon, before: str, after: str, word: str
) -> None:
    change(pipeline, before, after)
    refused = pipeline.command_of("reload")
    assert refused.exit_code == 78
    assert word in refused.stderr
    change(pipeline, after, before)
    assert "not keeping up: a reload was refused: " in status_of(pipeline)
    assert pipeline.command_of("reload").exit_code == 0
    assert status_of(pipeline).startswith("0 ")
    assert daemon.alive


def test_the_reload_command_is_69_if_no_daemon_runs(pipeline: Pipeline) -> None:
    assert pipeline.run("--once").exit_code == 0
    refused = pipeline.command_of("reload")
    assert refused.exit_code == 69
    assert "nothing is running" in refused.stderr


def test_a_reload_of_a_faulty_configuration_is_refused_with_its_faults(pipeline: Pipeline, daemon: Daemon) -> None:
    change(pipeline, "[batch]", "[batsh]")
    daemon.send(signal.SIGHUP)
    wait_until(lambda: "reload_refused" in daemon.said(), "the refusal")
    assert "batsh" in daemon.said()
    assert daemon.alive


def test_a_changed_configuration_over_an_old_state_is_78_with_the_key_and_the_way_out(pipeline: Pipeline) -> None:
    assert pipeline.run("--once").exit_code == 0
    before = pipeline.checkpoint.read_bytes()
    change(pipeline, "[batch]", '[event]\nvalue = "amount"\n[batch]')
    refused = pipeline.run("--once")
    assert refused.exit_code == 78
    assert 'event.value: "value" -> "amount"' in refused.stderr
    assert "replay" in refused.stderr
    assert pipeline.checkpoint.read_bytes() == before


def test_once_says_what_waits_and_drain_lets_it_go(pipeline: Pipeline) -> None:
    first = pipeline.run("--once")
    assert "1 events are still in the order buffer" in first.stderr
    assert pipeline.run("--once", "--drain").exit_code == 0
    assert (pipeline.durable / "out" / "ordered.jsonl").read_bytes() == EVENT % 1


def test_no_log_yet_is_no_error_and_it_is_read_once_it_is_there(pipeline: Pipeline) -> None:
    pipeline.log.unlink()
    daemon = pipeline.start()
    try:
        wait_until(lambda: "file_missing" in daemon.said(), "the report of the missing file")
        pipeline.log.write_bytes(EVENT % 1)
        wait_until(lambda: pipeline.progress() == len(EVENT % 1), "a commit")
    finally:
        daemon.kill()


def status_of(pipeline: Pipeline) -> str:
    """What `status` says, and its exit code in front."""
    status = pipeline.command_of("status")
    return f"{status.exit_code} {status.stderr}"


def test_status_fails_while_a_condition_needs_an_operator_and_says_what_to_do(pipeline: Pipeline) -> None:
    pipeline.log.unlink()
    pipeline.log.mkdir()
    daemon = pipeline.start()
    try:
        wait_until(lambda: "not keeping up: source events: " in status_of(pipeline), "the condition")
        assert status_of(pipeline).startswith("69 ")
        pipeline.log.rmdir()
        pipeline.log.write_bytes(EVENT % 1)
        wait_until(lambda: status_of(pipeline).startswith("0 "), "the end of the condition")
    finally:
        daemon.kill()


def test_status_of_a_dead_daemon_says_what_was_known_last(pipeline: Pipeline) -> None:
    pipeline.log.unlink()
    daemon = pipeline.start()
    wait_until(lambda: "not keeping up: source events: " in status_of(pipeline), "the condition")
    daemon.kill()
    assert "nothing is running" in status_of(pipeline)
    assert "when it last ran: source events: " in status_of(pipeline)
    pipeline.log.write_bytes(EVENT % 1)
    assert pipeline.run("--once").exit_code == 0
    assert "when it last ran" not in status_of(pipeline)


@pytest.mark.parametrize("obstacle", ["missing", "folder", "lost"])
def test_once_is_66_if_a_source_is_missing_or_no_file_or_lost_something(pipeline: Pipeline, obstacle: str) -> None:
    assert pipeline.run("--once").exit_code == 0
    if obstacle == "lost":
        replace_unread(pipeline)
    else:
        pipeline.log.unlink()
    if obstacle == "folder":
        pipeline.log.mkdir()
    finished = pipeline.run("--once")
    assert finished.exit_code == 66
    assert ("lost: source events: " if obstacle == "lost" else "not read: source events: ") in finished.stderr


def replace_unread(pipeline: Pipeline) -> None:
    """Appends an event that no run reads, because its file is replaced and removed first."""
    append(pipeline, EVENT % 2)
    pipeline.log.rename(pipeline.folder / "gone")
    append(pipeline, EVENT % 3)
    (pipeline.folder / "gone").unlink()


def test_what_is_lost_is_said_until_the_running_daemon_acknowledges_it(pipeline: Pipeline) -> None:
    assert pipeline.run("--once").exit_code == 0
    replace_unread(pipeline)
    daemon = pipeline.start()
    try:
        wait_until(lambda: "lost: source events: events.jsonl" in status_of(pipeline), "the loss in the checkpoint")
        listed = pipeline.command_of("lost", "--acknowledge")
        assert listed.exit_code == 0
        assert "not found before it was read to its end" in listed.stderr
        assert "acknowledged: 1" in listed.stderr
        assert status_of(pipeline).startswith("0 ")
        assert "nothing is lost" in pipeline.command_of("lost").stderr
    finally:
        daemon.kill()
    assert pipeline.run("--once").exit_code == 0
    assert "lost: source" not in status_of(pipeline)


@pytest.mark.parametrize("fate", ["removed", "replaced", "cut"])
def test_a_sinks_file_that_others_touch_ends_the_idle_daemon_with_74(pipeline: Pipeline, fate: str) -> None:
    assert pipeline.run("--once", "--drain").exit_code == 0
    sink = pipeline.durable / "out" / "ordered.jsonl"
    daemon = pipeline.start()
    wait_until(lambda: "started" in daemon.said(), "the start")
    if fate == "cut":
        sink.write_bytes(b"")
    else:
        sink.unlink()
    if fate == "replaced":
        sink.write_bytes(EVENT % 1)
    finished = daemon.wait()
    assert finished.exit_code == 74
    words = {"removed": "it was removed", "replaced": "another file", "cut": "it was cut to 0 bytes"}[fate]
    assert f"{sink}: write failed: {words}" in finished.stderr
    assert "replay" in finished.stderr
    assert "when it last ran: the process ended with 74" in status_of(pipeline)


def test_rejections_reach_the_log_once_a_minute_with_count_place_and_reason(pipeline: Pipeline) -> None:
    pipeline.log.write_bytes(EVENT % 1 + b"bad\n" * 1000)
    finished = pipeline.run("--once")
    lines = [json.loads(line) for line in finished.stderr.splitlines() if "rejections_counted" in line]
    assert len(lines) <= 2, "the first at once, the rest at the end"
    assert sum(line["count"] for line in lines) == 1000
    assert [lines[0][key] for key in ("source", "path", "line")] == ["events", "events.jsonl", 2]
    assert lines[0]["reason"]


@pytest.mark.parametrize("limit", ["100", '"5 %"'])
def test_too_many_rejected_records_end_it_with_65_after_a_commit(pipeline: Pipeline, limit: str) -> None:
    change(pipeline, "[batch]", f"[dead_letters]\nstop_above = {limit}\n[batch]")
    pipeline.log.write_bytes(EVENT % 1 + b"bad\n" * 5_000 + EVENT % 2)
    finished = pipeline.run("--once")
    assert finished.exit_code == 65
    assert "stop_above" in finished.stderr
    assert "rejected" in finished.stderr
    assert pipeline.verify().exit_code == 0, "what was read is committed, and right"
    assert "when it last ran: the process ended with 65" in status_of(pipeline)
    change(pipeline, f"stop_above = {limit}", 'stop_above = ""')
    assert pipeline.run("--once").exit_code == 0
    committed = pipeline.committed()
    assert committed is not None
    assert committed.records == 5_002, "the start goes on after what was read"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("command", [("run", "--once"), ("replay", "--yes"), ("dead-letters", "purge", "--yes")])
def test_a_command_of_root_keeps_the_owner_of_the_state(pipeline: Pipeline, command: tuple[str, ...]) -> None:
    append(pipeline, b"bad\n")
    assert pipeline.run("--once").exit_code == 0
    for path in (pipeline.durable / "state", *(pipeline.durable / "state").rglob("*")):
        os.chown(path, 54_321, 54_322)
    append(pipeline, EVENT % 2)
    finished = pipeline.command_of(*command)
    assert finished.exit_code == 0, finished.stderr
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (pipeline.durable / "state").rglob("*")}
    assert owners == {(54_321, 54_322)}


def test_the_log_on_stderr_is_one_json_object_a_line(pipeline: Pipeline, daemon: Daemon) -> None:
    daemon.send(signal.SIGTERM)
    daemon.wait()
    events = [json.loads(line)["event"] for line in daemon.said().splitlines()]
    assert events[-1] == "stopped"
    assert "started" in events


def test_an_absolute_path_is_followed_and_stands_in_the_state(pipeline: Pipeline) -> None:
    change(pipeline, 'path = "events.jsonl"', f'path = "{pipeline.log}"')
    assert pipeline.run("--once").exit_code == 0
    files = json.loads(pipeline.checkpoint.read_bytes())["state"]["sources"]["events"]["generations"]
    assert [file["position"]["path"] for file in files] == [str(pipeline.log)]
