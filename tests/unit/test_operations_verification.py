import gzip
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.assembly import Environment, all_sources
from event_processor.assembly.library import build
from event_processor.configuration.configuration import Configuration
from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.segment_format import Header
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.state import Counts
from event_processor.model.errors import ConfigurationError, InputGoneError, StateError
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import LogReader, nobody_watches
from event_processor.operations.verification import Verification, verify
from support.logs import adversarial_log
from support.operated import Place, event_line, lines


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place.real(tmp_path, buffer_events=2)
    place.append(lines(range(5)) + b"bad\n\n" + lines([3, 3]) + b"worse\n")
    return place


HEADER_BYTES = Header.SIZE_BYTES


def run(settings: Configuration, environment: Environment) -> None:
    with build(settings, environment=environment) as processor:
        processor.run()


def verified(place: Place) -> Verification:
    return verify(place.settings, place.environment, progress=nobody_watches)


def paths_of(verification: Verification) -> list[str]:
    return [difference.path for difference in verification.differences]


def chunks(place: Place) -> Iterator[Chunk]:
    checkpoint = CheckpointStore(place.fs, str(place.path("state")), Telemetry()).peek()
    assert checkpoint is not None
    reader = LogReader(place.settings, place.environment, checkpoint)
    yield from (each for each in reader.script() if isinstance(each, Chunk))
    reader.close()


def test_a_right_state_is_ok_and_says_what_was_compared(place: Place) -> None:
    place.run()
    verification = verified(place)
    assert verification.is_ok
    assert verification.counts == Counts(records=10, accepted=5, duplicate=2, rejected=2, blank=1)
    assert verification.size_bytes == len(place.read("log.jsonl"))
    assert verification.dead_letters == 2
    assert [(sink.name, sink.size_bytes, sink.skipped_bytes) for sink in verification.sinks] == [
        ("ordered", len(place.read("out", "ordered.jsonl")), 0)
    ]


def test_what_was_appended_after_the_commit_is_not_compared(place: Place) -> None:
    place.run()
    place.append(lines(range(10, 20)))
    assert verified(place).is_ok


def test_verification_changes_nothing(place: Place) -> None:
    place.run()
    before = {path: path.read_bytes() for path in place.path().rglob("*") if path.is_file()}
    verified(place)
    assert {path: path.read_bytes() for path in place.path().rglob("*") if path.is_file()} == before


def test_an_adversarial_log_cut_in_many_commits_is_ok(tmp_path: Path) -> None:
    place = Place.real(tmp_path, batch_bytes=1024, record_bytes_max=1_000_000)
    log = adversarial_log(600, seed=5)
    for start in range(0, len(log), len(log) // 3):
        place.append(log[start : start + len(log) // 3])
        place.run()
    assert verified(place.configured(batch_bytes=3000, record_bytes_max=1_000_000)).is_ok


def test_a_false_number_is_named_by_its_path(place: Place) -> None:
    place.run()
    counts = Counts(records=10, accepted=4, duplicate=3, rejected=2, blank=1)
    place.rewrite({"counts": counts})
    verification = verified(place)
    assert not verification.is_ok
    assert {"counts.accepted", "counts.duplicate"} <= set(paths_of(verification))
    by_path = {difference.path: difference for difference in verification.differences}
    assert (by_path["counts.accepted"].committed, by_path["counts.accepted"].recomputed) == (4, 5)


def test_numbers_that_contradict_one_another_are_named(place: Place) -> None:
    place.run()
    place.rewrite({"counts": Counts(records=11, accepted=5, duplicate=2, rejected=2, blank=1)})
    assert "counts.records" in paths_of(verified(place))


def test_a_line_of_the_log_that_was_rewritten_is_a_difference(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines(range(400)))
    place.run()
    log = place.read("log.jsonl")
    middle = log.index(b'{"id": 200,')
    place.path("log.jsonl").write_bytes(log[:middle] + log[middle:].replace(b'"value": 1', b'"value": 2', 1))
    assert "categories.a.sum" in paths_of(verified(place))


def test_a_byte_of_the_sink_that_was_changed_is_named_by_its_offset(place: Place) -> None:
    place.run()
    sink = place.read("out", "ordered.jsonl")
    place.path("out", "ordered.jsonl").write_bytes(sink[:7] + b"9" + sink[8:])
    assert paths_of(verified(place)) == ["sinks.ordered (byte 7)"]


def test_a_sink_that_is_gone_or_cut_is_a_difference(place: Place) -> None:
    place.run()
    sink = place.path("out", "ordered.jsonl")
    whole = sink.read_bytes()
    sink.write_bytes(whole[:-1])
    verification = verified(place)
    assert [(each.committed, each.recomputed) for each in verification.differences] == [(len(whole) - 1, len(whole))]
    sink.unlink()
    assert len(verified(place).differences) == 1


def test_bytes_behind_the_committed_length_of_a_sink_do_not_count(place: Place) -> None:
    place.run()
    place.append(b"never committed\n", "out/ordered.jsonl")
    assert verified(place).is_ok


def test_a_sink_that_was_added_later_is_compared_from_where_it_began(tmp_path: Path) -> None:
    place = Place.real(tmp_path, buffer_events=2)
    place.append(lines(range(8)))
    place.run(drain=True)
    begun = len(place.read("out", "ordered.jsonl"))
    place.path("out", "ordered.jsonl").rename(place.path("out", "first.jsonl"))
    checkpoint = place.state()
    place.rewrite({"appended": {key: size for key, size in checkpoint["appended"].items() if not key.startswith("sinks.")}})
    place.append(lines(range(20, 30)))
    place.run(drain=True)
    verification = verified(place)
    assert verification.is_ok
    assert [sink.skipped_bytes for sink in verification.sinks] == [begun]


def test_a_dead_letter_that_stands_for_another_record_is_a_difference(place: Place) -> None:
    place.run()
    letters = place.read("state", "dead_letters.jsonl")
    place.path("state", "dead_letters.jsonl").write_bytes(letters.replace(b'"line":6', b'"line":7'))
    verification = verified(place)
    assert paths_of(verification) == ["dead_letters (line 1)"]
    recomputed = verification.differences[0].recomputed
    assert isinstance(recomputed, dict)
    assert (recomputed["line"], recomputed["offset"]) == (6, len(lines(range(5))))


def test_other_words_for_a_reason_are_no_difference(place: Place) -> None:
    place.run()
    letters = [json.loads(line) for line in place.read("state", "dead_letters.jsonl").splitlines()]
    size = len(place.read("state", "dead_letters.jsonl"))
    changed = b"".join(json.dumps({**letter, "reason": ""}).encode() + b"\n" for letter in letters)
    assert len(changed) <= size
    padded = changed[:-2] + b" " * (size - len(changed)) + b"}\n"
    place.path("state", "dead_letters.jsonl").write_bytes(padded)
    assert verified(place).is_ok


def test_a_log_that_is_gone_cannot_be_told_and_says_which_bytes(place: Place) -> None:
    place.run()
    size = len(place.read("log.jsonl"))
    place.path("log.jsonl").unlink()
    with pytest.raises(InputGoneError, match=rf"source 'log', generation 1 .*bytes 0 to {size} are gone"):
        verified(place)


def test_a_log_that_was_rotated_and_compressed_is_found(place: Place) -> None:
    place.run()
    place.path("log.jsonl").rename(place.path("log.jsonl.1"))
    place.append(lines([50, 51]))
    place.run()
    with gzip.open(place.path("log.jsonl.1.gz"), "wb") as packed:
        packed.write(place.read("log.jsonl.1"))
    place.path("log.jsonl.1").unlink()
    assert verified(place).is_ok
    assert verified(place).counts.records == 12


def test_a_log_that_was_rotated_and_retired_is_ok(place: Place) -> None:
    for name in ("first", "second"):
        place.run()
        if place.path("log.jsonl.1").exists():
            place.path("log.jsonl.1").rename(place.path("log.jsonl.2"))
        place.path("log.jsonl").rename(place.path("log.jsonl.1"))
        place.append(lines([name, 1]))
    place.run()
    assert place.state()["sources"]["log"]["retired"]["generations"] == 2
    verification = verified(place)
    assert verification.is_ok
    assert verification.counts.records == 14


def test_a_corrupt_segment_of_the_index_is_found_with_its_file_and_byte(place: Place) -> None:
    environment = replace(place.environment, index_limits=IndexLimits(seal_ids=2))
    for _ in range(3):
        place.append(lines([f"id-{len(place.read('log.jsonl'))}" for _ in range(3)]))
        place.append(lines([f"x{number}-{len(place.read('log.jsonl'))}" for number in range(5)]))
        run(place.configured(buffer_events=2).settings, environment)
    assert verified(place).is_ok
    segment = next(place.path("state", "ids").glob("segment-*"))
    content = bytearray(segment.read_bytes())
    content[HEADER_BYTES] ^= 1
    segment.write_bytes(content)
    with pytest.raises(StateError, match=rf"{segment.name}: the block at byte {HEADER_BYTES} does not match its checksum"):
        verified(place)


def test_ids_that_the_index_has_too_few_are_a_difference(place: Place) -> None:
    place.run()
    place.append(lines([100]))
    place.run()
    index = place.state()["ids"]
    place.path("state", "ids", index["active"]).write_bytes(b"")
    with pytest.raises(StateError, match="were committed"):
        verified(place)


def test_a_truncated_log_cannot_be_told(place: Place) -> None:
    place.run()
    place.path("log.jsonl").write_bytes(lines([70]))
    place.run()
    with pytest.raises(InputGoneError, match="generation 1"):
        verified(place)


def test_a_changed_configuration_is_not_verified(place: Place) -> None:
    place.run()
    with pytest.raises(ConfigurationError, match=r"event\.value"):
        verified(place.configured(buffer_events=2, event={"value": ""}))


def test_a_journal_that_is_cut_is_an_unreadable_state(place: Place) -> None:
    place.run()
    place.append(event_line(9), "state/intake.jsonl")
    place.run()
    place.append(lines([60]))
    place.run()
    assert place.state()["appended"]["journal.jsonl"] > 0
    place.path("state", "journal.jsonl").write_bytes(b"")
    with pytest.raises(StateError, match=r"journal\.jsonl"):
        verified(place)


def test_two_sources_and_releases_in_silence_are_recomputed_in_their_order(place: Place) -> None:
    for number in range(4):
        place.append(lines([f"x{number}", f"a{number}"]))
        place.append(event_line(f"b{number}"), "state/intake.jsonl") if number else None
        place.run(drain=number % 2 == 1)
    kinds = [json.loads(line)["what"] for line in place.read("state", "journal.jsonl").splitlines()]
    assert {"read", "idle_release"} <= set(kinds)
    assert verified(place).is_ok


def test_the_script_gives_each_committed_byte_once_whole_records_a_chunk(tmp_path: Path) -> None:
    place = Place.real(tmp_path, batch_bytes=1024, record_bytes_max=64)
    log = lines(range(100)) + b"x" * 64 + b"\r\n" + b"y" * 65 + b"\r\n" + b"z" * 300_000 + b"\n" + lines([7])
    place.append(log)
    place.run()
    offset = 0
    for chunk in chunks(place):
        assert chunk.offset == offset
        assert chunk.content == log[offset : offset + len(chunk.content)]
        assert chunk.content.endswith(b"\n") or chunk.oversized_bytes
        offset = chunk.end_offset
    assert offset == len(log)
    assert [chunk.oversized_bytes for chunk in chunks(place) if chunk.oversized_bytes] == [67, 300_001]


def test_the_intake_is_read_again_like_any_source(place: Place) -> None:
    assert "intake" in all_sources(place.settings, str(place.path("state")))
    place.run()
    place.append(lines([90]), "state/intake.jsonl")
    place.run()
    assert {chunk.source for chunk in chunks(place)} == {"log", "intake"}
    assert verified(place).counts.records == 11


RECORDS = st.one_of(
    st.integers(0, 30).map(lambda number: event_line(number)[:-1]),
    st.sampled_from([b"", b" ", b"bad", b"\xff", b"x" * 64, b"x" * 65, b"y" * 66 + b"\r", b"z" * 1500, b'{"id": 1}']),
)


@settings(max_examples=40, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=60),
    ends_with_line_feed=st.booleans(),
    seed=st.integers(0, 1000),
    batch_bytes=st.sampled_from([1024, 1500, 100_000]),
)
def test_any_log_read_in_any_pieces_verifies(
    *, records: list[bytes], ends_with_line_feed: bool, seed: int, batch_bytes: int
) -> None:
    chance = Random(seed)
    log = b"\n".join(records) + (b"\n" if ends_with_line_feed else b"")
    with tempfile.TemporaryDirectory() as folder:
        place = Place.real(Path(folder), batch_bytes=1024, record_bytes_max=64, buffer_events=3)
        cuts = sorted(chance.randrange(len(log) + 1) for _ in range(3))
        for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
            place.append(log[start:end])
            place.run(drain=chance.random() < 0.3)
        place.run(drain=True)
        other = place.configured(batch_bytes=batch_bytes, record_bytes_max=64, buffer_events=3)
        assert verified(other).differences == ()
