"""`explain` over remote sinks: when a record was released, its tries, and how it ended at each sink."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from event_processor.engine.delivery.tries import Try, TryRing
from event_processor.storage.append_file import lines_with
from event_processor.storage.durable import OperatingSystem
from support.outbox import outbox_line
from support.processes import wait_until
from support.remote_shell import RemoteShell, remote_shell_in

KEYS = [
    "sink", "retry", "source", "generation", "offset", "sequence", "released_at", "chain", "result", "at", "status", "reason", "tries",
    "last_tries",
]  # fmt: skip
LATER = "2999-01-01T00:00:0{}.000Z"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    return remote_shell_in(tmp_path, monkeypatch, capsys)


def delivered(shell: RemoteShell) -> None:
    """All six records were answered, and no try is known."""
    shell.deliver_all()
    write_tries(shell)


def write_tries(shell: RemoteShell, *tries: Try) -> None:
    """The ring holds these tries, and no others."""
    folder = shell.path("state", "history")
    folder.mkdir(exist_ok=True)
    for path in folder.glob("tries.*"):
        path.unlink()
    ring = TryRing(OperatingSystem(), str(shell.path("state")))
    for each in tries:
        ring.note(each)
    ring.flush()


def tried(second: int, sequences: tuple[int, ...], verdict: str, status: str, words: str = "", **more: Any) -> Try:
    facts: dict[str, Any] = {"sink": "remote", "stage": "deliver", "number": second, "took_ms": 2.5, **more}
    return Try(at=LATER.format(second), sequences=sequences, verdict=verdict, status=status, words=words, **facts)


def outbox(shell: RemoteShell) -> dict[int, dict[str, Any]]:
    """The records of the outbox by id."""
    (path,) = shell.path("state", "outbox").iterdir()
    return {line["object"]["id"]: line for line in map(outbox_line, path.read_bytes().splitlines())}


def lanes_of(shell: RemoteShell, event_id: int) -> list[dict[str, Any]]:
    """What the lanes did with an integer id."""
    (found,) = [each for each in shell.json("explain", str(event_id))["ids"] if each["id"] == event_id]
    return list(found.get("lanes", []))


def shown(shell: RemoteShell, event_id: int) -> list[str]:
    """The lines below the accepted place."""
    assert shell.call("explain", str(event_id)) == 0, shell.err
    lines = shell.out.splitlines()
    assert lines[1].startswith("  accepted   log.jsonl:")
    return lines[2:]


def test_a_delivered_record_has_its_release_its_tries_and_the_time_of_the_last(shell: RemoteShell) -> None:
    delivered(shell)
    write_tries(
        shell,
        tried(1, (1, 2), "wait", "503", "busy", next_in_s=1.5),
        tried(2, (2,), "wait", "", "timed out", next_in_s=3.0),
        tried(3, (2, 4), "delivered", "200"),
        tried(4, (1,), "delivered", "200"),
        tried(5, (2,), "delivered", "200", sink="other"),
    )
    record = outbox(shell)[2]
    (lane,) = lanes_of(shell, 2)
    assert list(lane) == KEYS
    assert {name: lane[name] for name in KEYS[:-1]} == {
        "sink": "remote",
        "retry": "",
        **{name: record["place"][name] for name in ("source", "generation", "offset")},
        "sequence": 2,
        "released_at": record["@now"],
        "chain": record["chain"],
        "result": "delivered",
        "at": LATER.format(3),
        "status": "200",
        "reason": "",
        "tries": None,
    }
    assert lane["last_tries"][0] == {
        "at": LATER.format(1),
        "stage": "deliver",
        "number": 1,
        "records": 2,
        "took_ms": 2.5,
        "verdict": "wait",
        "status": "503",
        "words": "busy",
        "next_in_s": 1.5,
    }
    at = [LATER.format(each) for each in range(4)]
    assert shown(shell, 2) == [
        f"  released   sequence 2, {record['@now']}",
        f"  remote     delivered at {at[3]}; 3 tries: {at[1]} 503 busy (wait 1.5 s), {at[2]} timed out (wait 3.0 s), {at[3]} 200",
    ]


def test_a_delivered_record_without_known_tries_has_no_time(shell: RemoteShell) -> None:
    delivered(shell)
    assert shown(shell, 1)[1] == "  remote     delivered; its last tries are no longer known"
    write_tries(shell, tried(4, (1,), "wait", "503"), tried(5, (1,), "delivered", "200"))
    assert f"delivered at {LATER.format(5)}; the last 2 tries: " in shown(shell, 1)[1]


def test_a_try_before_the_release_was_of_another_record(shell: RemoteShell) -> None:
    delivered(shell)
    old = Try("2001-01-01T00:00:00.000Z", "remote", "deliver", (1,), 1, 2.5, "delivered", "200")
    write_tries(shell, old)
    assert (lanes_of(shell, 1)[0]["at"], lanes_of(shell, 1)[0]["last_tries"]) == ("", [])


def test_an_enrichers_answer_is_not_the_time_of_delivery(shell: RemoteShell) -> None:
    delivered(shell)
    write_tries(shell, tried(1, (1,), "delivered", "200", stage="predict"))
    assert lanes_of(shell, 1)[0]["at"] == ""
    assert f"1 try: {LATER.format(1)} predict: 200" in shown(shell, 1)[1]


def test_a_failed_record_has_the_receivers_words_and_its_retries(shell: RemoteShell) -> None:
    delivered(shell)
    (letter,) = shell.json("dead-letters", "list", "--sink", "remote")["failed"]
    (lane,) = lanes_of(shell, 3)
    assert (lane["result"], lane["sequence"], lane["reason"], lane["tries"]) == ("failed", 3, "negative", letter["tries"])
    assert shown(shell, 3)[1:] == [f"  remote     failed at {letter['failed_at']}: negative"]
    for value, number in ((-5, 1), (3, 2)):
        last = shell.json("dead-letters", "list", "--sink", "remote")["failed"][-1]
        last["object"]["value"] = value
        shell.path("repaired.jsonl").write_text(json.dumps(last))
        assert shell.call("dead-letters", "retry", "repaired.jsonl", "--sink", "remote") == 0
        waiting = lanes_of(shell, 3)[-1]
        assert (waiting["retry"], waiting["sequence"], waiting["result"]) == (f"r{number}", number, "pending")
        shell.deliver_all()
        (first,) = shell.json("sinks", "list")["sinks"]
        assert first["retried"] == {"delivered": number - 1, "failed": 1, "pending": 0, "state": "not running", "words": ""}
    write_tries(shell, tried(7, (2,), "delivered", "200", sink="remote.retry", number=1), tried(8, (2,), "wait", "503"))
    found = [(each["retry"], each["result"], each["reason"], len(each["last_tries"])) for each in lanes_of(shell, 3)]
    assert found == [("", "failed", "negative", 0), ("r1", "failed", "negative", 0), ("r2", "delivered", "", 1)]
    assert shown(shell, 3)[-1] == f"  remote r2  delivered at {LATER.format(7)}; 1 try: {LATER.format(7)} 200"


def test_only_committed_failed_records_of_this_state_count(shell: RemoteShell) -> None:
    delivered(shell)
    path = shell.path("state", "delivery", "remote.failed.jsonl")
    place = outbox(shell)[1]["place"]
    state_id = json.loads(path.read_text())["key"].partition(":")[0]
    line = {**json.loads(path.read_text()), "sequence": 1, "place": place}
    more = json.dumps({**line, "key": f"{state_id}:x"}, separators=(",", ":")) + "\n"
    other = json.dumps({**line, "key": "another:x"}, separators=(",", ":")) + "\n"
    path.write_text(other + path.read_text() + more)
    cursor = shell.path("state", "delivery", "remote.json")
    committed = json.loads(cursor.read_text())
    cursor.write_text(json.dumps({**committed, "failed_bytes": committed["failed_bytes"] + len(other)}))
    assert lanes_of(shell, 1)[0]["result"] == "delivered"
    cursor.write_text(json.dumps({**committed, "failed_bytes": path.stat().st_size}))
    assert lanes_of(shell, 1)[0]["result"] == "failed"


def test_a_pending_and_a_skipped_record(shell: RemoteShell) -> None:
    delivered(shell)
    shell.call("sinks", "pause", "remote")
    shell.append(7, 2)
    shell.run_once()
    shell.call("sinks", "skip", "remote", "8")
    write_tries(shell, tried(1, (7,), "wait", "503", "busy"))
    assert [lanes_of(shell, each)[0]["result"] for each in (7, 8)] == ["pending", "skipped"]
    assert shown(shell, 7)[1] == f"  remote     pending; 1 try: {LATER.format(1)} 503 busy"
    assert shown(shell, 8)[1].endswith("Z: an operator skipped it")


def test_a_record_before_the_sink_started_is_not_sent(shell: RemoteShell) -> None:
    with_sink = shell.path("event-processor.toml").read_text()
    shell.path("event-processor.toml").write_text(with_sink.partition("[sinks.")[0])
    assert shell.run_once() == 0
    assert shell.json("explain", "1")["ids"][1].keys() == {"id", "accepted", "duplicates", "rejected", "unlisted"}
    shell.path("event-processor.toml").write_text(with_sink)
    shell.append(7, 1)
    shell.deliver_all()
    assert [lanes_of(shell, each)[0]["result"] for each in (1, 7)] == ["before", "delivered"]
    assert shown(shell, 1) == [
        "  released   before a remote sink started; no outbox has its record",
        "  remote     not sent: released before this sink started",
    ]
    more = '[sinks.later]\ntype = "python"\nclass = "receiver_of_a_test:Receiver"\noptions = { folder = "." }\n'
    shell.configure(more=more)
    shell.run_once()
    found = [(each["sink"], each["sequence"], each["result"]) for each in lanes_of(shell, 7)]
    assert found == [("later", 1, "before"), ("remote", 1, "delivered")]
    for path in shell.path("state", "outbox").iterdir():
        path.unlink()
    found = [(each["sink"], each["sequence"], each["result"]) for each in lanes_of(shell, 1)]
    assert found == [("later", None, "before"), ("remote", None, "unknown")]
    assert shown(shell, 1)[2] == "  remote     unknown: answered, or released before this sink started"


def test_a_held_record_waits_in_the_order_buffer(shell: RemoteShell) -> None:
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text().replace("buffer_events = 0", "buffer_events = 2"))
    shell.call("run", "--once")
    assert [lanes_of(shell, each)[0]["result"] for each in (4, 5, 6)] != ["held"] * 3
    assert [lanes_of(shell, each)[0]["result"] for each in (5, 6)] == ["held"] * 2
    assert shown(shell, 6) == ["  released   not yet", "  remote     waits in the order buffer"]


def test_a_record_whose_file_is_gone_was_answered_long_ago(shell: RemoteShell) -> None:
    delivered(shell)
    (path,) = shell.path("state", "outbox").iterdir()
    path.unlink()
    (lane,) = lanes_of(shell, 1)
    assert (lane["result"], lane["sequence"], lane["released_at"]) == ("answered", None, None)
    assert shown(shell, 1) == [
        "  released   long ago; its record is no longer in the outbox",
        "  remote     answered long ago",
    ]
    (failed,) = lanes_of(shell, 3)
    assert (failed["result"], failed["sequence"], failed["released_at"]) == ("failed", 3, None)


def test_a_lane_that_cannot_be_read_is_unknown_with_the_reason(shell: RemoteShell) -> None:
    delivered(shell)
    shell.path("state", "delivery", "remote.json").write_text("nonsense")
    (lane,) = lanes_of(shell, 1)
    assert (lane["sequence"], lane["result"]) == (1, "unknown")
    assert "is not the cursor of a lane" in lane["reason"]
    assert "  remote     unknown: " in shown(shell, 1)[1]


def test_a_broken_line_of_the_outbox_is_65(shell: RemoteShell) -> None:
    delivered(shell)
    (path,) = shell.path("state", "outbox").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"chain"', b'"chaim"'))
    assert shell.call("explain", "1") == 65
    assert "has a line that cannot be read" in shell.err


def test_records_before_a_rename_keep_the_tries_under_the_earlier_name(shell: RemoteShell) -> None:
    delivered(shell)
    shell.configure("other")
    assert shell.call("sinks", "rename", "remote", "other") == 0
    write_tries(shell, tried(1, (1, 7), "delivered", "200"), tried(2, (7,), "delivered", "201", sink="other"))
    shell.append(7, 1)
    shell.deliver_all()
    write_tries(shell, tried(1, (1, 7), "delivered", "200"), tried(2, (7,), "delivered", "201", sink="other"))
    assert [len(lanes_of(shell, each)[0]["last_tries"]) for each in (1, 7)] == [1, 1]
    assert [lanes_of(shell, each)[0]["status"] for each in (1, 7)] == ["200", "201"]


def test_an_id_is_explained_while_a_daemon_runs(shell: RemoteShell) -> None:
    with shell.running():
        # A moment after the figures, the cursor says so too.
        wait_until(
            lambda: [each["result"] for id_ in (1, 3) for each in lanes_of(shell, id_)] == ["delivered", "failed"],
            "the cursor is saved",
        )


@pytest.mark.parametrize("count", [3, 20])
def test_lines_are_found_whatever_block_they_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    lines = [b'{"n":%d,"text":"%b"}' % (each, b"x" * (each % 7)) for each in range(100)]
    content = b"\n".join(lines) + b"\n"
    path = tmp_path / "lines.jsonl"
    path.write_bytes(content + b'{"n":1,"beyond":1}\n')
    wanted = {str(each).encode() for each in range(0, 100, 100 // count)}
    expected = [line for line in lines if str(json.loads(line)["n"]).encode() in wanted]
    pattern = re.compile(rb'"n":(\d+),')
    for block_bytes in (1, 7, 30, 1 << 20):
        monkeypatch.setattr("event_processor.storage.append_file.READ_BYTES", block_bytes)
        assert [*lines_with(OperatingSystem(), str(path), len(content), pattern, wanted)] == expected
    assert [*lines_with(OperatingSystem(), str(path), len(content) - 1, pattern, wanted)] == expected
