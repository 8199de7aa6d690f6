"""Windows imply `order.by = "timestamp"`: in every command, and never by changing the order of a state that exists."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.processes import Pipeline, wait_until

WINDOWS = """
[aggregates.seconds]
measures = { events = "count" }
window = { size_s = 1, start_as = "", end_as = "end", timestamp_format = "epoch_s" }
[sinks.rows]
input = "aggregates.seconds"
path = "out/rows.jsonl"
"""
FIRST_S = 1_767_225_600
YEAR_2200_S = 7_258_118_400


def event(number: int, second: int) -> bytes:
    return json.dumps({"id": number, "category": "a", "value": 1, "timestamp": second}).encode() + b"\n"


def pipeline(folder: Path, content: bytes, *, by: str = "", buffer_events: int = 1024) -> Pipeline:
    made = Pipeline(folder, folder)
    made.prepare(content)
    configure(made, by=by, buffer_events=buffer_events)
    return made


def configure(made: Pipeline, *, by: str = "", buffer_events: int = 1024) -> None:
    order = f'by = "{by}"\n' if by else ""
    (made.folder / "pipeline.toml").write_text(
        '[sources.events]\npath = "events.jsonl"\n[batch]\nbytes_max = 4096\n'
        f"[order]\n{order}buffer_events = {buffer_events}\nidle_release_ms = 0\n"
        f'[state]\ndir = "{made.durable}/state"\n{WINDOWS}'
    )


def ends(made: Pipeline) -> list[int]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (made.folder / "out" / "rows.jsonl").read_bytes().splitlines()]
    assert all(row["events"] == 1 for row in rows)
    return [row["end"] for row in rows]


def test_one_event_of_a_far_future_does_not_make_all_others_late(tmp_path: Path) -> None:
    seconds = [YEAR_2200_S if number == 11 else FIRST_S + number for number in range(5_000)]
    made = pipeline(tmp_path, b"".join(event(number, second) for number, second in enumerate(seconds)))
    assert made.run("--once", "--drain").exit_code == 0
    assert ends(made) == [second + 1 for second in sorted(seconds)]
    assert made.verify().exit_code == 0


@pytest.fixture
def of_ids(tmp_path: Path) -> Pipeline:
    """A state as it was made when windows did not imply an order: the order by id was in effect, and the file did not say so."""
    made = pipeline(tmp_path, event(1, FIRST_S + 9) + event(2, FIRST_S), by="id", buffer_events=1)
    assert made.run("--once").exit_code == 0
    configure(made, buffer_events=1)
    return made


def test_a_state_whose_file_said_nothing_continues_in_its_own_order_and_says_so(of_ids: Pipeline) -> None:
    with of_ids.log.open("ab") as log:
        log.write(event(3, FIRST_S + 20))
    run = of_ids.run("--once", "--drain")
    assert run.exit_code == 0, run.stderr
    assert 'this state was made with \\"id\\" and continues with it' in run.stderr
    assert 'order.by = \\"id\\"' in run.stderr
    assert "event-processor replay" in run.stderr
    # By id, event 1 is released first, so event 2 is late for its window.
    assert ends(of_ids) == [FIRST_S + 10, FIRST_S + 21]
    assert json.loads(of_ids.checkpoint.read_bytes())["meta"]["config"]["order.by"] == "id"
    assert of_ids.verify().exit_code == 0


def test_a_file_that_names_another_order_is_refused_with_the_key_and_the_way_out(of_ids: Pipeline) -> None:
    configure(of_ids, by="timestamp", buffer_events=1)
    refused = of_ids.run("--once")
    assert refused.exit_code == 78
    assert 'order.by: "id" -> "timestamp"' in refused.stderr
    assert "event-processor replay" in refused.stderr


def test_a_state_of_another_window_is_refused_without_a_word_about_the_order(of_ids: Pipeline) -> None:
    path = of_ids.folder / "pipeline.toml"
    path.write_text(path.read_text().replace("size_s = 1", "size_s = 2"))
    refused = of_ids.run("--once")
    assert refused.exit_code == 78
    assert "aggregates.seconds.window" in refused.stderr
    assert "order.by" not in refused.stderr


def test_a_replay_gives_the_rows_that_the_windows_imply(of_ids: Pipeline) -> None:
    assert of_ids.command_of("replay", "--yes").exit_code == 0
    run = of_ids.run("--once", "--drain")
    assert run.exit_code == 0
    assert "order_kept" not in run.stderr
    assert ends(of_ids) == [FIRST_S + 1, FIRST_S + 10]


def test_a_reload_keeps_the_order_of_the_state_and_refuses_another(of_ids: Pipeline) -> None:
    daemon = of_ids.start()
    try:
        wait_until(lambda: "started" in daemon.said(), "the start")
        for by, answer in (("id", '"reloaded"'), ("", '"reloaded"'), ("timestamp", '"reload_refused"')):
            started, answered = daemon.said().count('"started"'), daemon.said().count(answer)
            configure(of_ids, by=by, buffer_events=1)
            daemon.send(signal.SIGHUP)
            wait_until(lambda started=started: daemon.said().count('"started"') > started, f"a start after {by!r}")  # type: ignore[misc]
            # The answer comes after the start: only then the new configuration is known to work.
            wait_until(lambda answer=answer, answered=answered: daemon.said().count(answer) > answered, f"the answer to {by!r}")  # type: ignore[misc]
        assert 'order.by: \\"id\\" -> \\"timestamp\\"' in daemon.said()
        assert daemon.alive
    finally:
        daemon.kill()


def test_config_shows_the_implied_order_and_validate_names_what_an_order_by_id_costs(tmp_path: Path) -> None:
    made = pipeline(tmp_path, b"")
    shown = made.command_of("config").stderr
    assert 'order.by = "timestamp"' in shown
    assert "note" not in made.command_of("validate").stderr
    configure(made, by="id")
    assert 'order.by = "id"' in made.command_of("config").stderr
    checked = made.command_of("validate")
    assert checked.exit_code == 0
    assert 'order.by = "id"' in checked.stderr
    assert "late" in checked.stderr
