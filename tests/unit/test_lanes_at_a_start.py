"""Lanes in the checkpoint: where a new one starts, and which changes a start refuses while records are pending."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from event_processor.assembly import Mode, OpenPipeline, lock_state, open_pipeline
from event_processor.assembly.connectors import CONNECTORS
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint, StateDocument, encode_checkpoint
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER, write_cursor
from event_processor.model.connector import Connector
from event_processor.model.errors import ConfigurationError, StateError
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.processing import Processing
from event_processor.operations.replay import Replay
from event_processor.operations.reset import Reset
from event_processor.operations.verification import verify
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.outbox import SeriesView
from event_processor.storage.outbox_reader import OutboxReader
from support.engine import configuration, environment, run
from support.operated import lines
from support.outbox import CommittedSeries, FakeRemoteOptions


class FakeConnector(Connector):
    type_name = "fake"
    sink_options = FakeRemoteOptions


class Pipeline:
    """A log, a state, and remote sinks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lives = 0

    def configured(self, sinks: dict[str, Any]) -> Any:
        settings = configuration(str(self.folder), sink=False, buffer_events=0)
        return settings.model_copy(update={"sinks": sinks})

    def run(self, ids: list[int] | None = None, **sinks: Any) -> None:
        with (self.folder / "log.jsonl").open("ab") as log:
            log.write(lines(ids or []))
        self.lives += 1
        run(OperatingSystem(), self.configured(sinks), seed=self.lives)

    def opened(self, **sinks: Any) -> OpenPipeline:
        self.lives += 1
        return open_pipeline(self.configured(sinks), environment(OperatingSystem(), seed=self.lives), Mode(once=True))

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "state" / "checkpoint.json").read_bytes())["state"])

    def series(self, input_name: str = "events") -> CommittedSeries:
        return CommittedSeries.read(lambda path: Path(path).read_bytes(), str(self.folder), input_name)

    def answer(self, name: str, sequence: int, *, answered: tuple[tuple[int, int, str], ...] = (), **other: Any) -> None:
        """The lane has a cursor at `sequence`."""
        state = self.state()
        lane = state["lanes"][name]
        facts = {
            "state_id": state["state_id"],
            "input": lane["input"],
            "target": lane["target"],
            "started_after": lane["from"],
            "chain": "",
            **other,
        }
        os.makedirs(self.folder / "state" / DELIVERY_FOLDER, exist_ok=True)
        document = CursorDocument(sequence=sequence, answered=answered, **facts)
        write_cursor(OperatingSystem(), str(self.folder / "state"), name, document)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


@pytest.fixture
def fake_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONNECTORS._known, "fake", FakeConnector())


API = FakeRemoteOptions()


def test_a_lane_of_a_new_state_starts_before_the_first_record(pipeline: Pipeline) -> None:
    pipeline.run([1, 2, 3], api=API)
    state = pipeline.state()
    target = {"type": "fake", "url": "http://127.0.0.1:1"}
    assert state["lanes"] == {"api": {"input": "events", "from": 0, "chain": "", "target": target}}
    assert (state["outbox"]["events"]["sequence"], state["outbox"]["events"]["first"]) == (3, 0)
    assert len(pipeline.series().records) == 3


def test_a_lane_is_in_the_checkpoint_before_anything_is_read(pipeline: Pipeline) -> None:
    pipeline.run([1, 2])
    with closing(pipeline.opened(api=API).processor):
        state = pipeline.state()
    assert (state["lanes"]["api"]["from"], state["outbox"]["events"]["sequence"]) == (0, 0)


def test_a_lane_that_is_added_starts_after_everything_that_was_released_with_the_chain_there(pipeline: Pipeline) -> None:
    pipeline.run([1, 2, 3], api=API)
    chain = pipeline.series().chains[-1]
    pipeline.run([4], api=API, other=API)
    state = pipeline.state()
    assert (state["lanes"]["other"]["from"], state["lanes"]["other"]["chain"]) == (3, chain)
    assert (state["lanes"]["api"]["from"], state["outbox"]["events"]["sequence"]) == (0, 4)


def test_a_series_of_a_state_with_released_events_begins_after_them(pipeline: Pipeline) -> None:
    letters = FakeRemoteOptions(input="dead_letters")
    pipeline.run([1, 2, 3], letters=letters)
    assert "events" not in pipeline.state()["outbox"]
    with (pipeline.folder / "log.jsonl").open("ab") as log:
        log.write(b"bad\nworse\n")
    pipeline.run([4], letters=letters)
    pipeline.answer("letters", 2)
    pipeline.run([], api=API)
    # These events bypassed the order stage: no sink read events.
    released = pipeline.state()["order"]["released"]
    pipeline.run([5, 6], api=API, letters=letters)
    state = pipeline.state()
    assert (state["lanes"]["api"]["from"], state["outbox"]["events"]) == (
        released,
        {"sequence": released + 2, "chain": pipeline.series().chains[-1], "first": released, "first_chain": ""},
    )
    assert (state["lanes"]["letters"]["from"], state["outbox"]["dead_letters"]["first"]) == (2, 2)


def test_what_is_released_while_no_lane_reads_is_not_in_a_later_series(pipeline: Pipeline) -> None:
    pipeline.run([1, 2], api=API)
    pipeline.answer("api", 2)
    pipeline.run([3])
    assert {"outbox", "lanes"}.isdisjoint(pipeline.state())
    pipeline.run([4], api=API)
    lane, outbox = pipeline.state()["lanes"]["api"], pipeline.state()["outbox"]["events"]
    assert (lane["from"], outbox["first"], outbox["sequence"]) == (2, 2, 3)
    assert [json.loads(record)["id"] for _, record in pipeline.series().records] == [4]


def test_the_beginning_is_refused_on_a_state_that_has_released_events(pipeline: Pipeline) -> None:
    beginning = FakeRemoteOptions(start="beginning")
    pipeline.run([1, 2], api=beginning)
    pipeline.run([3], api=beginning)
    assert (pipeline.state()["lanes"]["api"]["from"], len(pipeline.series().records)) == (0, 3)
    with pytest.raises(ConfigurationError, match=r'sinks\.other\.start = "beginning": 3 records were released') as raised:
        pipeline.run([], api=beginning, other=beginning)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize(
    ("sinks", "change"),
    [
        ({}, "it was removed"),
        ({"renamed": API}, "it was removed"),
        ({"api": FakeRemoteOptions(input="dead_letters")}, 'its input was changed from "events" to "dead_letters"'),
        ({"api": FakeRemoteOptions(url="http://127.0.0.1:2")}, "its target was changed"),
    ],
)
@pytest.mark.parametrize("cursor", [None, 1])
def test_a_lane_with_pending_records_cannot_be_removed_or_changed(
    pipeline: Pipeline, sinks: dict[str, Any], change: str, cursor: int | None
) -> None:
    pipeline.run([1, 2, 3], api=API)
    pending = 3
    if cursor is not None:
        pipeline.answer("api", cursor)
        pending = 2
    before = (pipeline.folder / "state" / "checkpoint.json").read_bytes()
    with pytest.raises(ConfigurationError) as raised:
        pipeline.run([4], **sinks)
    assert raised.value.message == f"sinks.api: {change}, but {pending} records of events still wait for it"
    assert "sinks drop api" in raised.value.hint
    assert "sinks rename api" in raised.value.hint
    assert raised.value.exit_code == 78
    assert (pipeline.folder / "state" / "checkpoint.json").read_bytes() == before


def test_answered_records_beyond_the_prefix_are_not_pending(pipeline: Pipeline) -> None:
    pipeline.run([1, 2, 3, 4, 5], api=API)
    pipeline.answer("api", 1, answered=((3, 4, "c"),))
    with pytest.raises(ConfigurationError, match="but 2 records"):
        pipeline.run([])


def test_a_lane_without_pending_records_can_be_removed_or_changed(pipeline: Pipeline) -> None:
    pipeline.run([1, 2, 3], api=API)
    pipeline.answer("api", 3)
    pipeline.run([4], api=FakeRemoteOptions(url="http://127.0.0.1:2"))
    state, chains = pipeline.state(), pipeline.series().chains
    lane = state["lanes"]["api"]
    assert (lane["from"], lane["chain"], lane["target"]["url"]) == (3, chains[2], "http://127.0.0.1:2")
    # The cursor of the lane before does not count for this one.
    with pytest.raises(ConfigurationError, match="but 1 records"):
        pipeline.run([])
    pipeline.answer("api", 4)
    pipeline.run([5], other=FakeRemoteOptions(input="dead_letters"))
    assert (list(pipeline.state()["lanes"]), list(pipeline.state()["outbox"])) == (["other"], ["dead_letters"])
    assert not [name for name in pipeline.state()["appended"] if name.startswith("outbox/events")]
    assert (pipeline.folder / "state" / DELIVERY_FOLDER / "api.json").exists()


@pytest.mark.parametrize("other", [{"state_id": "of another state"}, {"input": "dead_letters"}, {"started_after": 1}])
def test_the_cursor_of_another_lane_does_not_count(pipeline: Pipeline, other: dict[str, Any]) -> None:
    pipeline.run([1, 2, 3], api=API)
    pipeline.answer("api", 3, **other)
    with pytest.raises(ConfigurationError, match="but 3 records"):
        pipeline.run([])


def test_a_cursor_that_cannot_be_read_stops_the_start_only_if_its_lane_is_changed(pipeline: Pipeline) -> None:
    pipeline.run([1], api=API)
    pipeline.answer("api", 1)
    (pipeline.folder / "state" / DELIVERY_FOLDER / "api.json").write_bytes(b"{}")
    pipeline.run([2], api=API)
    with pytest.raises(StateError, match=r"api\.json"):
        pipeline.run([])


def test_an_open_pipeline_has_the_lanes_and_the_series_for_the_delivery(pipeline: Pipeline) -> None:
    pipeline.run([1, 2], api=API)
    opened = pipeline.opened(api=API)
    views: list[SeriesView] = []
    with closing(opened.processor) as processor:
        assert opened.state_id == pipeline.state()["state_id"]
        assert [(lane.name, lane.options, lane.document.started_after) for lane in opened.lanes] == [("api", API, 0)]
        opened.series["events"].on_publish(views.append)
        with (pipeline.folder / "log.jsonl").open("ab") as log:
            log.write(lines([3]))
        processor.run()
        reader = OutboxReader(OperatingSystem(), views[-1], 0)
        with closing(reader):
            assert [json.loads(bytes(record.object))["id"] for record, _ in reader.read(10_000)] == [1, 2, 3]
        assert [view.sequence for view in views] == [2, 3]


def test_a_series_with_another_length_than_the_state_says_is_not_continued(pipeline: Pipeline) -> None:
    pipeline.run([1, 2], api=API)
    opened = pipeline.opened(api=API)
    with closing(opened.processor) as processor:
        with (pipeline.folder / "log.jsonl").open("ab") as log:
            log.write(lines([3]))
        opened.series["events"].sequence += 1
        with pytest.raises(StateError, match="the outbox of events ends at sequence 4, but 3 records were released"):
            processor.run()
    assert pipeline.state()["outbox"]["events"]["sequence"] == 2


def test_files_that_every_lane_has_passed_are_unlinked_after_two_commits(pipeline: Pipeline) -> None:
    pipeline.run([1, 2], api=API)
    folder = pipeline.folder / "state" / "outbox"
    (old,) = folder.iterdir()
    opened = pipeline.opened(api=API)
    with closing(opened.processor) as processor:
        assert opened.series["events"].drop_before(2)
        for number in (3, 4, 5):
            with (pipeline.folder / "log.jsonl").open("ab") as log:
                log.write(lines([number]))
            processor.run()
            assert old.exists() == (number == 3)
    assert [json.loads(record.partition(b'"object":')[2][:-1])["id"] for record in read_lines(folder)] == [3, 4, 5]


def read_lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]


def test_a_state_without_lanes_has_neither_key_and_an_earlier_one_is_read(pipeline: Pipeline) -> None:
    pipeline.run([1])
    state = pipeline.state()
    assert {"lanes", "outbox"}.isdisjoint(state)
    document = msgspec.convert(state, StateDocument)
    assert (document.lanes, document.outbox) == ({}, {})


@pytest.mark.usefixtures("fake_connector")
def test_verify_and_replay_compare_the_chain(pipeline: Pipeline) -> None:
    pipeline.run([1, 2, 2, 3], api=API)
    settings, surroundings = pipeline.configured({"api": API}), environment(OperatingSystem(), seed=99)
    found = verify(settings, surroundings, progress=nobody_watches)
    assert found.is_ok, found.differences
    store, path = (
        CheckpointStore(OperatingSystem(), str(pipeline.folder / "state"), Telemetry()),
        pipeline.folder / "state" / "checkpoint.json",
    )
    committed, checkpoint = path.read_bytes(), store.peek()
    assert checkpoint is not None
    series = structs.replace(checkpoint.state.outbox["events"], chain="0" * 32)
    path.write_bytes(encode_checkpoint(Checkpoint(structs.replace(checkpoint.state, outbox={"events": series}), checkpoint.meta)))
    (difference,) = verify(settings, surroundings, progress=nobody_watches).differences
    assert (difference.path, difference.committed) == ("outbox.events.chain", "0" * 32)
    path.write_bytes(committed)
    lock = lock_state(settings, surroundings)
    replay = Replay(settings, surroundings)
    assert replay.prepare(nobody_watches).keeps_state_id
    with pytest.raises(ConfigurationError, match=r"sinks\.api: it was removed, but 3 records of events still wait"):
        Replay(pipeline.configured({}), surroundings).prepare(nobody_watches)
    lock.release()
    assert len(pipeline.series().records) == 3


@pytest.mark.usefixtures("fake_connector")
def test_a_reset_moves_the_outbox_and_the_cursors_aside(pipeline: Pipeline) -> None:
    pipeline.run([1, 2], api=API)
    pipeline.answer("api", 1)
    moved = Reset(pipeline.configured({"api": API}), environment(OperatingSystem())).apply()
    assert {"outbox", DELIVERY_FOLDER} <= {os.path.basename(move.path) for move in moved}
    pipeline.run([], api=API)
    assert (pipeline.state()["lanes"]["api"]["from"], len(pipeline.series().records)) == (0, 2)


def test_a_run_over_finished_input_refuses_a_remote_sink(pipeline: Pipeline) -> None:
    processing = Processing(pipeline.configured({"api": API}), environment(OperatingSystem()), is_kept=False)
    with (
        pytest.raises(ConfigurationError, match=r"sinks\.api: .*cannot send") as raised,
        processing.run(lambda *_: None),
    ):
        raise AssertionError("it ran")
    assert "--no-sinks" in raised.value.hint
