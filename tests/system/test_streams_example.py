"""The example of concurrent streams: its generator, its configuration, its models, its StreamProcessor, and what its run compares."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from event_processor.records.user_model import compile_model
from support.documents import ROOT
from support.modules import modules_of
from support.processes import DEADLINE_S
from support.virtual_time import run_in_virtual_time

EXAMPLE = ROOT / "examples" / "001-streams"
LOADED = modules_of(EXAMPLE, "models", "make_streams", "run_streams", "stream_processor", "streaming_test_framework")
MODELS, MAKER, RUNNER, PROCESSOR, FRAMEWORK = LOADED
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


# The StreamProcessor, in virtual time.


NOW_S = 1_760_000_000.0


class Clock:
    """Epoch seconds that follow the time of the loop."""

    def __call__(self) -> float:
        return NOW_S + asyncio.get_running_loop().time()


def processor(api: object) -> Any:
    return PROCESSOR.StreamProcessor(api, SENDERS, epoch_s=Clock(), chance=lambda: 0.5)


async def played(api: object, seconds: float, rate: float) -> Any:
    """A processor that was fed and stopped."""
    made_up = processor(api)
    await made_up.start_processing(FRAMEWORK.stream(seconds, rate, now=NOW_S))
    await made_up.stop_processing()
    return made_up


async def gathered(seconds: float, rate: float) -> list[Any]:
    return [record async for record in FRAMEWORK.stream(seconds, rate, now=NOW_S)]


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


def test_every_valid_record_is_sent_once_and_every_other_is_rejected() -> None:
    offered = run_in_virtual_time(gathered(30, 10))
    valid = [record for record in offered if is_valid(record)]
    api = FRAMEWORK.DownstreamAPI()
    metrics = run_in_virtual_time(played(api, 30, 10)).get_metrics()
    sent = sorted(record.transformed_data["sequence_id"] for record in api.accepted)
    assert sent == [record.sequence_id for record in valid]
    assert (metrics.total_processed, metrics.rejected) == (len(valid), len(offered) - len(valid))
    assert (metrics.error_rate, metrics.backlog_size, metrics.rate_limit_hits) == (0, 0, 0)
    assert metrics.by_source == Counter(record.source.value for record in valid)
    assert metrics.by_priority == Counter(int(record.priority) for record in valid)
    failed = len(api.arrivals_s) - len(valid)
    assert metrics.error_rate_before_retries == failed / len(api.arrivals_s) > 0.1
    assert 0 < metrics.avg_processing_time_ms < 10_000


def test_the_api_never_gets_more_than_its_limit_and_most_of_it_is_used() -> None:
    api = FRAMEWORK.DownstreamAPI()
    run_in_virtual_time(played(api, 30, 40))
    assert most_in_a_second(api.arrivals_s) <= 15
    used = len(api.arrivals_s) / (api.arrivals_s[-1] - api.arrivals_s[0])
    assert used >= 0.95 * 15 / (1 + 0.03)


class Endless:
    """A stream without an end; how many records were taken of it."""

    def __init__(self) -> None:
        self.taken = 0

    async def records(self) -> AsyncIterator[Any]:
        for number in count():
            self.taken += 1
            yield MODELS.StreamData(MODELS.StreamSource.USER_EVENTS, NOW_S, MODELS.Priority.LOW, {}, number)


class Api:
    """Answers what it is told, in turn; after that it accepts."""

    def __init__(self, *answers: Exception | bool, takes_s: float = 0.03) -> None:
        self.answers = list(answers)
        self.takes_s = takes_s
        self.calls: list[tuple[float, int]] = []

    async def send_data(self, record: Any) -> bool:
        self.calls.append((asyncio.get_running_loop().time(), record.transformed_data["sequence_id"]))
        await asyncio.sleep(self.takes_s)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_stream_is_not_read_faster_than_the_api_accepts_and_a_stop_sends_what_was_read() -> None:
    async def play() -> tuple[Any, Endless, Api]:
        endless, api = Endless(), Api()
        made_up = processor(api)
        reading = asyncio.create_task(made_up.start_processing(endless.records()))
        for _ in range(100):
            await asyncio.sleep(0.1)
            metrics = made_up.get_metrics()
            assert metrics.backlog_size <= QUEUE_RECORDS + SENDERS
            assert endless.taken - metrics.total_processed <= QUEUE_RECORDS + SENDERS
        await made_up.stop_processing()
        await reading
        return made_up.get_metrics(), endless, api

    metrics, endless, api = run_in_virtual_time(play())
    assert metrics.total_processed == endless.taken > 100
    assert sorted(number for _, number in api.calls) == list(range(endless.taken))
    assert metrics.backlog_size == 0


def test_a_reader_that_is_cancelled_loses_nothing_that_it_had_read() -> None:
    async def play() -> tuple[Any, Endless]:
        endless = Endless()
        made_up = processor(Api())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(made_up.start_processing(endless.records()), 5)
        await made_up.stop_processing()
        return made_up.get_metrics(), endless

    metrics, endless = run_in_virtual_time(play())
    assert metrics.total_processed == endless.taken > 50


async def one_record(api: Api, *, stopped_after_s: float = 0) -> Any:
    async def stream() -> AsyncIterator[Any]:
        yield MODELS.StreamData(MODELS.StreamSource.USER_EVENTS, NOW_S, MODELS.Priority.LOW, {}, 1)

    made_up = processor(api)
    await made_up.start_processing(stream())
    await asyncio.sleep(stopped_after_s)
    await made_up.stop_processing()
    return made_up.get_metrics()


def test_the_api_is_left_alone_for_as_long_as_it_asks() -> None:
    api = Api(FRAMEWORK.RateLimitError(retry_after=3), FRAMEWORK.RateLimitError(retry_after=3))
    metrics = run_in_virtual_time(one_record(api))
    first, second, third = (moment for moment, _ in api.calls)
    assert second - first >= 3
    assert third - second >= 3
    assert (metrics.total_processed, metrics.rate_limit_hits, metrics.error_rate) == (1, 2, 0)


def test_a_call_that_fails_is_tried_again_after_a_growing_wait() -> None:
    api = Api(FRAMEWORK.ProcessingError(), OSError(), False)
    metrics = run_in_virtual_time(one_record(api))
    moments = [moment for moment, _ in api.calls]
    waits = [later - earlier - 0.03 for earlier, later in pairwise(moments)]
    assert waits == pytest.approx([0.1, 0.2, 0.4])  # half of 0.2 s, 0.4 s, 0.8 s
    assert (metrics.total_processed, metrics.error_rate_before_retries) == (1, 0.75)


def test_a_record_that_always_fails_is_counted_as_failed() -> None:
    api = Api(*(FRAMEWORK.ProcessingError() for _ in range(PROCESSOR.TRIES_MAX)))
    metrics = run_in_virtual_time(one_record(api, stopped_after_s=120))
    assert len(api.calls) == PROCESSOR.TRIES_MAX
    assert (metrics.total_processed, metrics.error_rate, metrics.backlog_size) == (0, 1, 0)


def test_a_stop_waits_for_a_bounded_time_and_says_what_is_left() -> None:
    metrics = run_in_virtual_time(one_record(Api(takes_s=1e9)))
    assert (metrics.total_processed, metrics.backlog_size) == (0, 1)


# The scripts.


def test_the_script_of_the_document_prints_its_lines_and_its_verdict() -> None:
    finished = called(EXAMPLE, "data_streaming_pipeline_test.py", "--seconds", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
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
    assert [line.startswith(word) for line, word in zip(said, words, strict=False)] == [True] * len(words)
    assert said[-1] == "🎉 All performance requirements met!"


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
