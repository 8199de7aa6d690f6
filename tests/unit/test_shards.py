"""Shards by their edges: which records belong to one, its files, its state, and what commands say of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from event_processor.cli.context import load
from event_processor.cli.invocation import Invocation
from event_processor.columns.ids import IntegerIds, text_ids
from event_processor.configuration import ConfigurationFaultsError
from event_processor.deduplication.shards import Shard
from event_processor.model.event import EventId
from support.command_line import Shell, shell_in
from support.operated import Place, event_line, lines

PATHS: Final = ("--set", 'sinks.ordered.path="out/{shard}.jsonl"', "--set", 'state.dir="state-{shard}"')


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def test_an_id_belongs_to_the_same_shard_in_every_form() -> None:
    numbers, texts = [1, 2, -7, 2**63 - 1], ["1", "2", "é", "x" * 1000]
    shard = Shard(1, 5)
    assert shard.numbers(IntegerIds(np.array(numbers))).tolist() == shard.numbers(numbers).tolist()
    assert shard.numbers(text_ids(texts)).tolist() == shard.numbers(texts).tolist()
    assert shard.numbers([*numbers, *texts]).tolist() == [*shard.numbers(numbers).tolist(), *shard.numbers(texts).tolist()]


def test_the_shard_of_an_id_is_the_same_in_every_release() -> None:
    """Another hash would give the records of a state to other shards. These are of the first release with shards."""
    ids: list[EventId] = [1, "1", "order-77", ("a", 1), 0, -1]
    assert Shard(1, 8).numbers(ids).tolist() == SHARDS_OF_IDS
    places = [Shard(number, 8).owns_places("log", 1, np.array([0, 40, 80])).tolist() for number in range(1, 9)]
    assert [[number for number, owns in enumerate(places, 1) if owns[place]] for place in range(3)] == SHARDS_OF_PLACES


SHARDS_OF_IDS: Final = [3, 8, 6, 7, 2, 7]
SHARDS_OF_PLACES: Final = [[1], [3], [4]]


def test_ids_are_spread_evenly() -> None:
    counts = np.bincount(Shard(1, 8).numbers(IntegerIds(np.arange(80_000))), minlength=9)
    # Eight shards of 10,000 each: six standard deviations of a fair hash are about 560.
    assert counts[0] == 0
    assert counts[1:].min() > 9_400
    assert counts[1:].max() < 10_600


def test_a_record_over_the_size_limit_belongs_to_one_shard(tmp_path: Path) -> None:
    rejected = []
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
        place = Place.real(tmp_path / str(number), record_bytes_max=64, engine={"shard": f"{number}/3"})
        place.append(event_line(1) + event_line("x" * 100) + event_line(2))
        place.run()
        counts = place.state()["counts"]
        assert counts["records"] + counts["foreign"] == 3
        rejected.append(counts["rejected"])
    assert sorted(rejected) == [0, 0, 1]


def test_lines_and_places_are_those_of_the_log(tmp_path: Path) -> None:
    place = Place.real(tmp_path, engine={"shard": "1/2"})
    place.append(b"".join(b"bad %d\n" % number for number in range(20)))
    place.run()
    letters = [json.loads(line) for line in place.read("state", "dead_letters.jsonl").splitlines()]
    assert 0 < len(letters) < 20
    assert [letter["record"] for letter in letters] == [f"bad {letter['line'] - 1}" for letter in letters]
    assert place.state()["sources"]["log"]["generations"][0]["line"] == 20


def test_each_shard_writes_files_of_its_own(shell: Shell) -> None:
    for number in (1, 2):
        assert shell.call("run", "--once", "--drain", *PATHS, "--set", f"engine.shard={number}/2") == 0, shell.err
        assert "belong to other shards (foreign)" in shell.out
    released = [shell.path("out", f"{number}-of-2.jsonl").read_bytes().splitlines() for number in (1, 2)]
    assert len(released[0]) + len(released[1]) == 3
    assert shell.path("state-1-of-2", "checkpoint.json").exists()


def test_the_shard_of_a_configuration_may_come_from_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARD", "3")
    overrides = tuple(each for each in PATHS if each != "--set")
    configuration = load(Invocation(values=(*overrides, 'engine.shard="${SHARD}/4"'))).configuration
    assert configuration.engine.shard == "3/4"
    assert configuration.state.dir == str(shell.path("state-3-of-4"))


@pytest.mark.parametrize("shard", ["0/8", "9/8", "2", "2/", "a/b", "1/10000", "02/8", "1/8 "])
def test_a_shard_that_there_cannot_be_is_refused(shell: Shell, shard: str) -> None:
    assert shell.call("validate", *PATHS, "--set", f'engine.shard="{shard}"') == 78
    assert "engine.shard" in shell.err
    assert '"2/8"' in shell.err


def test_two_shards_may_not_write_one_file(shell: Shell) -> None:
    assert shell.call("validate", "--set", "engine.shard=1/2") == 78
    assert "sinks.ordered.path" in shell.err
    assert "{shard}" in shell.err


def test_a_path_of_shards_needs_a_shard(shell: Shell) -> None:
    with pytest.raises(ConfigurationFaultsError) as raised:
        load(Invocation(values=tuple(each for each in PATHS if each != "--set")))
    assert [fault.key for fault in raised.value.faults] == ["sinks.ordered.path", "state.dir"]


def test_another_shard_is_another_state(shell: Shell) -> None:
    own = ("--set", 'sinks.ordered.path="out/{shard}.jsonl"')
    assert shell.call("run", "--once", *own, "--set", "engine.shard=1/2") == 0
    assert shell.call("run", "--once", *own, "--set", "engine.shard=2/2") == 78
    assert 'engine.shard: "1/2" -> "2/2"' in shell.err
    assert shell.call("run", "--once") == 78
    assert 'engine.shard: "1/2" -> (absent)' in shell.err


def test_a_shard_is_verified_and_replayed_like_any_state(shell: Shell) -> None:
    shard = (*PATHS, "--set", "engine.shard=2/3")
    assert shell.call("run", "--once", *shard) == 0
    assert shell.call("verify", *shard) == 0, shell.out
    assert "belong to other shards (foreign)" in shell.out
    assert shell.call("replay", "--yes", *shard) == 0, shell.err
    assert shell.call("verify", *shard) == 0, shell.out


def test_status_inspect_and_top_show_how_many_records_are_foreign(shell: Shell) -> None:
    shard = (*PATHS, "--set", "engine.shard=1/1")
    assert shell.call("run", "--once", *shard) == 0
    assert "foreign" not in shell.out
    assert shell.json("inspect", *shard)["counts"]["foreign"] == 0
    shell.call("status", *shard)
    assert "foreign       0" in shell.out
    assert shell.call("top", "--count", "1", *shard) == 0
    assert "foreign=0" in shell.out


def test_without_shards_no_foreign_records_are_shown(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    assert "foreign" not in shell.json("inspect")["counts"]


TABLE: Final = """
[sources.log]
path = "log.jsonl"
[order]
buffer_events = 0
[sinks.rows]
type = "sql"
url = "sqlite:///rows.db"
table = "results"
columns = { id = "text", value = "double" }
[state]
dir = "state-{shard}"
"""


def test_shards_write_to_one_table_each_with_a_cursor_of_its_own(shell: Shell) -> None:
    shell.path("event-processor.toml").write_text(TABLE, encoding="utf-8")
    shell.path("log.jsonl").write_bytes(lines([f"id-{number}" for number in range(20)]))
    for number in (1, 2, 1):
        assert shell.call("run", "--once", "--drain", "--set", f"engine.shard={number}/2") == 0, shell.err
    with closing(sqlite3.connect(shell.path("rows.db"))) as database:
        rows = database.execute("SELECT id FROM results").fetchall()
        cursors = database.execute("SELECT shard, delivered FROM event_processor_cursor ORDER BY shard").fetchall()
    assert sorted(id_ for (id_,) in rows) == sorted(f"id-{number}" for number in range(20))
    assert [shard for shard, _ in cursors] == ["1/2", "2/2"]
    assert sum(delivered for _, delivered in cursors) == 20


def test_a_sink_that_replaces_rows_needs_a_database_for_each_shard(shell: Shell) -> None:
    shell.path("event-processor.toml").write_text(TABLE.replace("[state]", 'upsert = ["id"]\n[state]'), encoding="utf-8")
    assert shell.call("validate", "--set", "engine.shard=1/2") == 78
    assert "sinks.rows.table" in shell.err
    assert "this sink replaces rows" in shell.err
    assert shell.call("validate", "--set", "engine.shard=1/2", "--set", 'sinks.rows.url="sqlite:///rows-{shard}.db"') == 0, (
        shell.err
    )


def test_explain_names_the_shard_of_an_id_that_belongs_elsewhere(shell: Shell) -> None:
    owner = int(Shard(1, 2).numbers([2])[0])
    other = 3 - owner
    for number in (owner, other):
        assert shell.call("run", "--once", *PATHS, "--set", f"engine.shard={number}/2") == 0
    assert shell.call("explain", "2", *PATHS, "--set", f"engine.shard={owner}/2") == 0
    assert "accepted" in shell.out
    assert shell.call("explain", "2", *PATHS, "--set", f"engine.shard={other}/2") == 0
    assert f"belongs to shard {owner}/2" in shell.out
    assert "accepted" not in shell.out
    (integer,) = [
        each for each in shell.json("explain", "2", *PATHS, "--set", f"engine.shard={other}/2")["ids"] if each["id"] == 2
    ]
    assert (integer["shard"], integer["foreign"][0]["line"], integer["accepted"]) == (f"{owner}/2", 5, [])


def test_a_repaired_record_is_counted_by_the_shard_of_its_id(tmp_path: Path, shell: Shell) -> None:
    shell.path("repaired.jsonl").write_bytes(lines(range(10)))
    accepted = 0
    for number in (1, 2):
        shard = (*PATHS, "--set", f"engine.shard={number}/2")
        assert shell.call("dead-letters", "retry", "repaired.jsonl", *shard) == 0
        assert "retry this file in every shard" in shell.out
        shell.path("log.jsonl").write_bytes(b"")
        assert shell.call("run", "--once", *shard) == 0
        accepted += shell.json("inspect", *shard)["counts"]["accepted"]
    assert accepted == 10


def test_which_records_without_an_id_belong_to_a_shard_does_not_depend_on_batches(tmp_path: Path) -> None:
    found = []
    for size in (1024, 1 << 20):
        (tmp_path / str(size)).mkdir()
        place = Place.real(tmp_path / str(size), batch_bytes=size, engine={"shard": "1/3"})
        place.append(b"".join(b"bad %d\n\n" % number for number in range(1000)))
        place.run()
        found.append((place.read("state", "dead_letters.jsonl"), place.state()["counts"]))
    assert found[0] == found[1]
    assert 0 < found[0][1]["blank"] < 1000


def test_first_and_last_of_groups_have_the_number_of_the_record_in_the_whole_log(tmp_path: Path) -> None:
    """One process counts events there. Shards cannot: they would take the first value of the shard with the fewest events."""
    ids = list(range(30))
    keys = []
    for number in (1, 2, 3):
        (tmp_path / str(number)).mkdir()
        groups = {"all": {"measures": {"first": "first(id)"}}}
        place = Place.real(tmp_path / str(number), batch_bytes=1024, engine={"shard": f"{number}/3"}, aggregates=groups)
        place.append(b"bad\n" + lines(ids))
        place.run()
        (group,) = place.state()["aggregates"]["all"]["groups"]
        key, first = group["entry"][1][0][4]
        assert key == first + 1  # one bad record is before the event of id 0
        keys.append(key)
    assert min(keys) == 1


def test_an_event_is_numbered_by_all_records_before_it(tmp_path: Path) -> None:
    place = Place.real(tmp_path, batch_bytes=1024, buffer_events=1, engine={"shard": "1/3"})
    place.append(lines(range(200)))
    place.run()
    _, last_id, sequence = place.state()["order"]["last_released"]
    assert sequence == last_id


def test_events_that_wait_in_a_shard_wait_over_a_restart(tmp_path: Path) -> None:
    place = Place.real(tmp_path, batch_bytes=1024, buffer_events=64, engine={"shard": "1/3"})
    place.append(lines(range(300)))
    place.run()
    held = place.read("state", "held", next(place.path("state", "held").iterdir()).name)
    assert len(held.splitlines()) == len(set(held.splitlines()))
    place.append(lines(range(300, 400)))
    place.run(drain=True)
    released = [json.loads(line)["id"] for line in place.read("out", "ordered.jsonl").splitlines()]
    assert released == [each for each in range(400) if Shard(1, 3).owns([each])[0]]
