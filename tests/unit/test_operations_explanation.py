import json
from pathlib import Path

import pytest

from event_processor.model.errors import ConfigurationError, InputGoneError
from event_processor.model.event import EventId
from event_processor.operations.explanation import LISTED_MAX, IdHistory, explain, meant_ids
from event_processor.operations.log_reader import nobody_watches
from support.operated import Place, event_line, lines


def history(place: Place, text: str, event_id: EventId) -> IdHistory:
    explanation = explain(place.settings, place.environment, text, progress=nobody_watches)
    return next(each for each in explanation.ids if each.id == event_id and type(each.id) is type(event_id))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("A1", ("A1",)),
        ("12", ("12", 12)),
        ("-5", ("-5", -5)),
        ("007", ("007",)),
        ("9223372036854775807", ("9223372036854775807", 2**63 - 1)),
        ("9223372036854775808", ("9223372036854775808",)),
        ('["a", 1]', ('["a", 1]', ("a", 1))),
        ("[true]", ("[true]",)),
        ("[", ("[",)),
        ("", ("",)),
    ],
)
def test_a_text_means_the_string_and_what_else_it_looks_like(text: str, ids: tuple[EventId, ...]) -> None:
    meant = meant_ids(text)
    assert meant == ids
    assert [type(each) for each in meant] == [type(each) for each in ids]


def test_the_first_place_was_accepted_and_the_later_ones_were_duplicates(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    before = lines(["x"]) + b"\nbad\n"
    place.append(before + lines(["A", "y", "A"]))
    place.run()
    place.append(lines(["A"]))
    place.run()
    found = history(place, "A", "A")
    assert [(each.line, each.offset) for each in found.accepted] == [(4, len(before))]
    assert [each.line for each in found.duplicates] == [6, 7]
    assert found.accepted[0].path == "log.jsonl"
    assert (found.accepted[0].source, found.accepted[0].generation) == ("log", 1)


def test_an_integer_and_the_string_of_its_digits_are_told_apart(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([7, "7", 7, "77", 77]))
    place.run()
    assert [each.line for each in history(place, "7", 7).duplicates] == [3]
    assert [each.line for each in history(place, "7", "7").accepted] == [2]
    assert history(place, "7", "7").duplicates == ()


def test_an_id_that_is_written_with_escapes_is_found(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(b'{"id": "\\u0041", "category": "a", "value": 1}\n')
    place.run()
    assert [each.line for each in history(place, "A", "A").accepted] == [1]
    place.append(lines(["A"]))
    place.run()
    found = history(place, "A", "A")
    assert ([each.line for each in found.accepted], [each.line for each in found.duplicates]) == ([1], [2])


def test_a_rejected_record_that_bears_the_id_is_told_with_its_reason(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(event_line("A", value="five") + b'{"id": "A", broken\n' + lines(["A"]))
    place.run()
    found = history(place, "A", "A")
    assert [(each.line, '"value"' in each.reason) for each in found.rejected] == [(1, True)]
    assert [each.line for each in found.accepted] == [3]


def test_a_valid_record_of_one_category_too_many_was_rejected(tmp_path: Path) -> None:
    place = Place.real(tmp_path, totals={"categories_max": 1})
    place.append(event_line("A", "one") + event_line("B", "two") + event_line("B", "one"))
    place.run()
    found = history(place, "B", "B")
    assert [(each.line, each.reason) for each in found.rejected] == [(2, "category limit")]
    assert [each.line for each in found.accepted] == [3]


def test_several_fields_are_asked_for_as_an_array(tmp_path: Path) -> None:
    place = Place.real(tmp_path, event={"id": ("source", "number")})
    record = {"source": "s", "number": 5, "category": "a", "value": 1}
    place.append(json.dumps(record).encode() + b"\n" + json.dumps({**record, "value": "x"}).encode() + b"\n")
    place.run()
    found = history(place, '["s", 5]', ("s", 5))
    assert ([each.line for each in found.accepted], [each.line for each in found.rejected]) == ([1], [2])


def test_a_position_is_asked_for_as_an_array_too(tmp_path: Path) -> None:
    place = Place.real(tmp_path, event={"id": "@position"})
    place.append(lines([1, 2]))
    place.run()
    offset = len(lines([1]))
    assert [each.line for each in history(place, f'["log", 1, {offset}]', ("log", 1, offset)).accepted] == [2]


def test_without_dedup_every_place_was_accepted(tmp_path: Path) -> None:
    place = Place.real(tmp_path, dedup={"enabled": False})
    place.append(lines(["A", "A"]))
    place.run()
    assert [each.line for each in history(place, "A", "A").accepted] == [1, 2]


def test_lines_are_counted_over_chunks_that_cannot_hold_the_id(tmp_path: Path) -> None:
    place = Place.real(tmp_path, record_bytes_max=64)
    place.append(lines(range(200)) + b"x" * 100 + b"\n\n" + lines(["A"]) + lines(range(200)) + lines(["A"]))
    place.run()
    found = history(place, "A", "A")
    assert ([each.line for each in found.accepted], [each.line for each in found.duplicates]) == ([203], [404])


def test_an_id_that_nothing_bears_is_unknown(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([1]))
    place.run()
    explanation = explain(place.settings, place.environment, "9", progress=nobody_watches)
    assert (explanation.records, [each.is_known for each in explanation.ids]) == (1, [False, False])


def test_more_places_than_are_listed_are_counted(tmp_path: Path) -> None:
    place = Place.real(tmp_path, batch_bytes=100_000)
    place.append(lines(["A"] * (LISTED_MAX + 5)))
    place.run()
    found = history(place, "A", "A")
    assert (len(found.accepted) + len(found.duplicates), found.unlisted) == (LISTED_MAX, 5)


def test_what_cannot_be_answered_says_why(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    with pytest.raises(InputGoneError, match="no state here yet"):
        history(place, "A", "A")
    place.append(lines(["A"]))
    place.run()
    with pytest.raises(ConfigurationError):
        history(place.configured(event={"value": ""}), "A", "A")
    place.path("log.jsonl").unlink()
    with pytest.raises(InputGoneError, match="are gone"):
        history(place, "A", "A")


def test_an_id_that_a_transform_made_is_found_though_it_stands_nowhere_in_the_log(tmp_path: Path) -> None:
    place = Place.real(tmp_path, transforms=({"convert": {"id": "uuid"}},))
    place.append(lines([7, 8, 7]))
    place.run()
    found = history(place, "00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007")
    assert [each.line for each in found.accepted] == [1]
    assert [each.line for each in found.duplicates] == [3]
