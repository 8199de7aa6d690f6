"""Blocks of an outbox's lines: the same with the kernel and line by line."""

from __future__ import annotations

import msgspec
import pytest

from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import RecordBlock
from event_processor.storage import outbox_blocks
from event_processor.storage.outbox_blocks import block_of
from event_processor.storage.outbox_reader import require_follows
from support.lanes import chain_after

BODIES = ['{"n":1}', "[1]", '{"n":"\\ud800","chain":"' + "0" * 32 + '","object":{}}', '{"n":2}']


def blocks_of(content: bytes, count: int) -> RecordBlock:
    def decode(line: bytes, sequence: int) -> OutboxRecord:
        record = msgspec.json.decode(line, type=OutboxRecord)
        assert record.sequence == sequence
        return record

    return block_of(content, sequence=1, count=count, chain="", decode=decode, follow=require_follows)


def content_of(bodies: list[str]) -> bytes:
    lines, chain = [], ""
    for number, body in enumerate(bodies, start=1):
        place = {"source": "events", "generation": 1, "offset": 10 * number, "line": number}
        record = OutboxRecord(number, place, "2026-01-01T00:00:00Z", 1.5, "", msgspec.Raw(body.encode()))
        chain = chain_after(chain, record)
        lines.append(msgspec.json.encode(msgspec.structs.replace(record, chain=chain)) + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize("kernel", [True, False])
def test_an_object_that_is_no_json_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, *, kernel: bool) -> None:
    if not kernel:
        monkeypatch.setattr(outbox_blocks, "read_lines", lambda *_, **__: None)
    block = blocks_of(content_of(BODIES), len(BODIES))
    assert block.object_lines() == "".join(body + "\n" for body in BODIES).encode()
    assert [block.record(index).place["line"] for index in range(len(BODIES))] == [1, 2, 3, 4]


def test_a_line_that_is_no_record_is_still_an_error_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_blocks, "read_lines", lambda *_, **__: None)
    content = content_of(BODIES)
    for wrong in (content.replace(b'"sequence":3', b'"sequence":'), content[:-2] + b"\n", content.replace(b"object", b"objekt")):
        with pytest.raises((msgspec.DecodeError, StateError)):  # its chain says the same
            blocks_of(wrong, len(BODIES))
