"""The package as a library."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import event_processor
from event_processor import Format, Sink, Source, Wait, build, load, post, run
from event_processor.configuration.configuration import Configuration
from support.http_service import HttpService


def settings(folder: Path) -> Configuration:
    (folder / "log.jsonl").write_text('{"id": 2, "category": "a", "value": 0.5}\n{"id": 1, "category": "a", "value": 0.25}\n')
    (folder / "pipeline.toml").write_text('[sources.log]\npath = "log.jsonl"\n')
    return load(str(folder / "pipeline.toml"))


def test_load_and_run_give_the_committed_state(tmp_path: Path) -> None:
    state = run(settings(tmp_path))
    assert (state.counts.accepted, state.categories["a"].sum) == (2, 0.75)
    assert (tmp_path / "state" / "checkpoint.json").exists()


def test_a_second_run_finds_nothing_new(tmp_path: Path) -> None:
    configuration = settings(tmp_path)
    assert run(configuration) == run(configuration)


def test_build_owns_the_state_until_its_block_ends(tmp_path: Path) -> None:
    configuration = settings(tmp_path)
    with build(configuration) as processor, pytest.raises(Exception, match="held by process"), build(configuration):
        raise AssertionError(processor)
    with build(configuration) as processor:
        processor.run()


def test_the_public_names_are_there_and_no_others() -> None:
    assert all((Format, Sink, Source))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = event_processor.nothing  # type: ignore[attr-defined]


def test_posted_records_are_read_by_the_next_run_and_count_once(tmp_path: Path) -> None:
    configuration = settings(tmp_path)
    run(configuration)
    records = [{"id": 3, "category": "b", "value": 4}, {"id": 1, "category": "a", "value": 9}]
    assert (post(configuration, records), post(configuration, [])) == (2, 0)
    state = run(configuration)
    assert (state.counts.accepted, state.counts.duplicate, state.categories["b"].sum) == (3, 1, 4.0)


def test_a_run_waits_for_remote_sinks(tmp_path: Path) -> None:
    settings(tmp_path)
    with HttpService() as service:
        (tmp_path / "pipeline.toml").write_text(
            '[sources.log]\npath = "log.jsonl"\n[services.api]\n'
            f'base_url = "{service.base_url}"\n[sinks.remote]\ntype = "http"\nservice = "api"\n[order]\nbuffer_events = 0\n'
        )
        with build(load(str(tmp_path / "pipeline.toml"))) as pipeline:
            pipeline.run()
            (lane,) = pipeline.lanes()
        assert (lane.delivered, lane.pending) == (2, 0)
        assert sorted(request.json()["id"] for request in service.received) == [1, 2]


class Shop:
    """Refuses the first call because of a limit. Keeps what it gets, and says when it has three records."""

    has_all = threading.Event()
    got: list[int] = []  # noqa: RUF012 - the pipeline makes the object

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.got.clear()
        self.has_all.clear()
        self.is_open = False

    async def deliver(self, records: Sequence[Mapping[str, Any]]) -> None:
        if not self.is_open:
            self.is_open = True
            raise Wait("too many", status="429")
        self.got.extend(record["id"] for record in records)
        if len(self.got) == 3:
            self.has_all.set()


def test_a_running_pipeline_sends_what_is_posted_and_keeps_its_last_figures(tmp_path: Path) -> None:
    settings(tmp_path)
    (tmp_path / "pipeline.toml").write_text(
        f'[sources.log]\npath = "log.jsonl"\n[sinks.shop]\ntype = "python"\nclass = "{__name__}:Shop"\n[order]\nbuffer_events = 0\n'
    )
    configuration = load(str(tmp_path / "pipeline.toml"))
    with build(configuration, once=False) as pipeline:
        thread = threading.Thread(target=pipeline.run)
        thread.start()
        post(configuration, [{"id": 3, "category": "b", "value": 4}])
        assert Shop.has_all.wait(60)
        pipeline.stop()
        thread.join()
    (lane,) = pipeline.lanes()
    assert (lane.delivered, lane.pending, lane.requests, lane.waits, lane.limit_hits) == (3, 0, 4, 1, 1)
    assert sorted(Shop.got) == [1, 2, 3]
    assert pipeline.state.counts.accepted == 3
