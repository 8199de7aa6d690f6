"""`verify --sink` of a lane with a history: paused, skipped, retried, dropped, renamed, detached, with a key, with shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in
from support.sql_tables import BAD, differences, line, make_tables, query, write


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    make_tables(made)
    return made


def test_a_paused_sink_is_compared_as_far_as_it_is(shell: Shell) -> None:
    assert shell.call("sinks", "pause", "rows") == 0
    write(shell, 21, 25)
    shell.call("run", "--once")
    assert shell.call("verify", "--sink", "rows") == 0
    assert shell.out.splitlines() == [
        "sink rows: ok: table results, records 1 to 20: 19 delivered, 1 failed, 0 skipped",
        "sink rows: 5 records pending",
    ]


def test_a_state_that_is_older_than_the_database_cannot_tell(shell: Shell) -> None:
    kept = {path: path.read_bytes() for path in shell.path("state").rglob("*") if path.is_file()}
    write(shell, 21, 25)
    assert shell.call("run", "--once") == 0
    for path in [path for path in shell.path("state").rglob("*") if path.is_file()]:
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    assert shell.call("verify", "--sink", "rows") == 66
    assert "its database is at record 25, but this state has released 20" in shell.out


def test_a_dropped_sink_that_began_again_is_compared_from_there(shell: Shell) -> None:
    assert shell.call("sinks", "drop", "rows", "--yes") == 0
    assert shell.call("run", "--once") == 0
    write(shell, 21, 23)
    assert shell.call("run", "--once") == 0
    assert shell.call("verify", "--sink", "rows") == 0, shell.out + shell.err
    assert shell.out.splitlines() == [
        "sink rows: ok: table results, records 21 to 23: 3 delivered, 0 failed, 0 skipped",
        "sink rows: not compared: 19 rows from before this sink started",
    ]


def test_a_renamed_sink_keeps_its_rows(shell: Shell) -> None:
    assert shell.call("sinks", "rename", "rows", "results") == 0
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text().replace("[sinks.rows]", "[sinks.results]"))
    assert shell.call("verify", "--sink", "results") == 0, shell.out + shell.err
    assert "records 1 to 20: 19 delivered, 1 failed" in shell.out
    write(shell, 21, 23)
    assert shell.call("run", "--once") == 0
    assert shell.call("verify", "--sink", "results") == 0, shell.out + shell.err
    assert "records 1 to 23: 22 delivered, 1 failed" in shell.out
    query(shell, "DELETE FROM results WHERE id IN (3, 22)")
    assert [each["sequence"] for each in differences(shell, "results")] == [3, 22]


def retry(shell: Shell, amount: str = "7.5") -> None:
    """Repairs the failed record, and sends it again."""
    assert shell.call("dead-letters", "export", "--sink", "rows", "--output", "failed.jsonl") == 0
    path = shell.path("failed.jsonl")
    path.write_text(path.read_text().replace('"much"', amount))
    assert shell.call("dead-letters", "retry", "failed.jsonl", "--sink", "rows") == 0, shell.err
    assert shell.call("run", "--once") == 0


def test_a_retried_record_is_compared_with_its_repaired_form(shell: Shell) -> None:
    retry(shell)
    assert shell.call("verify", "--sink", "rows") == 0, shell.out + shell.err
    assert shell.out.splitlines() == [
        "sink rows: ok: table results, records 1 to 20: 19 delivered, 1 failed, 0 skipped",
        "sink rows: 1 retried record compared too",
    ]
    query(shell, "UPDATE results SET amount = 8 WHERE _sink = 'rows.retry'")
    (found,) = differences(shell)
    assert (found["sequence"], found["line"], found["committed"], found["recomputed"]) == (1, BAD, 8, 7.5)
    assert "retried record 1 (" in found["path"]
    query(shell, "DELETE FROM results WHERE _sink = 'rows.retry'")
    (found,) = differences(shell)
    assert (found["sequence"], found["committed"]) == (1, None)


def test_retried_rows_without_their_file_are_counted(shell: Shell) -> None:
    retry(shell)
    shell.path("state", "delivery", "rows.retry.jsonl").unlink()
    assert shell.call("verify", "--sink", "rows") == 0, shell.out + shell.err
    assert "sink rows: not compared: 1 row of retried records, whose file is gone" in shell.out


def test_a_record_that_was_skipped_is_a_failed_row_of_its_own_kind(shell: Shell) -> None:
    assert shell.call("sinks", "pause", "rows") == 0
    write(shell, 21, 25)
    shell.call("run", "--once")
    assert shell.call("sinks", "skip", "rows", "22") == 0
    assert shell.call("sinks", "resume", "rows") == 0
    assert shell.call("run", "--once") == 0
    assert shell.call("verify", "--sink", "rows") == 0, shell.out + shell.err
    assert "records 1 to 25: 23 delivered, 1 failed, 1 skipped" in shell.out
    query(shell, "UPDATE event_processor_failed SET stage = 'deliver' WHERE sequence = 22")
    assert {each["path"].rpartition(" ")[2] for each in differences(shell)} == {"failed", "skipped"}


def test_a_table_with_a_key_has_the_last_row_of_each(shell: Shell) -> None:
    assert shell.call("verify", "--sink", "latest") == 0, shell.out + shell.err
    assert shell.out.splitlines() == [
        "sink latest: ok: table latest, records 1 to 20: 20 delivered, 0 failed, 0 skipped",
        "sink latest: 17 delivered records replaced by a later row with the same key",
    ]
    query(shell, "UPDATE latest SET id = 17, _sequence = 17, _line = 17, _offset = (SELECT _offset FROM results WHERE id = 17) "
          "WHERE category = 'c2'")  # fmt: skip
    (found,) = differences(shell, "latest")
    assert (found["sequence"], found["committed"]) == (20, "a row of record 17 of latest, pipeline event-processor")
    assert found["recomputed"] == {"category": "c2", "id": 20}
    query(shell, "DELETE FROM latest WHERE category = 'c2'")
    assert [each["sequence"] for each in differences(shell, "latest")] == [2, 5, 8, 11, 14, 17, 20]


def test_a_row_with_a_key_that_another_sink_replaced_is_a_difference(shell: Shell) -> None:
    query(shell, "UPDATE latest SET _sink = 'other' WHERE category = 'c0'")
    found = differences(shell, "latest")
    assert [each["sequence"] for each in found] == [3, 6, 9, 12, 15, 18]
    assert {each["committed"] for each in found} == {"a row of record 18 of other, pipeline event-processor"}


def test_rows_from_before_a_column_was_added_are_counted(shell: Shell) -> None:
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text().replace('more = "json"', 'more = "json", value = "integer"'))
    assert shell.call("verify", "--sink", "rows") == 66
    assert "the table results has no column value" in shell.out
    assert shell.call("sql", "apply") == 0
    write(shell, 21, 23)
    assert shell.call("run", "--once") == 0, shell.err
    assert shell.call("verify", "--sink", "rows") == 0, shell.out
    assert "sink rows: not compared: 19 rows from before the column value was added" in shell.out
    query(shell, "UPDATE results SET value = NULL WHERE id = 22")
    (found,) = differences(shell)
    assert (found["sequence"], found["column"], found["committed"], found["recomputed"]) == (22, "value", None, 1)


def test_at_most_a_hundred_differences_are_shown_and_all_are_counted(shell: Shell) -> None:
    write(shell, 21, 200)
    assert shell.call("run", "--once") == 0
    query(shell, "DELETE FROM results")
    assert shell.call("verify", "--sink", "rows") == 65
    assert shell.out.splitlines()[0].startswith("sink rows: 199 differences")
    assert shell.out.splitlines()[-1] == "only the first 100 of 199 differences are shown"


def test_losses_that_are_not_acknowledged_are_66(shell: Shell) -> None:
    log = shell.path("events.jsonl")
    content = log.read_bytes()
    log.rename(shell.path("kept"))
    log.write_bytes(content[: len(line(1))])
    assert shell.call("run", "--once") in (0, 66)
    code = shell.call("verify", "--sink", "rows")
    assert code == 66, shell.out + shell.err


def test_shards_that_share_a_table_are_told_apart_by_the_place_of_a_row(shell: Shell) -> None:
    path = shell.path("event-processor.toml")
    text = path.read_text().replace("out/copy.jsonl", "out/copy-{shard}.jsonl").replace('"results"', '"shared"')
    start, _, latest = text.partition("[sinks.latest]")
    path.write_text(f"{start}[sinks.latest]{latest.replace('results.db', 'latest-{shard}.db')}")
    shards = [["--set", "state.dir=shards/{shard}", "--set", f"engine.shard={number}/2"] for number in (1, 2)]
    write(shell, 21, 40)
    for shard in shards:
        assert shell.call("run", "--once", *shard) == 0, shell.err
    counts = []
    for shard in shards:
        assert shell.call("verify", "--sink", "rows", "--sink", "latest", "--json", *shard) == 0, shell.out + shell.err
        rows, latest_rows = json.loads(shell.out)["tables"]
        assert (rows["delivered"] + rows["others"], latest_rows["others"]) == (39, 0)
        counts.append(rows["delivered"])
    assert sum(counts) == 39
    assert min(counts) > 0
    query(shell, "DELETE FROM shared WHERE id = 30")
    assert sorted(shell.call("verify", "--sink", "rows", *shard) for shard in shards) == [0, 65]


def test_a_detached_sink_is_compared_as_far_as_it_was_sent_records(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[outbox]\nbytes_max = 1_048_576\nwhen_full = "detach"\n')
    assert shell.call("sinks", "pause", "rows") == 0
    large = f'"pad": "{"x" * 100_000}", "amount"'
    for first, last in ((21, 31), (32, 33), (34, 35)):
        with shell.path("events.jsonl").open("a") as log:
            log.write("".join(line(number).replace('"amount"', large) for number in range(first, last + 1)))
        shell.call("run", "--once")
    (table,) = shell.json("verify", "--sink", "rows")["tables"]
    assert (table["through"], table["released"]) == (20, 35)
    assert table["detached"] > 0
    assert table["pending"] + table["detached"] == 15
    assert shell.call("sinks", "attach", "rows") == 0, shell.err
    assert shell.call("sinks", "resume", "rows") == 0
    assert shell.call("run", "--once") == 0, shell.err
    (table,) = shell.json("verify", "--sink", "rows")["tables"]
    assert (table["through"], table["delivered"], table["detached"]) == (35, 34, 0)


def test_a_renamed_sink_keeps_its_retried_records(shell: Shell) -> None:
    retry(shell)
    assert shell.call("sinks", "rename", "rows", "results") == 0
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text().replace("[sinks.rows]", "[sinks.results]"))
    for _ in range(2):
        assert shell.call("verify", "--sink", "results") == 0, shell.out + shell.err
        assert "sink results: 1 retried record compared too" in shell.out
        # Its cursor in the database gets the new name too.
        assert shell.call("run", "--once") == 0, shell.err
    assert query(shell, "SELECT sink FROM event_processor_cursor ORDER BY sink") == [
        ("latest",),
        ("results",),
        ("results.retry",),
    ]
