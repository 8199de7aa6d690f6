"""The example of concurrent streams: its generator, its configuration, its models, its StreamProcessor, and what its run compares."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sized
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from event_processor import ConfigurationError
from event_processor.records.user_model import compile_model
from support.documents import ROOT
from support.modules import modules_of
from support.processes import DEADLINE_S
from support.virtual_time import run_in_virtual_time

EXAMPLE = ROOT / "examples" / "001-streams"
LOADED = modules_of(
    EXAMPLE, "models", "make_streams", "run_streams", "stream_processor", "posted_pipeline", "streaming_test_framework"
)
MODELS, MAKER, RUNNER, PROCESSOR, POSTED, FRAMEWORK = LOADED
SOURCES = ("user_events", "transaction_data", "system_metrics", "security_logs")
QUEUE_RECORDS = 50
SENDERS = 5


def called(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, where it finds the example's modules."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "COVERAGE_"))}
    environment = {**names, "PYTHONPATH": f"{EXAMPLE}{os.pathsep}{ROOT}", "PYTHONUTF8": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=DEADLINE_S)


def made(folder: Path, *options: str) -> dict[str, Any]:
    finished = called(folder, str(EXAMPLE / "make_streams.py"), *options)
    assert finished.returncode == 0, finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def lines(folder: Path) -> list[str]:
    return [line for name in SOURCES for line in (folder / "events" / f"{name}.jsonl").read_text().splitlines()]


def is_sound(record: Any) -> bool:
    """The document's rules for what a line alone can tell, without the model."""

    def number(value: Any) -> bool:
        return type(value) in (int, float)

    return (
        record.get("source") in SOURCES
        and number(record.get("timestamp"))
        and record["timestamp"] >= 0
        and type(record.get("priority")) is int
        and 1 <= record["priority"] <= 4
        and isinstance(record.get("data"), dict)
        and type(record.get("sequence_id")) is int
    )


def parsed(line: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return record


def without_receiver(folder: Path, extra: str = "") -> Path:
    """The example's configuration up to its service, and `extra`, in this folder."""
    text = (EXAMPLE / "event-processor.toml").read_text(encoding="utf-8")
    path = folder / "event-processor.toml"
    path.write_text(text[: text.index("[services.api]")] + extra, encoding="utf-8")
    return path


# The generator.


def test_the_generator_writes_what_it_says(tmp_path: Path) -> None:
    said = made(tmp_path, "--records", "3000")
    found = [parsed(line) for line in lines(tmp_path)]
    sound = [record for record in found if is_sound(record)]
    distinct = {(record["source"], record["sequence_id"]): record for record in sound}
    present = [record for record in distinct.values() if record["timestamp"] < MAKER.FAR_FUTURE_S]
    assert said["records"] == len(found) == 3000
    assert said["rejected"] == len(found) - len(sound)
    assert said["duplicates"] == len(sound) - len(distinct)
    assert said["refused"] == len(distinct) - len(present)
    assert said["valid"] == len(present)
    assert said["empty_data"] == sum(record["data"] == {} for record in present)
    assert said["valid_by_source"] == Counter(record["source"] for record in present)
    assert said["valid_by_priority"] == Counter(str(record["priority"]) for record in present)
    assert said["faulty"].keys() == MAKER.FAULTS.keys(), "every kind of fault is there"
    assert said["empty_data"] > 0
    assert 0.10 < sum(said["faulty"].values()) / 3000 < 0.20


def test_the_same_seed_makes_the_same_streams(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, "--records", "200", "--seed", "7" if name != "other" else "8")
    assert lines(tmp_path / "one") == lines(tmp_path / "two") != lines(tmp_path / "other")


def test_live_streams_are_appended_and_have_the_time_of_their_making(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "user_events.jsonl").write_text("an older line\n")
    said = made(tmp_path, "--live", "--rate", "2000", "--seconds", "0.1", "--faulty", "0")
    older, *found = lines(tmp_path)
    assert older == "an older line"
    assert len(found) == said["records"] == 200
    assert all(json.loads(line)["timestamp"] > MAKER.START_S for line in found)


# The models.


@pytest.mark.parametrize("name", MAKER.FAULTS)
def test_the_model_of_a_line_refuses_each_fault_that_the_line_shows(name: str) -> None:
    record = {"source": "user_events", "timestamp": 1.5, "priority": 4, "data": {}, "sequence_id": 12}
    line = MAKER.FAULTS[name](record)
    decoder = compile_model(MODELS.StreamRecord)  # raises if the model needs the slow way
    decoder.decode(json.dumps(record))
    if name == MAKER.FUTURE:
        decoder.decode(line)
        return
    with pytest.raises(ValidationError):
        MODELS.StreamRecord.model_validate_json(line)
    assert not is_sound(parsed(line))


SENT: dict[str, Any] = {
    "source": "user_events",
    "timestamp": 1_760_000_000.5,
    "priority": 1,
    "processed_at": 1_760_000_000.5,
    "processing_time_ms": 0,
    "transformed_data": {"fields": 0},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"source": MODELS.StreamSource.SECURITY_LOGS, "priority": MODELS.Priority.CRITICAL},
        {"processing_time_ms": 9999.999},
        {"timestamp": 0, "processed_at": 0},
    ],
)
def test_a_record_that_keeps_the_rules_is_made(changes: dict[str, Any]) -> None:
    assert MODELS.ProcessedRecord(**SENT | changes).source in SOURCES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", ""),
        ("source", "  "),
        ("source", "weather"),
        ("source", None),
        ("timestamp", -1),
        ("timestamp", "1760000000"),
        ("timestamp", float("nan")),
        ("timestamp", 1_760_000_000_500.0),
        ("priority", 0),
        ("priority", 5),
        ("priority", "1"),
        ("priority", True),
        ("priority", 1.5),
        ("processed_at", 1_760_000_000.4),
        ("processed_at", float("inf")),
        ("processing_time_ms", -0.001),
        ("processing_time_ms", 10_000),
        ("transformed_data", {}),
        ("transformed_data", {"value": None, "text": ""}),
        ("transformed_data", None),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        MODELS.ProcessedRecord(**SENT | {field: value})


# The configuration.


def test_the_program_judges_the_streams_as_the_generator_says(tmp_path: Path) -> None:
    said = made(tmp_path, "--records", "3000")
    without_receiver(tmp_path)
    files = [f"events/{name}.jsonl" for name in SOURCES]
    finished = called(tmp_path, "-m", "event_processor", "process", *files, "--dead-letters", "dead.jsonl")
    assert finished.returncode == 0, finished.stderr
    counts = re.search(r"(\d+) records: (\d+) accepted, (\d+) duplicate, (\d+) rejected", finished.stderr)
    assert counts is not None
    accepted = said["valid"] + said["refused"]
    assert tuple(map(int, counts.groups())) == (3000, accepted, said["duplicates"], said["rejected"])
    dead = [json.loads(line)["record"] for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert sorted(dead) == sorted(line for line in lines(tmp_path) if not is_sound(parsed(line)))


def test_a_run_releases_each_valid_record_once_transformed(tmp_path: Path) -> None:
    made(tmp_path, "--records", "500")
    sink = '[sinks.kept]\ntype = "file"\ninput = "events"\npath = "out/kept.jsonl"\n'
    path = without_receiver(tmp_path, sink)
    finished = called(tmp_path, "-m", "event_processor", "--config", str(path), "run", "--once", "--drain")
    assert finished.returncode == 0, finished.stderr
    released = [json.loads(line) for line in (tmp_path / "out" / "kept.jsonl").read_text().splitlines()]
    sound = {(record["source"], record["sequence_id"]): record for line in lines(tmp_path) if is_sound(record := parsed(line))}
    assert len(released) == len(sound)
    for record in released:
        original = sound.pop((record["source"], record["sequence_id"]))
        values = {name: value.strip() if isinstance(value, str) else value for name, value in original["data"].items()}
        expected = {"sequence_id": original["sequence_id"], "fields": len(values), "values": values}
        assert record == original | {"transformed_data": expected}


# The StreamProcessor. Its pipeline is a real one, in real time. So what is awaited is an event, never a duration.


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sink's class is found by its module's name, and every processor removes its folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "posted_pipeline", POSTED)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


NOW_S = 1_760_000_000.0
FAST_PER_S = 500


def processor(api: object, **options: Any) -> Any:
    return PROCESSOR.StreamProcessor(api, SENDERS, epoch_s=lambda: NOW_S + 60, **{"calls_per_s": FAST_PER_S} | options)


async def stream_of(records: Iterable[Any]) -> AsyncIterator[Any]:
    for record in records:
        yield record


def record_of(number: Any, **changes: Any) -> Any:
    values = {"source": MODELS.StreamSource.USER_EVENTS, "timestamp": NOW_S, "priority": MODELS.Priority.LOW, "data": {}}
    return MODELS.StreamData(**values | changes, sequence_id=number)


def played(api: object, records: Iterable[Any], **options: Any) -> Any:
    """The figures of a processor that was fed and stopped."""

    async def play() -> Any:
        made_up = processor(api, **options)
        await made_up.start_processing(stream_of(records))
        await made_up.stop_processing()
        return made_up.get_metrics()

    return asyncio.run(play())


def gathered(seconds: float, rate: float) -> list[Any]:
    async def gather() -> list[Any]:
        return [record async for record in FRAMEWORK.stream(seconds, rate, now=NOW_S)]

    return run_in_virtual_time(gather())


def is_valid(record: Any) -> bool:
    return (
        record.source in tuple(MODELS.StreamSource)
        and record.priority in (1, 2, 3, 4)
        and isinstance(record.timestamp, float)
        and 0 <= record.timestamp < NOW_S + 3600
        and isinstance(record.data, dict)
    )


def most_in_a_second(arrivals: list[float]) -> int:
    return max(sum(first <= other < first + 1 for other in arrivals) for first in arrivals)


class Api:
    """Answers what it is told, in turn, or by the record's number; after that it accepts."""

    def __init__(self, *answers: Exception | bool, refused: Collection[int] = (), hangs: bool = False) -> None:
        self.answers = list(answers)
        self.refused = refused
        self.hangs = hangs
        self.calls: list[int] = []
        self.accepted: list[int] = []
        self.is_called = asyncio.Event()

    async def send_data(self, record: Any) -> bool:
        number = record.transformed_data["sequence_id"]
        self.calls.append(number)
        self.is_called.set()
        if self.hangs:
            await asyncio.Event().wait()
        answer = self.answers.pop(0) if self.answers else number not in self.refused
        if isinstance(answer, Exception):
            raise answer
        if answer:
            self.accepted.append(number)
        return answer


def test_every_valid_record_is_sent_once_and_every_other_is_rejected() -> None:
    offered = gathered(6, 20)
    valid = [record for record in offered if is_valid(record)]
    api = FRAMEWORK.DownstreamAPI(calls_per_s=10**6)
    metrics = played(api, offered)
    sent = sorted(record.transformed_data["sequence_id"] for record in api.accepted)
    assert sent == [record.sequence_id for record in valid]
    assert (metrics.total_processed, metrics.rejected) == (len(valid), len(offered) - len(valid))
    assert (metrics.error_rate, metrics.failed, metrics.backlog_size, metrics.rate_limit_hits) == (0, 0, 0, 0)
    assert metrics.by_source == Counter(record.source.value for record in valid)
    assert metrics.by_priority == Counter(int(record.priority) for record in valid)
    failed = len(api.arrivals_s) - len(valid)
    assert metrics.error_rate_before_retries == failed / len(api.arrivals_s) > 0.05
    assert metrics.avg_processing_time_ms > 0
    assert metrics.processing_rate_per_second > 0


def test_a_record_is_sent_transformed_and_by_the_rules() -> None:
    kept: list[Any] = []

    class Keeping(Api):
        async def send_data(self, record: Any) -> bool:
            kept.append(record)
            return await super().send_data(record)

    played(Keeping(), [record_of(7, priority=MODELS.Priority.HIGH, data={"host": " web-1 ", "value": 2**70})])
    (record,) = kept
    assert type(record) is MODELS.ProcessedRecord
    assert (record.source, record.timestamp, record.priority, record.processed_at) == ("user_events", NOW_S, 3, NOW_S + 60)
    assert record.transformed_data == {"sequence_id": 7, "fields": 2, "values": {"host": "web-1", "value": 2**70}}


def test_the_api_never_gets_more_calls_than_its_limit() -> None:
    api = FRAMEWORK.DownstreamAPI(fail=0)
    metrics = played(api, map(record_of, range(24)), calls_per_s=15)
    assert most_in_a_second(api.arrivals_s) <= 15
    assert (metrics.total_processed, metrics.rate_limit_hits) == (24, 0)


def test_a_record_that_cannot_be_written_or_has_no_number_is_rejected_alone() -> None:
    api = Api()
    faulty = [
        record_of(1, data={"x": object()}),
        record_of(2, data={"x": "\ud800"}),
        record_of(None),
        record_of(4, data={1: 2, "a": 3}),
    ]
    metrics = played(api, [record_of(0), *faulty, record_of(5)])
    assert sorted(api.accepted) == [0, 5]
    assert (metrics.total_processed, metrics.rejected, metrics.backlog_size) == (2, 4, 0)


def test_a_record_that_comes_again_is_sent_once() -> None:
    api = Api()
    metrics = played(api, [record_of(1), record_of(2), record_of(1)])
    assert sorted(api.accepted) == [1, 2]
    assert (metrics.total_processed, metrics.rejected, metrics.backlog_size) == (2, 0, 0)


class Endless:
    """A stream without an end, of which an API must accept about as much as is taken; how many records were taken of it."""

    def __init__(self, accepted: Sized) -> None:
        self.accepted = accepted
        self.taken = 0

    async def records(self) -> AsyncIterator[Any]:
        for number in count():
            self.taken += 1
            assert self.taken - len(self.accepted) <= QUEUE_RECORDS
            yield record_of(number)


def test_a_stream_is_not_read_faster_than_the_api_accepts_and_a_stop_sends_what_was_read() -> None:
    async def play() -> tuple[Any, Endless, Api]:
        api = Api()
        endless = Endless(api.accepted)
        made_up = processor(api)
        reading = asyncio.create_task(made_up.start_processing(endless.records()))
        while len(api.calls) < 2 * QUEUE_RECORDS and not reading.done():
            await asyncio.sleep(0)
            assert made_up.get_metrics().backlog_size <= QUEUE_RECORDS
        await made_up.stop_processing()
        await reading
        return made_up.get_metrics(), endless, api

    metrics, endless, api = asyncio.run(play())
    assert metrics.total_processed == endless.taken >= 2 * QUEUE_RECORDS
    assert sorted(api.calls) == list(range(endless.taken))
    assert metrics.backlog_size == 0


def test_a_reader_that_is_cancelled_loses_nothing_that_it_had_read() -> None:
    async def play() -> tuple[Any, Endless, Api]:
        api = Api()
        endless = Endless(api.accepted)
        made_up = processor(api)
        reading = asyncio.create_task(made_up.start_processing(endless.records()))
        await api.is_called.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await made_up.stop_processing()
        return made_up.get_metrics(), endless, api

    metrics, endless, api = asyncio.run(play())
    assert metrics.total_processed == endless.taken > 0
    assert sorted(api.calls) == list(range(endless.taken))


def test_an_api_whose_limit_is_hit_is_counted_and_asked_again() -> None:
    api = Api(FRAMEWORK.RateLimitError(retry_after=0.05), FRAMEWORK.RateLimitError(retry_after=0.05))
    metrics = played(api, [record_of(1)])
    assert api.calls == [1, 1, 1]
    assert (metrics.total_processed, metrics.rate_limit_hits, metrics.error_rate) == (1, 2, 0)


def test_a_call_that_fails_is_tried_again() -> None:
    api = Api(FRAMEWORK.ProcessingError(), OSError(), False)
    metrics = played(api, [record_of(1)])
    assert api.calls == [1] * 4
    assert (metrics.total_processed, metrics.rate_limit_hits, metrics.error_rate_before_retries) == (1, 0, 0.75)


def test_a_record_that_fails_while_others_pass_is_given_up_alone() -> None:
    async def play() -> tuple[Any, list[int], Api]:
        offered: list[int] = []
        api = Api(refused=[3])
        made_up = processor(api, calls_per_s=60, retries_max=1)

        async def until_it_failed() -> AsyncIterator[Any]:
            for number in count():
                if made_up.get_metrics().failed:
                    return
                offered.append(number)
                yield record_of(number)

        await made_up.start_processing(until_it_failed())
        await made_up.stop_processing()
        return made_up.get_metrics(), offered, api

    metrics, offered, api = asyncio.run(play())
    assert sorted(api.accepted) == [number for number in offered if number != 3]
    assert (metrics.total_processed, metrics.failed, metrics.backlog_size) == (len(offered) - 1, 1, 0)
    assert metrics.error_rate == 1 / len(offered)


def test_a_stop_waits_for_a_bounded_time_and_says_what_is_left() -> None:
    offered = [*map(record_of, range(6)), record_of(9, priority=7)]
    api = Api(hangs=True)
    metrics = played(api, offered, drain_s=0.3)
    assert (metrics.total_processed, metrics.failed, metrics.backlog_size, metrics.rejected) == (0, 0, 6, 1)
    assert sorted(api.calls) == list(range(SENDERS))


def test_a_stop_in_the_middle_loses_no_record() -> None:
    async def play() -> tuple[Any, Endless, Any]:
        api, is_running = FRAMEWORK.DownstreamAPI(calls_per_s=10**6, fail=0.3), asyncio.Event()
        endless = Endless(api.accepted)

        class Watched:
            async def send_data(self, record: Any) -> Any:
                answer = await api.send_data(record)
                if len(api.accepted) == 20:
                    is_running.set()
                return answer

        made_up = processor(Watched(), drain_s=0)
        reading = asyncio.create_task(made_up.start_processing(endless.records()))
        await is_running.wait()
        await made_up.stop_processing()
        await reading
        return made_up.get_metrics(), endless, api

    metrics, endless, api = asyncio.run(play())
    assert metrics.total_processed + metrics.backlog_size + metrics.failed + metrics.rejected == endless.taken
    assert metrics.backlog_size > 0
    sent = [record.transformed_data["sequence_id"] for record in api.accepted]
    assert len(set(sent)) == len(sent) == metrics.total_processed


def test_a_processor_that_is_never_stopped_ends_with_its_event_loop() -> None:
    async def play() -> None:
        api = Api(hangs=True)
        await processor(api).start_processing(stream_of([record_of(1)]))
        await api.is_called.wait()

    asyncio.run(play())


def test_a_pipeline_that_cannot_be_made_says_why() -> None:
    with pytest.raises(ConfigurationError, match="requests_per_s"):
        played(Api(), [record_of(1)], calls_per_s=-1)


def test_a_stop_before_the_start_and_figures_before_it() -> None:
    async def play() -> Any:
        made_up = processor(Api())
        await made_up.stop_processing()
        return made_up.get_metrics()

    assert asyncio.run(play()) == MODELS.PipelineMetrics()


# The scripts.


def test_the_script_of_the_document_prints_its_lines_and_its_verdict() -> None:
    finished = called(EXAMPLE, "data_streaming_pipeline_test.py", "--seconds", "2")
    words = (
        "🚀 Testing",
        "📊 Starting",
        "✅ Processing",
        "📈 Total",
        "⚡ Processing rate",
        "🕐 Avg",
        "❌ Error",
        "📦 Final",
        "🚦 Rate",
    )
    said = finished.stdout.splitlines()
    assert [line.startswith(word) for line, word in zip(said, words, strict=False)] == [True] * len(words), finished.stderr
    # A machine may be too slow for the rate, and for nothing else.
    rate = float(said[4].removeprefix("⚡ Processing rate: ").removesuffix("/sec"))
    verdict = "🎉 All performance requirements met!" if rate >= 5 else "💥 Missed: processing rate below 5/sec"
    assert (finished.returncode, said[-1]) == (0 if rate >= 5 else 1, verdict)


RIGHT: dict[str, Any] = {
    "made": {"valid": 9, "rejected": 2, "refused": 1, "valid_by_source": {"user_events": 9}, "valid_by_priority": {"1": 9}},
    "figures": {
        "distinct_keys": 9,
        "by_source": {"user_events": 9},
        "by_priority": {"1": 9},
        "changed": 0,
        "refused_400": 0,
        "worst_window": 15,
        "seconds": 1.0,
    },
    "dead": 2,
    "failed": 1,
}


def test_a_run_in_which_all_is_right_has_no_fault() -> None:
    assert RUNNER.faults(**RIGHT) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dead": 1}, "dead letters: 1, not 2"),
        ({"failed": 0}, "records that the API refused: 0, not 1"),
        ({"figures": RIGHT["figures"] | {"distinct_keys": 8}}, "records that arrived: 8, not 9"),
        ({"figures": RIGHT["figures"] | {"changed": 1}}, "records sent again with another body: 1, not 0"),
        ({"figures": RIGHT["figures"] | {"worst_window": 16}}, "requests in one second: 16, more than 15"),
        ({"figures": RIGHT["figures"] | {"seconds": 2.0}}, "records a second: below 5"),
    ],
)
def test_a_run_in_which_something_is_wrong_says_what(change: dict[str, Any], words: str) -> None:
    assert RUNNER.faults(**RIGHT | change) == [words]


def test_the_streams_begin_when_the_daemon_is_ready_and_never_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNNER, "WORK", tmp_path)
    begins = "path.mkdir(parents=True); (path / 'lanes.json').touch()"
    script = f"import pathlib, signal; path = pathlib.Path('state/history'); {begins}; signal.pause()"
    with (tmp_path / "log").open("w") as log:
        with (
            subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(78)"], text=True) as broken,
            pytest.raises(SystemExit, match="event-processor ended with 78; see "),
        ):
            RUNNER.wait_until_ready(broken, log)
        with subprocess.Popen([sys.executable, "-S", "-c", script], cwd=tmp_path, text=True) as daemon:
            RUNNER.wait_until_ready(daemon, log)
            assert (tmp_path / "state" / "history" / "lanes.json").exists()
            daemon.kill()
