"""The package as a library."""

from __future__ import annotations

from pathlib import Path

import pytest

import event_processor
from event_processor import Format, Sink, Source, build, load, run
from event_processor.configuration.configuration import Configuration


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
