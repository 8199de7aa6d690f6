"""What an error of SQLite means for a lane, for errors that SQLite itself makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from event_processor.connectors.sql.dialect import Insert, Rows, Session, SqlError
from event_processor.connectors.sql.sqlite import SqliteDialect
from event_processor.model.answers import Verdict
from event_processor.storage.durable import OperatingSystem

WAIT, BAD, STOP = Verdict.WAIT, Verdict.BAD, Verdict.STOP


def dialect() -> SqliteDialect:
    return SqliteDialect(OperatingSystem(), 0.01)


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def session(path: Path) -> Session:
    found = dialect().connect(url(path), may_create=True)
    assert found is not None
    found.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER UNIQUE, b TEXT) STRICT")
    return found


def into(column: str) -> Insert:
    """Rows of one column."""
    return Insert(f"INSERT INTO t ({column}) VALUES", "", "t", (column,), "?")


def error_of(call: Callable[[], object]) -> tuple[Verdict, str]:
    with pytest.raises(SqlError) as caught:
        call()
    assert caught.value.answer.words
    return caught.value.answer.verdict, caught.value.answer.status


def test_a_commit_is_on_the_disk(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    assert found.execute("PRAGMA journal_mode") == [("wal",)]
    assert found.execute("PRAGMA synchronous") == [(2,)]
    found.close()


def test_another_writer_is_waited_for_and_then_the_lane_waits(tmp_path: Path) -> None:
    ours, theirs = session(tmp_path / "a.db"), session(tmp_path / "a.db")
    theirs.begin()
    assert error_of(ours.begin) == (WAIT, "SQLITE_BUSY")
    theirs.rollback()
    ours.begin()
    ours.commit()
    ours.close()
    theirs.close()


def test_a_row_that_a_table_refuses_is_bad_and_ends_no_transaction(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    found.begin()
    found.insert(into("a"), Rows.of([(1,)]))
    assert error_of(lambda: found.insert(into("a"), Rows.of([(1,)]))) == (BAD, "SQLITE_CONSTRAINT_UNIQUE")
    verdict, name = error_of(lambda: found.insert(into("a"), Rows.of([("x",)])))
    # Python 3.11 does not know the extended name of this one.
    assert (verdict, name[:17]) == (BAD, "SQLITE_CONSTRAINT")
    assert error_of(lambda: found.insert(into("a"), Rows.of([(2**63,)])))[0] is BAD
    assert error_of(lambda: found.insert(into("b"), Rows.of([("\ud800",)])))[0] is BAD
    assert found.is_in_transaction
    found.commit()
    assert found.execute("SELECT a FROM t") == [(1,)]
    found.close()


def test_a_row_that_is_too_large_is_bad(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    found._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)  # type: ignore[attr-defined]
    assert error_of(lambda: found.insert(into("b"), Rows.of([("x" * 2000,)]))) == (BAD, "SQLITE_TOOBIG")
    found.close()


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    pages = found.execute("PRAGMA page_count")[0][0]
    assert isinstance(pages, int)
    found.execute(f"PRAGMA max_page_count = {pages}")
    found.begin()
    assert error_of(lambda: found.insert(into("b"), Rows.of([("x" * 9000,)] * 9))) == (WAIT, "SQLITE_FULL")
    found.rollback()
    found.close()


def test_a_file_that_is_no_database_stops_the_lane(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert error_of(lambda: dialect().connect(url(tmp_path / "a.db"), may_create=False)) == (STOP, "SQLITE_NOTADB")


def test_a_corrupt_database_stops_the_lane(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    found.insert(into("b"), Rows.of([("x" * 500,)] * 100))
    found.close()
    content = bytearray((tmp_path / "a.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / "a.db").write_bytes(content)
    found_again = dialect().connect(url(tmp_path / "a.db"), may_create=False)
    assert found_again is not None
    assert error_of(lambda: found_again.execute("SELECT count(b) FROM t")) == (STOP, "SQLITE_CORRUPT")
    found_again.close()


def test_a_database_that_may_only_be_read_stops_the_lane(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    found.execute("PRAGMA query_only = on")
    assert error_of(lambda: found.insert(into("a"), Rows.of([(1,)]))) == (STOP, "SQLITE_READONLY")
    found.close()


def test_a_table_that_is_gone_stops_the_lane(tmp_path: Path) -> None:
    found = session(tmp_path / "a.db")
    assert error_of(lambda: found.execute("SELECT * FROM u")) == (STOP, "SQLITE_ERROR")
    found.close()


def test_a_folder_in_place_of_the_database_stops_the_lane(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    assert error_of(lambda: dialect().connect(url(tmp_path / "a.db"), may_create=True)) == (STOP, "SQLITE_CANTOPEN")
    (tmp_path / "file").write_text("")
    assert error_of(lambda: dialect().connect(url(tmp_path / "file" / "a.db"), may_create=True)) == (STOP, "SQLITE_CANTOPEN")


def test_a_database_that_is_not_there_is_made_only_if_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a ?#%.db"
    assert dialect().connect(url(path), may_create=False) is None
    assert not path.parent.exists()
    found = session(path)
    found.close()
    assert path.exists()


def test_a_look_changes_nothing_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE u (a)")
    before = path.read_bytes()
    found = dialect().connect(url(path), may_create=False, only_look=True)
    assert found is not None
    assert dialect().found_table(found, "u") is not None
    assert dialect().found_table(found, "t") is None
    found.close()
    assert path.read_bytes() == before
