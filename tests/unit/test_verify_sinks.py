"""`verify --sink`: the rows of a database against the log, by the real command line and real SQLite."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell, shell_in

CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[sinks.rows]
type = "sql"
url = "sqlite:///out/results.db"
table = "results"
columns = { id = "integer", amount = "double", at = "timestamp", more = "json" }
[sinks.latest]
type = "sql"
url = "sqlite:///out/results.db"
table = "latest"
columns = { category = "text", id = "integer" }
upsert = ["category"]
[sinks.copy]
path = "out/copy.jsonl"
"""
EVENTS = 20
BAD = 7
"""The amount of this event does not fit its column."""


def line(number: int) -> str:
    amount = '"much"' if number == BAD else str(number / 4)
    fields = f'"at": "2026-01-01T00:{number // 60:02}:{number % 60:02}+01:00", "more": {{"n": [{number}, 1.50]}}'
    return f'{{"id": {number}, "category": "c{number % 3}", "value": 1, "amount": {amount}, {fields}}}\n'


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    made.path("event-processor.toml").write_text(CONFIGURATION)
    write(made, 1, EVENTS)
    assert made.call("run", "--once") == 0, made.err
    return made


def write(shell: Shell, first: int, last: int) -> None:
    with shell.path("events.jsonl").open("a") as log:
        log.write("".join(map(line, range(first, last + 1))))


def query(shell: Shell, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(shell.path("out", "results.db"))) as connection, connection:
        return connection.execute(statement, values).fetchall()


def differences(shell: Shell, sink: str = "rows") -> list[dict[str, Any]]:
    assert shell.call("verify", "--sink", sink, "--json") == 65, shell.out + shell.err
    document = json.loads(shell.out)
    assert document["ok"] is False
    assert document["differing"] == document["tables"][0]["differing"] == len(document["differences"])
    return list(document["differences"])


def test_an_untouched_table_is_ok(shell: Shell) -> None:
    assert shell.call("verify", "--sink", "rows") == 0, shell.out + shell.err
    assert shell.out == "sink rows: ok: table results, records 1 to 20: 19 delivered, 1 failed, 0 skipped\n"


def test_json_keeps_its_contract(shell: Shell) -> None:
    document = shell.json("verify", "--sink", "rows", "--sink", "copy")
    assert list(document) == ["ok", "size_bytes", "sinks", "tables", "differing", "differences", "lost", "lost_unlisted"]
    assert document["size_bytes"] == shell.path("events.jsonl").stat().st_size
    assert [each["name"] for each in document["sinks"]] == ["copy"]
    assert document["tables"] == [
        {
            "name": "rows", "table": "results", "input": "events", "started_after": 0, "through": 20, "released": 20,
            "delivered": 19, "replaced": 0, "failed": 1, "skipped": 0, "pending": 0, "detached": 0, "retried": 0, "retried_left_out": 0,
            "earlier": 0, "others": 0, "columns_not_compared": [], "unfilled": {}, "differing": 0, "not_compared": "",
        }
    ]  # fmt: skip


def test_a_row_that_was_deleted_is_named_with_its_line(shell: Shell) -> None:
    query(shell, "DELETE FROM results WHERE id = 5")
    (found,) = differences(shell)
    offset = sum(len(line(number)) for number in range(1, 5))
    assert (found["sequence"], found["file"], found["line"], found["offset"]) == (5, str(shell.path("events.jsonl")), 5, offset)
    assert (found["committed"], found["column"]) == (None, "")
    assert found["recomputed"] == {"id": 5, "amount": 1.25, "at": "2025-12-31T23:00:05Z", "more": '{"n": [5, 1.50]}'}
    assert shell.call("verify", "--sink", "rows") == 65
    first, second = shell.out.splitlines()
    assert first == "sink rows: 1 difference: table results, records 1 to 20: 19 delivered, 1 failed, 0 skipped"
    place = f"sinks.rows: table results, record 5 ({shell.path('events.jsonl')}:5, byte {offset}), a row: "
    values = '{"id":5,"amount":1.25,"at":"2025-12-31T23:00:05Z","more":"{\\"n\\": [5, 1.50]}"}'
    assert second == f"{place}committed nothing, from the log {values}"


def test_a_row_that_is_there_twice_is_named(shell: Shell) -> None:
    query(shell, "INSERT INTO results SELECT * FROM results WHERE id = 5")
    (found,) = differences(shell)
    assert (found["sequence"], found["committed"], found["recomputed"]) == (5, 2, 1)
    assert found["path"].endswith("rows of one record")


@pytest.mark.parametrize(
    ("column", "value", "committed", "recomputed"),
    [
        ("id", 50, 50, 5),
        ("amount", 1.2500000000000002, 1.2500000000000002, 1.25),
        ("amount", None, None, 1.25),
        ("at", "2025-12-31T23:00:05.1Z", "2025-12-31T23:00:05.1Z", "2025-12-31T23:00:05Z"),
        ("more", '{"n": [5, 1.51]}', '{"n": [5, 1.51]}', '{"n": [5, 1.50]}'),
        ("_source", "other", "other", "events"),
        ("_generation", 2, 2, 1),
        ("_line", 6, 6, 5),
        ("_offset", None, None, sum(len(line(number)) for number in range(1, 5))),
    ],
)
def test_a_value_that_was_changed_is_named_with_its_column(
    shell: Shell, column: str, value: Any, committed: Any, recomputed: Any
) -> None:
    query(shell, f"UPDATE results SET {column} = ? WHERE id = 5", value)
    (found,) = differences(shell)
    assert (found["sequence"], found["column"]) == (5, column)
    assert (found["committed"], found["recomputed"]) == (committed, recomputed)


def test_long_values_are_shown_where_they_begin_to_differ(shell: Shell) -> None:
    query(shell, "UPDATE results SET more = ? WHERE id = 5", "x" * 1000)
    (found,) = differences(shell)
    assert found["committed"] == "x" * 200 + "…"


def test_a_text_that_is_not_utf_8_is_a_difference(shell: Shell) -> None:
    query(shell, "UPDATE results SET more = CAST(x'ff41' AS TEXT) WHERE id = 5")
    (found,) = differences(shell)
    assert found["committed"] == "\\xffA"


def test_a_failed_row_that_was_removed_is_named(shell: Shell) -> None:
    query(shell, "DELETE FROM event_processor_failed")
    (found,) = differences(shell)
    assert (found["sequence"], found["line"], found["recomputed"]) == (BAD, BAD, "a failed row")
    assert '("amount" is not a number)' in found["path"]


def test_a_row_beside_its_failed_row_is_named(shell: Shell) -> None:
    query(shell, f"INSERT INTO results SELECT {BAD}, 1.75, at, more, _pipeline, _sink, _source, _generation, _offset, _line, {BAD}, "
          "_delivered_at, _software FROM results WHERE id = 5")  # fmt: skip
    (found,) = differences(shell)
    assert (found["sequence"], found["committed"], found["recomputed"]) == (BAD, 2, 1)


def test_a_row_after_the_cursor_is_one_too_many(shell: Shell) -> None:
    query(shell, "UPDATE results SET _sequence = 99 WHERE id = 20")
    missing, found = differences(shell)
    assert (missing["sequence"], missing["committed"]) == (20, None)
    assert (found["sequence"], found["line"], found["recomputed"]) == (99, 20, None)


def test_a_cursor_that_was_moved_is_a_difference_of_the_chain_and_the_rows(shell: Shell) -> None:
    query(shell, "UPDATE event_processor_cursor SET sequence = 19 WHERE sink = 'rows'")
    row, chain = differences(shell)
    assert (row["sequence"], chain["sequence"]) == (20, 19)
    assert chain["path"].endswith("the chain at record 19")


def test_counts_of_the_cursor_that_are_not_those_of_the_rows_are_a_difference(shell: Shell) -> None:
    query(shell, "UPDATE event_processor_cursor SET delivered = 18, skipped = 1 WHERE sink = 'rows'")
    found = [(each["path"].rpartition(", ")[2], each["committed"], each["recomputed"]) for each in differences(shell)]
    assert found == [("the cursor's count of delivered", 18, 19), ("the cursor's count of skipped", 1, 0)]


def test_a_log_that_was_changed_is_a_difference(shell: Shell) -> None:
    # In the middle: the beginning and the end identify a file.
    write(shell, 21, 200)
    assert shell.call("run", "--once") == 0
    log = shell.path("events.jsonl")
    log.write_text(log.read_text().replace('"amount": 20.0', '"amount": 21.0'))
    value, chain = differences(shell)
    assert (value["sequence"], value["column"], value["committed"], value["recomputed"]) == (80, "amount", 20.0, 21.0)
    assert (chain["sequence"], chain["path"].rpartition(", ")[2]) == (200, "the chain at record 200")


def test_a_log_that_is_gone_is_66(shell: Shell) -> None:
    shell.path("events.jsonl").write_bytes(b"")
    assert shell.call("verify", "--sink", "rows") == 66
    assert "source 'events', generation 1" in shell.err


def test_rows_of_another_pipeline_are_counted_and_left_out(shell: Shell) -> None:
    columns = "id, amount, at, more, _source, _generation, _offset, _line, _sequence, _delivered_at, _software"
    for pipeline, sink in (("other", "rows"), ("event-processor", "more")):
        query(
            shell,
            f"INSERT INTO results ({columns}, _pipeline, _sink) SELECT {columns}, ?, ? FROM results WHERE _sink = 'rows' "
            "AND _pipeline = 'event-processor' LIMIT 3",
            pipeline,
            sink,
        )
    assert shell.call("verify", "--sink", "rows") == 0, shell.out
    assert shell.out.splitlines()[1:] == ["sink rows: not compared: 6 rows of other sinks or pipelines"]


def test_a_table_without_its_lineage_cannot_be_compared(shell: Shell) -> None:
    query(shell, "DROP VIEW event_processor_whence")
    query(shell, "ALTER TABLE results DROP COLUMN _line")
    assert shell.call("verify", "--sink", "rows") == 66
    assert "sink rows: not compared: the table results has no column _line; see: event-processor sql plan rows" in shell.out


def test_a_table_that_is_gone_lacks_every_row(shell: Shell) -> None:
    query(shell, "DROP TABLE results")
    assert [each["sequence"] for each in differences(shell)] == [n for n in range(1, EVENTS + 1) if n != BAD]


def test_a_lost_database_is_65_and_is_not_made(shell: Shell) -> None:
    for path in shell.path("out").glob("results.db*"):
        path.unlink()
    assert shell.call("verify", "--sink", "rows") == 65
    assert "its database does not know this pipeline, but 20 records were answered" in shell.err
    assert not shell.path("out", "results.db").exists()


def test_the_database_of_another_state_is_65(shell: Shell) -> None:
    query(shell, "UPDATE event_processor_cursor SET state_id = 'another'")
    assert shell.call("verify", "--sink", "rows") == 65
    assert "belongs to another state of the pipeline event-processor: another" in shell.err


def test_a_damaged_database_is_65(shell: Shell) -> None:
    for path in shell.path("out").glob("results.db*"):
        path.unlink()
    shell.path("out", "results.db").write_bytes(b"no database" * 1000)
    assert shell.call("verify", "--sink", "rows") == 65
    assert "sinks.rows: file is not a database" in shell.err


def test_a_file_of_a_sink_is_compared_alone(shell: Shell) -> None:
    query(shell, "DELETE FROM results")
    assert shell.call("verify", "--sink", "copy") == 0
    path = shell.path("out", "copy.jsonl")
    assert shell.out == f"sink copy: ok: {path.stat().st_size:,} bytes ({path})\n"
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
    assert shell.call("verify", "--sink", "copy") == 65
    assert shell.out.startswith("sinks.copy (byte ")


def test_a_name_that_is_no_sink_is_64_with_the_nearest_one(shell: Shell) -> None:
    assert shell.call("verify", "--sink", "row") == 64
    assert "row: no such sink is configured" in shell.err
    assert "did you mean rows?" in shell.err


def test_the_full_verify_says_how_to_compare_a_table(shell: Shell) -> None:
    assert shell.call("verify") == 0
    assert "sink rows: not compared: event-processor verify --sink rows compares its rows" in shell.out


def test_a_sink_whose_receiver_cannot_be_read_is_66_beside_one_that_can(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[services.api]\nbase_url = "http://127.0.0.1:9"\n[sinks.web]\ntype = "http"\nservice = "api"\n')
    assert shell.call("verify", "--sink", "web", "--sink", "rows") == 66
    assert 'sink web: not compared: what the receiver of a sink of type "http" has cannot be read' in shell.out
    assert "sink rows: ok" in shell.out


def test_nothing_is_compared_of_a_sink_that_never_ran(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write(
            '[sinks.new]\ntype = "sql"\nurl = "sqlite:///out/new.db"\ntable = "new"\ncolumns = { id = "integer" }\n'
        )
    assert shell.call("verify", "--sink", "new") == 66
    assert "sink new: not compared: it has no lane in this state yet" in shell.out
    # Its lane begins after what is released, and is compared from there.
    write(shell, 21, 22)
    assert shell.call("run", "--once") == 0
    assert shell.call("verify", "--sink", "new") == 0
    assert "records 21 to 22: 2 delivered" in shell.out
    query(shell, "DELETE FROM results WHERE id = 21")
    assert shell.call("verify", "--sink", "new", "--sink", "rows") == 65


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
    shards = (
        ["--set", "state.dir=shards/{shard}", "--set", "engine.shard=1/2"],
        ["--set", "state.dir=shards/{shard}", "--set", "engine.shard=2/2"],
    )
    path.write_text(text)
    write(shell, 21, 40)
    for shard in shards:
        assert shell.call("run", "--once", *shard) == 0, shell.err
    counts = []
    for shard in shards:
        assert shell.call("verify", "--sink", "rows", "--json", *shard) == 0, shell.out + shell.err
        (table,) = json.loads(shell.out)["tables"]
        assert table["delivered"] + table["others"] == 39
        counts.append(table["delivered"])
        assert shell.call("verify", "--sink", "latest", *shard) == 66
        assert "nothing says which rows of such a table are whose" in shell.out
    assert sum(counts) == 39
    assert min(counts) > 0
    query(shell, "DELETE FROM shared WHERE id = 30")
    assert sorted(shell.call("verify", "--sink", "rows", *shard) for shard in shards) == [0, 65]
