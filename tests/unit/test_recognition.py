"""How a file of JSON holds its records, by its first bytes."""

from __future__ import annotations

import json

import pytest

from event_processor.records.recognition import HEAD_BYTES, begins_with_record, recognised_item_path

FIELDS = frozenset({"timestamp", "duration"})
EVENT = '{"timestamp": "2018-12-26 18:11:08", "duration": 20}'
PRETTY = json.dumps(json.loads(EVENT), indent=2)
LONG = ", ".join([EVENT] * 2000)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        (" \n", ""),
        (EVENT, ""),
        (f"{EVENT}\n{EVENT}\n", ""),
        (f"\n\ufeff{EVENT}", ""),
        (f"{EVENT}\r\n{EVENT}\r\n", ""),
        ('{"duration": 1, "tags": [{"a": 1}], "timestamp": 5}\n', ""),
        (f'{{"timestamp": "2018\n{EVENT}\n', ""),
        (f'{{"timestamp":\n{EVENT}\n', ""),
        (f'{{"a": 1,}}\n{EVENT}\n', ""),
        (f"rubbish\n{EVENT}\n", ""),
        (f"[1]\n{EVENT}\n", ""),
        ("{}", ""),
        ('{"value": null}', ""),
        ('{"a.b": [{}]}', ""),
        ("{" * 5000, ""),
        (PRETTY, "@document"),
        (f"{PRETTY}\n{PRETTY}\n", "@document"),
        (f"{EVENT}{EVENT}", "@document"),
        (f"{EVENT} {EVENT}\n", "@document"),
        (f"[{EVENT}]", "item"),
        (f"[\n{EVENT},\n{EVENT}\n]\n", "item"),
        (f"\ufeff [{LONG}]", "item"),
        ("[]", "item"),
        (f'{{"events": [{EVENT}]}}', "events.item"),
        (f'{{"events": [{LONG}]}}', "events.item"),
        ('{"events": []}', "events.item"),
        (f'{{"next": null, "page": {{"n": [1, 2], "x": {{}}}},\n "data": {{"events": [{LONG}]}}}}', "data.events.item"),
    ],
    ids=lambda value: value[:30],
)
def test_the_first_bytes_say_what_the_records_are(text: str, path: str) -> None:
    assert recognised_item_path(text.encode()[:HEAD_BYTES], FIELDS) == path


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"{EVENT}\n", True),
        (EVENT, False),
        (f"{PRETTY}\n", False),
        ("{}\n", False),
        (f"[{EVENT}]\n", False),
        ("\n", False),
        ("5\n", False),
    ],
)
def test_a_first_line_may_be_enough(text: str, answer: bool) -> None:
    assert begins_with_record(text.encode(), FIELDS) is answer
