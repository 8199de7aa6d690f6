"""A database or a state that was restored, lost or replaced: the whole program does what docs/sql.md says, and each way out is followed to its end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.database_trial import DatabaseTrial
from support.postgres_server import PostgresServer, server_of_tests

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
FENCE = "SELECT fence, writer FROM event_processor_cursor"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    # The server is not killed here, so nothing depends on its disk.
    with server_of_tests("fsync=off", "full_page_writes=off") as server:
        yield server


@pytest.fixture
def trial(server: PostgresServer, tmp_path: Path) -> Iterator[DatabaseTrial]:
    trial = DatabaseTrial(tmp_path, server)
    yield trial
    trial.disconnect()


def statements_of_the_page(heading: str) -> list[str]:
    """The statements under a heading, for the names of the trial."""
    text = PAGE.read_text().partition(f"### {heading}\n")[2]
    found = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert found is not None
    block = found.group(1).replace("transactions", "results").replace("'event-processor'", "'pipeline'")
    return [each.strip() for each in block.split(";") if each.strip()]


def test_a_database_from_an_hour_ago_is_filled_by_the_daemon_that_runs(trial: DatabaseTrial) -> None:
    trial.append(200)
    daemon = trial.pipeline.start()
    trial.wait_for(daemon, trial.expected().released)
    trial.server.copy_to("hour")
    trial.append(200)
    trial.wait_for(daemon, trial.expected().released)
    trial.server.restore("hour")
    trial.append(50)
    trial.finish(daemon)
    assert "lane_rewound" in daemon.said()


@pytest.mark.parametrize("way", ["deliver", "drop"])
def test_a_database_from_last_week_stops_with_65_and_is_filled_from_the_log(trial: DatabaseTrial, way: str) -> None:
    trial.configure(more="[outbox]\nkeep_s = 0")
    trial.append(60)
    trial.once()
    kept, before = trial.copy_database(), trial.expected().released
    for _ in range(4):
        # What was delivered leaves the outbox with a later commit.
        trial.append(60)
        trial.once()
    trial.replace_database(kept)
    fence = trial.query(FENCE)
    said = trial.once(65).stderr
    assert f"records {before + 1} to" in said
    assert f"event-processor deliver --from {before + 1} --sink" in said
    assert trial.query(FENCE) == fence
    after = trial.expected().released
    if way == "deliver":
        trial.call("deliver", "--from", str(before + 1), "--sink", "rows", "--yes")
    else:
        trial.call("sinks", "drop", "rows", "--yes")
    trial.append(60)
    trial.once()
    if way == "deliver":
        trial.require_end()
    else:
        trial.require_end(before=before, after=after)


def test_a_lost_state_stops_with_65_and_another_name_or_database_begins_anew(trial: DatabaseTrial) -> None:
    trial.append(150)
    trial.once()
    trial.copy_state("lost")
    fence = trial.query(FENCE)
    shutil.rmtree(trial.folder / "state")
    assert "its database belongs to another state of the pipeline pipeline" in trial.once(65).stderr
    assert trial.query(FENCE) == fence
    # Another name, in the same tables.
    trial.configure(more='[state]\nname = "again"')
    trial.once()
    trial.require_end(name="again")
    # Another database.
    first, trial.database = trial.database, trial.server.new_database()
    trial.disconnect()
    trial.configure()
    shutil.rmtree(trial.folder / "state")
    trial.once()
    trial.require_end()
    # The state, restored.
    trial.database = first
    trial.disconnect()
    trial.configure()
    trial.replace_state("lost")
    trial.append(50)
    trial.once()
    trial.require_end()


def test_a_state_from_yesterday_passes_over_what_the_database_has(trial: DatabaseTrial) -> None:
    trial.append(150)
    trial.once()
    trial.copy_state("yesterday")
    trial.append(150)
    trial.once()
    trial.replace_state("yesterday")
    trial.append(50)
    trial.once()
    trial.require_end()


def test_a_state_from_yesterday_with_other_records_stops_with_65_and_leaves_the_cursor(trial: DatabaseTrial) -> None:
    trial.append(150)
    trial.once()
    trial.copy_state("yesterday")
    trial.append(150)
    trial.once()
    whole = trial.pipeline.log.read_bytes()
    # As on another machine, whose log went on with other events.
    with trial.pipeline.log.open("r+b") as log:
        place = whole.rindex(b'"k1"')
        log.seek(place)
        log.write(b'"k7"')
    trial.replace_state("yesterday")
    fence = trial.query(FENCE)
    said = trial.once(65).stderr
    assert "has another record at sequence" in said
    assert trial.query(FENCE) == fence
    # The newest state, and the log that belongs to it.
    with trial.pipeline.log.open("r+b") as log:
        log.write(whole)
    shutil.rmtree(trial.folder / "state")
    (trial.folder / "replaced").rename(trial.folder / "state")
    trial.append(50)
    trial.once()
    trial.require_end()


def test_a_lost_database_stops_with_65_and_the_ways_out_go_on(trial: DatabaseTrial) -> None:
    trial.append(100)
    trial.once()
    kept = trial.copy_database()
    trial.append(100)
    trial.once()
    trial.replace_database()
    said = trial.once(65).stderr
    assert "the database was lost or replaced" in said
    assert trial.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    # A backup is filled again.
    trial.replace_database(kept)
    trial.once()
    trial.require_end()
    # Without one, every record is sent again.
    trial.replace_database()
    trial.call("deliver", "--from", "1", "--sink", "rows", "--yes")
    trial.once()
    trial.require_end()
    # Or the lane begins after what was released.
    trial.replace_database()
    after = trial.expected().released
    trial.call("sinks", "drop", "rows", "--yes")
    trial.append(100)
    trial.once()
    trial.require_end(after=after)
    # Or everything is written anew from the log.
    trial.replace_database()
    trial.call("reset", "--yes")
    trial.once()
    trial.require_end()


@pytest.mark.parametrize("decision", ["again", "skip"])
@pytest.mark.parametrize("way", ["statements", "name"])
def test_a_replay_that_makes_a_new_state_and_the_ways_out(trial: DatabaseTrial, decision: str, way: str) -> None:
    trial.append(150)
    trial.once()
    before = trial.expected().released
    changed = '[event]\nvalue = "id"\n'
    trial.configure(more=changed)
    trial.call("replay", "--yes", "--lane", f"rows={decision}")
    assert "belongs to another state" in trial.once(65).stderr
    trial.append(50)
    skipped = before if decision == "skip" else 0
    if way == "name":
        trial.configure(more=f'{changed}[state]\nname = "next"')
        trial.once()
        trial.require_end(name="next", after=skipped)
        assert len(trial.query("SELECT 1 FROM results WHERE _pipeline = 'pipeline' LIMIT 1")) == 1
        return
    statements = statements_of_the_page("After a replay")
    assert [each.split()[2] for each in statements] == ["event_processor_cursor", "results", "event_processor_failed"]
    for statement in statements[:1] if decision == "skip" else statements:
        trial.query(statement)
    trial.once()
    trial.require_end(before=skipped, after=skipped)
