"""`verify --sink`: the rows of a database against the log, by the real command line and real SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.command_line import Shell, shell_in
from support.sql_tables import BAD, EVENTS, differences, line, make_tables, query, write


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    made = shell_in(tmp_path, monkeypatch, capsys)
    make_tables(made)
    return made


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
            "earlier": 0, "others": 0, "columns_not_compared": [], "unfilled": {}, "differing": 0, "not_compared": "", "kind": "table", "gone": 0, "notes": [],
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


def test_a_table_that_cannot_be_read_is_65(shell: Shell) -> None:
    """The error comes while the log is read."""
    ((page,),) = query(shell, "SELECT rootpage FROM sqlite_master WHERE name = 'results'")
    ((size_bytes,),) = query(shell, "PRAGMA page_size")
    with shell.path("out", "results.db").open("r+b") as database:
        database.seek((page - 1) * size_bytes)
        database.write(b"\xff" * size_bytes)
    assert shell.call("verify", "--sink", "rows") == 65
    assert "sinks.rows: database disk image is malformed" in shell.err
    assert "Traceback" not in shell.err


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
    assert "sink rows: not compared: event-processor verify --sink rows compares its rows or objects" in shell.out


def test_a_sink_whose_receiver_cannot_be_read_is_66_beside_one_that_can(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[services.api]\nbase_url = "http://127.0.0.1:9"\n[sinks.web]\ntype = "http"\nservice = "api"\n')
    assert shell.call("verify", "--sink", "web", "--sink", "rows") == 66
    assert 'sink web: not compared: what the receiver of a sink of type "http" has cannot be read' in shell.out
    assert "sink rows: ok" in shell.out


def test_a_snapshot_is_not_compared(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[sinks.totals]\ntype = "sql"\ninput = "totals"\nurl = "sqlite:///out/totals.db"\ntable = "totals"\n')
        configuration.write('columns = { category = "text", count = "integer" }\n')
    assert shell.call("run", "--once") == 0, shell.err
    assert shell.call("verify", "--sink", "totals") == 66, shell.err
    assert shell.out == "sink totals: not compared: a snapshot: as_of in its table says which checkpoint it equals\n"


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
