"""The places of released records, as JSON."""

from __future__ import annotations

import json

from event_processor.columns.event_slices import EventSlice, HeldEvent, Place
from event_processor.columns.places import place_texts
from event_processor.engine.dead_letters import encode_dead_letters
from event_processor.model.event import DeadLetter
from event_processor.model.released import NOTHING_RELEASED, Released


def test_places_are_objects_with_their_keys_in_one_order() -> None:
    places: list[Place] = [("a", 1, 0, 1), ("a", 2, 7, 1), ('b"é', 1, 2**40, 3)]
    texts = place_texts(places)
    assert texts[0] == b'{"source":"a","generation":1,"offset":0,"line":1}'
    assert [tuple(json.loads(text).values()) for text in texts] == places


def test_held_events_of_a_state_that_kept_no_places_have_different_places() -> None:
    events: list[HeldEvent] = [
        (0, n, 10 + n, b"{}", place) for n, place in enumerate([("", 0, 0, 0), ("", 0, 0, 0), ("a", 1, 5, 2)])
    ]
    assert list(EventSlice.of_held(events).places()) == [("", 0, 10, 0), ("", 0, 11, 0), ("a", 1, 5, 2)]


def test_a_slice_that_only_knows_single_places_gives_all() -> None:
    events = EventSlice(2, lambda: b"{}\n{}\n", None, place_at=lambda index: ("a", 1, index, index + 1))
    assert list(events.places()) == [("a", 1, 0, 1), ("a", 1, 1, 2)]


def test_joined_records_keep_their_places_in_step_and_make_none_before_they_are_read() -> None:
    made: list[str] = []

    class Places:
        def __init__(self, name: str) -> None:
            self.name = name

        def __iter__(self):  # type: ignore[no-untyped-def]
            made.append(self.name)
            yield [self.name.encode()]

    joined = NOTHING_RELEASED + Released((b"1\n",), 1, Places("one")) + NOTHING_RELEASED + Released((b"2\n",), 1, Places("two"))
    assert (joined.records(), made) == ([b"1", b"2"], [])
    assert list(joined.places) == list(joined.places) == [[b"one"], [b"two"]]
    assert made == ["one", "two"] * 2


def test_dead_letters_have_the_places_of_their_records() -> None:
    letters = [
        DeadLetter(
            source="a", generation=2, line=3, offset=44, stage="decode", reason="x", field="", record='{"source":"other"}\n'
        ),
        DeadLetter(source="b", generation=1, line=1, offset=0, stage="read", reason="x", field="", length=9),
    ]
    assert list(encode_dead_letters(letters).places) == [place_texts([("a", 2, 44, 3), ("b", 1, 0, 1)])]
