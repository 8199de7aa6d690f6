"""What became of a state on a bad day: a flipped byte, a lost file, another configuration. Right, or a clear refusal; never wrong.

A day is a disk as a run left it, with one thing wrong; then the log grows and the engine is started again. Every 17th byte
is tried, and with HYPOTHESIS_PROFILE=thorough every one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson
import pytest

from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import ConfigurationError, EventProcessorError, ExitCode, StateError
from event_processor.model.telemetry import Telemetry
from support.committed import Committed, canonical_state, read_committed
from support.engine import configuration, run
from support.simulated_fs import SimulatedCrash, SimulatedFileSystem

FOLDER: Final = "/pipeline"
LOG: Final = f"{FOLDER}/log.jsonl"
STATE: Final = f"{FOLDER}/state"
SINK: Final = f"{FOLDER}/out/ordered.jsonl"
CHECKPOINT: Final = f"{STATE}/checkpoint.json"
PREDECESSOR: Final = f"{STATE}/checkpoint.previous.json"
SETTINGS: Final = configuration(FOLDER)
RESUMED: Final = configuration(FOLDER, batch_bytes=20_000)
"""As the second run has it: other batches change no result, and these are quick."""
IS_THOROUGH: Final = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
STEP: Final = 1 if IS_THOROUGH else 17
MASKS: Final = (0x01, 0x80, 0x10, 0xFF)

SEED: Final = 1
"""Of the names that the second run gives; the first run has 0."""

Files: TypeAlias = dict[str, bytes]


class Reports(Telemetry):
    """Keeps what was said of the checkpoint."""

    def __init__(self) -> None:
        self.recovered: list[dict[str, str]] = []

    def checkpoint_recovered(self, **facts: str) -> None:
        self.recovered.append(facts)


def events(start: int, end: int) -> bytes:
    """A little out of order, some twice, some bad; ids of both kinds."""
    lines = []
    for number in range(start, end):
        near = number + 4 if number % 5 == 0 else number
        event_id = json.dumps(near if number % 2 else f"e{near:04}")
        lines.append(f'{{"id": {event_id}, "category": "c{number % 3}", "value": {number}.1}}')
        if number % 7 == 0:
            lines += [lines[-1], "bad"]
    return "\n".join(lines).encode() + b"\n"


MORNING: Final = events(0, 120)
EVENING: Final = events(90, 200)
"""Begins with many that the morning had already, so that the ids are asked for."""


def disk_with(files: Files) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(0, short_io_odds=0)
    for path, content in files.items():
        fs.plant(path, content)
    return fs


def files_of(fs: SimulatedFileSystem) -> Files:
    """Every file, the log first, so that it gets the same inode again."""
    paths = sorted(fs.paths(), key=lambda path: (path != LOG, path))
    return {path: fs.content(path) or b"" for path in paths}


def outcome(fs: SimulatedFileSystem) -> Committed:
    committed = read_committed(fs.content, FOLDER)
    assert committed is not None
    committed.assert_sound()
    return committed


def grown(files: Files) -> Files:
    return {**files, LOG: MORNING + EVENING}


def flips(content: bytes, *, step: int = STEP) -> Iterator[tuple[int, bytes]]:
    """The content with one byte flipped, at every `step`th offset, in one way or in all of them."""
    for number, offset in enumerate(range(0, len(content), step)):
        for mask in MASKS if IS_THOROUGH else [MASKS[number % len(MASKS)]]:
            yield offset, content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :]


@pytest.fixture(scope="module")
def morning() -> Files:
    """The disk after the first run."""
    fs = disk_with({LOG: MORNING})
    run(fs, SETTINGS)
    return files_of(fs)


@pytest.fixture(scope="module")
def undisturbed() -> Committed:
    """What both logs give, on a disk on which nothing ever went wrong."""
    fs = disk_with({LOG: MORNING + EVENING})
    run(fs, SETTINGS)
    return outcome(fs)


def assert_right(fs: SimulatedFileSystem, undisturbed: Committed) -> None:
    found = outcome(fs)
    assert canonical_state(found) == canonical_state(undisturbed)
    assert (found.sink, found.dead_letters) == (undisturbed.sink, undisturbed.dead_letters)


def refusal(fs: SimulatedFileSystem, settings: Configuration = RESUMED) -> EventProcessorError:
    """The error with which the engine refuses to start; of what a checkpoint may name, nothing is then changed."""
    before = files_of(fs)
    with pytest.raises(EventProcessorError) as refused:
        run(fs, settings, seed=SEED)
    after = files_of(fs)
    left_out = {f"{STATE}/lock", *orphans(before)}
    for path in sorted((before.keys() | after.keys()) - left_out):
        assert after.get(path) == before.get(path, b""), path
    return refused.value


def orphans(files: Files) -> set[str]:
    """The files of ids and held events that no checkpoint names: what was merged and not committed."""
    documents = [content.decode("utf-8", "replace") for path, content in files.items() if path in {CHECKPOINT, PREDECESSOR}]
    owned = [path for path in files if path.startswith((f"{STATE}/ids/", f"{STATE}/held/"))]
    return {path for path in owned if not any(path.rpartition("/")[2] in document for document in documents)}


# A byte of the checkpoint.


def test_a_flipped_byte_of_the_checkpoint_is_recovered_from_and_reported(morning: Files, undisturbed: Committed) -> None:
    sound = json.loads(morning[CHECKPOINT])
    recovered = 0
    for offset, content in flips(morning[CHECKPOINT]):
        reports = Reports()
        fs = disk_with(grown(morning) | {CHECKPOINT: content})
        run(fs, RESUMED, seed=SEED, telemetry=reports)
        assert_right(fs, undisturbed)
        if reports.recovered:
            recovered += 1
            assert reports.recovered[0]["kept_as"].startswith(f"{STATE}/checkpoint.corrupt-")
            assert fs.content(reports.recovered[0]["kept_as"]) == content
        else:
            document = json.loads(content)
            assert (document["version"], document["state"]) == (sound["version"], sound["state"]), f"byte {offset}"
    assert recovered > len(morning[CHECKPOINT]) // STEP // 2


def test_a_checkpoint_cut_at_any_length_is_recovered_from(morning: Files, undisturbed: Committed) -> None:
    whole = morning[CHECKPOINT]
    for length in range(0, len(whole) - 1, 3 * STEP):
        reports = Reports()
        fs = disk_with(grown(morning) | {CHECKPOINT: whole[:length]})
        run(fs, RESUMED, seed=SEED, telemetry=reports)
        assert_right(fs, undisturbed)
        assert len(reports.recovered) == 1


def test_a_missing_checkpoint_is_recovered_from(morning: Files, undisturbed: Committed) -> None:
    reports = Reports()
    fs = disk_with({path: content for path, content in grown(morning).items() if path != CHECKPOINT})
    run(fs, RESUMED, seed=SEED, telemetry=reports)
    assert_right(fs, undisturbed)
    assert [report["reason"] for report in reports.recovered] == ["missing"]


def test_a_flipped_byte_of_the_predecessor_changes_nothing(morning: Files, undisturbed: Committed) -> None:
    for _, content in flips(morning[PREDECESSOR], step=3 * STEP):
        reports = Reports()
        fs = disk_with(grown(morning) | {PREDECESSOR: content})
        run(fs, RESUMED, seed=SEED, telemetry=reports)
        assert_right(fs, undisturbed)
        assert not reports.recovered


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_death_at_any_call_of_that_recovery_costs_nothing(morning: Files, undisturbed: Committed, power_cut: bool) -> None:
    damaged = grown(morning) | {CHECKPOINT: morning[CHECKPOINT][:-200]}
    points = 0
    for nth in range(1, 10_000, 1 if IS_THOROUGH else 2):
        fs = disk_with(damaged)
        fs.crash_at(nth)
        try:
            run(fs, RESUMED, seed=SEED + 2 * nth)
        except SimulatedCrash:
            points += 1
        else:
            break
        revived = fs.crash() if power_cut else fs.kill()
        run(revived, RESUMED, seed=SEED + 2 * nth + 1)
        assert_right(revived, undisturbed)
    assert points > 20


def test_both_checkpoints_broken_is_65_with_what_to_do(morning: Files) -> None:
    broken = {CHECKPOINT: morning[CHECKPOINT][:-200], PREDECESSOR: b"{}"}
    error = refusal(disk_with(grown(morning) | broken))
    assert (type(error), error.exit_code) == (StateError, ExitCode.STATE)
    assert "checkpoint.json: not JSON" in error.message
    assert "checkpoint.previous.json: not a checkpoint" in error.message
    assert "backup" in error.hint
    assert "event-processor replay" in error.hint
    assert "event-processor reset" in error.hint


def test_a_predecessor_whose_files_are_gone_is_65(morning: Files) -> None:
    files = grown(morning) | {CHECKPOINT: b"broken"}
    lengths = json.loads(morning[PREDECESSOR])["state"]["appended"]
    assert lengths["dead_letters.jsonl"] > 0
    error = refusal(disk_with(files | {f"{STATE}/dead_letters.jsonl": b""}))
    assert error.exit_code == ExitCode.STATE
    assert "dead_letters.jsonl is missing or shorter" in error.message


def with_state(files: Files, **changes: Any) -> Files:
    """Both checkpoints with other keys, and a checksum that holds."""
    changed = {}
    for path in (CHECKPOINT, PREDECESSOR):
        document = json.loads(files[path]) | changes
        canonical = orjson.dumps({"state": document["state"], "version": document["version"]}, option=orjson.OPT_SORT_KEYS)
        document["checksum"] = f"sha256:{hashlib.sha256(canonical).hexdigest()}"
        changed[path] = orjson.dumps(document)
    return files | changed


def test_an_unknown_version_is_65_and_falls_back_to_nothing(morning: Files) -> None:
    error = refusal(disk_with(with_state(grown(morning), version=3)))
    assert error.exit_code == ExitCode.STATE
    assert "version 3" in error.message


def test_a_state_of_another_shape_is_65(morning: Files) -> None:
    error = refusal(disk_with(with_state(grown(morning), state={"sources": []})))
    assert error.exit_code == ExitCode.STATE
    assert "another shape" in error.message


# A byte of our other files.


def error_of_a_run(fs: SimulatedFileSystem) -> EventProcessorError | None:
    try:
        run(fs, RESUMED, seed=SEED)
    except EventProcessorError as error:
        return error
    return None


@pytest.mark.parametrize("folder", ["ids", "held"])
def test_a_flipped_byte_of_ids_or_held_events_is_refused_or_changes_nothing(
    morning: Files, undisturbed: Committed, folder: str
) -> None:
    named = json.loads(morning[CHECKPOINT])["state"]
    known = {*named["appended"], *(f"ids/{segment['file']}" for segment in named["ids"]["segments"])}
    paths = [path for path in morning if path.removeprefix(f"{STATE}/") in known and path.startswith(f"{STATE}/{folder}/")]
    assert paths
    refused = 0
    for path in paths:
        for offset, content in flips(morning[path]):
            fs = disk_with(grown(morning) | {path: content})
            error = error_of_a_run(fs)
            if error:
                refused += 1
                assert error.exit_code in {ExitCode.STATE, ExitCode.STORAGE}, f"{path}, byte {offset}: {error}"
                assert folder in error.message
            else:
                found = outcome(fs)
                assert canonical_state(found) == canonical_state(undisturbed), f"{path}, byte {offset}"
                assert found.sink == undisturbed.sink, f"{path}, byte {offset}"
    assert refused


@pytest.mark.parametrize("name", ["journal.jsonl", "dead_letters.jsonl", "intake.jsonl"])
def test_a_flipped_byte_of_the_journal_or_the_dead_letters_changes_no_count(
    morning: Files, undisturbed: Committed, name: str
) -> None:
    path = f"{STATE}/{name}"
    for _, content in flips(morning[path] or b"x", step=5 * STEP):
        fs = disk_with(grown(morning) | ({path: content} if morning[path] else {}))
        run(fs, RESUMED, seed=SEED)
        found = read_committed(fs.content, FOLDER)
        assert found is not None
        assert canonical_state(found) == canonical_state(undisturbed)


@pytest.mark.parametrize("name", ["journal.jsonl", "dead_letters.jsonl", "ids", "held", "sink"])
def test_a_file_that_is_shorter_than_committed_is_65_and_named(name: str) -> None:
    fs = disk_with({LOG: MORNING, f"{STATE}/intake.jsonl": events(500, 503)})
    run(fs, SETTINGS)
    files = files_of(fs)
    appended = json.loads(files[CHECKPOINT])["state"]["appended"]
    entry = next(key for key in sorted(appended) if name in key.replace("sinks", "sink"))
    assert appended[entry] > 0
    path = SINK if name == "sink" else f"{STATE}/{entry}"
    for cut in (files | {path: files[path][: appended[entry] - 1]}, {key: files[key] for key in files if key != path}):
        error = refusal(disk_with(cut))
        assert error.exit_code == ExitCode.STATE
        assert name.replace("sink", "ordered") in error.message


# Lost, foreign, or otherwise not ours.


def test_a_missing_state_is_65_while_ids_are_left(morning: Files) -> None:
    left = {path: content for path, content in grown(morning).items() if path not in {CHECKPOINT, PREDECESSOR}}
    only_ids = {path: content for path, content in left.items() if path == LOG or path.startswith(f"{STATE}/ids/")}
    for files in (left, only_ids):
        error = refusal(disk_with(files))
        assert error.exit_code == ExitCode.STATE
        assert "missing" in error.message
        assert "replay" in error.hint


def test_a_missing_state_is_78_while_the_sink_holds_what_it_wrote(morning: Files) -> None:
    error = refusal(disk_with({LOG: MORNING, SINK: morning[SINK]}))
    assert error.exit_code == ExitCode.CONFIGURATION
    assert "ordered.jsonl" in error.message
    assert "restore the state" in error.hint


def test_foreign_bytes_behind_the_committed_length_of_a_sink_are_cut_off(morning: Files, undisturbed: Committed) -> None:
    fs = disk_with(grown(morning) | {SINK: morning[SINK] + b"never committed\n"})
    run(fs, RESUMED, seed=SEED)
    assert_right(fs, undisturbed)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"event": {"value": "amount"}}, 'event.value: "value" -> "amount"'),
        ({"buffer_events": 9}, "order.buffer_events: 8 -> 9"),
        ({"record_bytes_max": 5000}, "sources.log.record_bytes_max: 4096 -> 5000"),
        ({"dedup": {"enabled": False}}, "dedup.enabled: true -> false"),
        ({"totals": {"categories_max": 5}}, "totals.categories_max: 100000 -> 5"),
    ],
)
def test_another_configuration_is_78_and_names_the_key_and_the_way_out(morning: Files, sections: Any, said: str) -> None:
    error = refusal(disk_with(grown(morning)), configuration(FOLDER, **sections))
    assert isinstance(error, ConfigurationError)
    assert error.exit_code == ExitCode.CONFIGURATION
    assert said in error.message
    assert "event-processor replay" in error.hint


def test_a_state_that_is_a_file_is_78(morning: Files) -> None:
    error = refusal(disk_with({LOG: MORNING, STATE: b"not a folder"}))
    assert error.exit_code == ExitCode.CONFIGURATION
    assert STATE in error.message


def test_a_held_event_whose_key_was_damaged_is_refused() -> None:
    """The record alone does not tell: the key decides the place among the events that come later."""
    ids = (*range(10, 170, 10), 0)
    fs = disk_with({LOG: b"".join(b'{"id": %d, "category": "c", "value": 1}\n' % number for number in ids)})
    run(fs, SETTINGS)
    files = files_of(fs)
    (path,) = (path for path in files if path.startswith(f"{STATE}/held/"))
    assert b"[0,150,14," in files[path]
    damaged = files | {path: files[path].replace(b"[0,150,14,", b"[0,155,14,")}
    error = refusal(disk_with(damaged))
    assert error.exit_code == ExitCode.STATE
