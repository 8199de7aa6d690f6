import base64
import json
from pathlib import Path

import pytest

from event_processor.model.errors import InputGoneError, UsageError
from event_processor.operations.dead_letters import (
    count_dead_letters,
    newest_dead_letters,
    purge_dead_letters,
    read_dead_letters,
    repaired_records,
    retry_records,
)
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.state_access import owned_state
from event_processor.operations.verification import verify
from support.operated import Place, event_line, lines


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place.real(tmp_path, record_bytes_max=100)
    place.append(lines([1]) + event_line(2, value="x") + b"\xff\xfe\n" + b"y" * 200 + b"\n")
    place.run()
    return place


def letter(record: str) -> bytes:
    fields = {"source": "log", "generation": 1, "line": 1, "offset": 0, "stage": "validate", "reason": "r", "field": ""}
    return json.dumps({**fields, "record": record}).encode()


def test_letters_are_read_with_their_places_and_their_records_as_text(place: Place) -> None:
    letters = list(read_dead_letters(place.settings, place.environment))
    assert [(each["line"], each["stage"]) for each in letters] == [(2, "validate"), (3, "decode"), (4, "read")]
    assert letters[0]["record"] == event_line(2, value="x").decode().rstrip()
    assert letters[1]["record"] == "\ufffd\ufffd"
    assert base64.b64decode(str(letters[1]["record_base64"])) == b"\xff\xfe"
    assert letters[2]["length"] == 201
    assert "record" not in letters[2]
    assert count_dead_letters(place.settings, place.environment) == 3


def test_the_newest_letters_come_oldest_first(place: Place) -> None:
    assert [each["line"] for each in newest_dead_letters(place.settings, place.environment, 2)] == [3, 4]


def test_letters_that_are_not_committed_do_not_exist(place: Place) -> None:
    place.append(letter("never") + b"\n", "state/dead_letters.jsonl")
    assert len(list(read_dead_letters(place.settings, place.environment))) == 3


def test_a_place_without_a_state_has_no_letters(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    assert list(read_dead_letters(place.settings, place.environment)) == []


def test_repaired_records_are_taken_from_letters_and_from_bare_lines() -> None:
    bare = b'{"id": 1, "reason": "none of ours"}'
    given = [letter('{"id": 5}'), b"", b"  ", b"\t" + bare + b"\r", letter('{\n "id": 6\r\n}')]
    assert repaired_records(given, "f") == [b'{"id": 5}', bare, b'{  "id": 6  }']


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"not JSON", r"f:2: not a JSON object: .*"),
        (b"[1]", "f:2: not a JSON object"),
        (letter("still broken"), r'f:2: its "record" is not a JSON object'),
        (letter("x").replace(b'"record"', b'"rec"'), "f:2: a dead letter without its record"),
    ],
)
def test_a_line_that_is_not_repaired_is_refused_with_its_number(line: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        repaired_records([b'{"id": 1}', line], "f")


def test_a_retried_record_comes_back_through_the_intake_and_counts_once(place: Place) -> None:
    for _ in range(2):
        path = retry_records(place.settings, place.environment, [event_line(2).rstrip()])
        place.run()
    assert path == str(place.path("state", "intake.jsonl"))
    state = place.state()
    assert (state["counts"]["accepted"], state["counts"]["duplicate"], state["counts"]["rejected"]) == (2, 1, 3)
    assert state["sources"]["intake"]["counts"]["records"] == 2
    assert verify(place.settings, place.environment, progress=nobody_watches).is_ok


def test_a_retry_works_while_the_state_is_owned_by_a_daemon(place: Place) -> None:
    with owned_state(place.settings, place.environment):
        retry_records(place.settings, place.environment, [b'{"id": 9}'])
    assert place.read("state", "intake.jsonl") == b'{"id": 9}\n'


def test_a_torn_line_of_a_died_retry_is_cut_off_before_the_next(place: Place) -> None:
    place.append(b'{"id": 7}\n{"id"', "state/intake.jsonl")
    retry_records(place.settings, place.environment, [b'{"id": 8}'])
    assert place.read("state", "intake.jsonl") == b'{"id": 7}\n{"id": 8}\n'


def test_a_purge_empties_the_file_and_keeps_the_counts(place: Place) -> None:
    with owned_state(place.settings, place.environment):
        purge_dead_letters(place.settings, place.environment)
    assert place.read("state", "dead_letters.jsonl") == b""
    assert place.state()["counts"]["rejected"] == 3
    verification = verify(place.settings, place.environment, progress=nobody_watches)
    assert (verification.differences, verification.dead_letters_purged) == ((), 3)


def test_letters_that_come_after_a_purge_are_kept_and_verified(place: Place) -> None:
    for record in (b"bad\n", b"worse\n"):
        with owned_state(place.settings, place.environment):
            purge_dead_letters(place.settings, place.environment)
        place.append(record)
        place.run()
    assert [each["record"] for each in read_dead_letters(place.settings, place.environment)] == ["worse"]
    verification = verify(place.settings, place.environment, progress=nobody_watches)
    assert (verification.differences, verification.dead_letters, verification.dead_letters_purged) == ((), 1, 4)
    assert not [name for name in place.fs.names(str(place.path("state"))) if "purged" in name]


def test_there_is_nothing_to_purge_without_a_state(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    with pytest.raises(InputGoneError):
        purge_dead_letters(place.settings, place.environment)
