"""What `verify --sink` finds in objects that overlap, as tries leave them if the service has no conditional writes."""

import msgspec
import pytest

from event_processor.connectors.s3.bucket_writing import Stored
from event_processor.connectors.s3.compared_objects import NamedObject, NamedObjects, ObjectComparison
from event_processor.connectors.s3.manifest import Manifest, ObjectFacts
from event_processor.model.committed_rows import LaneOfRows, ReleasedRecord, RowsCompared
from event_processor.model.transactions import CursorOwner, RemoteCursor
from support.lanes import STATE_ID, records

LANE = LaneOfRows(CursorOwner("pipeline", "remote", "remote", STATE_ID, "events"), 0, "")
FOLDER = "out/objects-0001/"
RELEASED = records(20)


class Lane:
    """Objects of the records `first` to `last`, each with the token of its try, or none, up to the manifest's cursor."""

    def __init__(self, through: int, *objects: tuple[int, int, str]) -> None:
        self.through = through
        self.stored: dict[str, Stored] = {}
        self.named: list[NamedObject] = []
        for first, last, token in objects:
            key = f"{FOLDER}{first:020}{'-' if token else ''}{token}.jsonl"
            facts = ObjectFacts(
                state_id=STATE_ID,
                sink="remote",
                input="events",
                first=first,
                last=last,
                chain=RELEASED[last - 1].chain,
                started_after=0,
                delivered=last,
                failed=0,
                skipped=0,
            )
            content = b"".join(bytes(each.object) + b"\n" for each in RELEASED[first - 1 : last])
            self.stored[key] = Stored("", facts.metadata, content)
            self.named.append(NamedObject(first, key))

    def change(self, first: int, token: str, before: bytes, after: bytes) -> None:
        key = f"{FOLDER}{first:020}-{token}.jsonl"
        kept = self.stored[key]
        assert before in kept.content
        self.stored[key] = Stored("", kept.metadata, kept.content.replace(before, after))

    def compared(self) -> RowsCompared:
        cursor = RemoteCursor(0, self.through, RELEASED[self.through - 1].chain, self.through, 0, 0)
        manifest = Manifest(
            state_id=STATE_ID,
            input="events",
            folder=FOLDER,
            life=1,
            started_after=0,
            through=self.through,
            chain=cursor.chain,
            delivered=self.through,
        )
        found = NamedObjects(
            sorted(self.named), [], self.stored.get, lambda key: key, look=self.stored.get, failed="out/failed", manifest=manifest
        )
        comparison = ObjectComparison(LANE, cursor, found, 100)
        comparison.compare(
            [ReleasedRecord(each.sequence, msgspec.json.encode(each.place), each.chain, bytes(each.object)) for each in RELEASED]
        )
        return comparison.finish()


@pytest.mark.parametrize(
    ("objects", "again"),
    [
        # A try that wrote more than the next one did so far: its end is after the manifest.
        ([(1, 10, "a"), (11, 20, "b"), (11, 14, "c")], 1),
        ([(1, 10, "a"), (11, 14, "b"), (11, 20, "c")], 1),
        ([(1, 10, "a"), (8, 20, "b"), (11, 14, "c")], 1),
        # The manifest went back to 5, and what is after it was written again with other bounds that meet by chance.
        ([(1, 5, "a"), (6, 10, "b"), (6, 8, "c"), (9, 14, "d"), (11, 12, "e")], 2),
        ([(1, 5, "a"), (6, 10, "z"), (6, 8, "c"), (9, 14, "d"), (11, 12, "e")], 2),
        # Then the service got conditional writes.
        ([(1, 5, "a"), (6, 10, "b"), (6, 9, ""), (10, 14, "")], 1),
        ([(1, 5, "a"), (6, 9, "b"), (6, 7, "c"), (8, 14, "")], 1),
        # After that a manifest of the time before arrived, and the next start began inside an object.
        ([(1, 5, "a"), (6, 9, ""), (8, 12, ""), (10, 11, ""), (13, 14, "")], 1),
        ([(1, 5, "a"), (6, 9, ""), (8, 14, ""), (10, 11, "")], 1),
    ],
)
def test_a_record_that_some_object_has_is_there_whatever_other_tries_wrote(
    objects: list[tuple[int, int, str]], again: int
) -> None:
    found = Lane(14, *objects).compared()
    assert (found.differences, found.gone, found.rows) == ((), 0, 14), found.notes
    said = [each for each in found.notes if "that others have too" in each]
    assert said == [
        f"not compared: {again} {'object has' if again == 1 else 'objects have'} only records that others have too: the service has no conditional writes"
    ]


def test_a_record_that_no_object_has_is_gone_and_one_that_differs_is_named() -> None:
    lane = Lane(14, (1, 5, "a"), (4, 8, "b"), (10, 14, "c"))
    found = lane.compared()
    assert (found.differences, found.gone) == ((), 1)
    assert "gone: the object of record 9 (records 9 to 9 are in no object)" in found.notes
    lane.change(4, "b", bytes(RELEASED[6].object), b'{"n": 99}')
    found = lane.compared()
    assert [(each.sequence, each.committed) for each in found.differences] == [(7, '{"n": 99}')]
    assert "line 4 of " in found.differences[0].words


def test_an_object_with_a_plain_name_begins_inside_no_other_one() -> None:
    found = Lane(14, (1, 10, ""), (8, 14, "")).compared()
    assert any("it begins inside another object" in each.words for each in found.differences)
