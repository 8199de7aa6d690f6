"""The text of `checkpoint.json`: what is on one line, and what is reused from one checkpoint to the next."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from msgspec.structs import replace

from event_processor.aggregation.documents import Entry, FieldTotal, GroupTotal, GroupTotalsDocument
from event_processor.engine import checkpoint_document
from event_processor.engine.checkpoint_document import Checkpoint, CheckpointEncoder, decode_checkpoint, encode_checkpoint
from support.engine import run
from support.engine_lives import several_logs
from support.simulated_fs import SimulatedFileSystem

FOLDER: Final = "/pipeline"


def content_of_two_sources() -> bytes:
    fs = SimulatedFileSystem(0)
    for start, name in ((0, "shop/1.log"), (9, "shop/2.log"), (18, "audit.log")):
        lines = [b'{"id": %d, "category": "c%d", "value": 0.1}\n' % (each, each % 2) for each in range(start, start + 9)]
        fs.plant(f"{FOLDER}/{name}", b"".join(lines))
    run(fs, several_logs(FOLDER, batch_bytes=4096))
    content = fs.content(f"{FOLDER}/state/checkpoint.json")
    assert content is not None
    return content


def test_each_category_each_file_and_each_object_of_values_is_on_one_line() -> None:
    content = content_of_two_sources()
    document = json.loads(content)
    lines = [line.strip().rstrip(",") for line in content.decode().splitlines()]
    state = document["state"]
    for name, total in state["categories"].items():
        (line,) = [line for line in lines if line.startswith(f'"{name}": ')]
        assert json.loads(f"{{{line}}}") == {name: total}
    generations = [each for source in state["sources"].values() for each in source["generations"]]
    assert len(generations) == 3
    assert [json.loads(line) for line in lines if line.startswith('{"generation"')] == generations
    (counts,) = [line for line in lines if line == f'"counts": {json.dumps(state["counts"], separators=(",", ":"))}']
    assert json.loads(f"{{{counts}}}")["counts"]["records"] == 27
    assert sum('"sources": {' in line for line in lines) == 1


def test_a_reused_encoder_writes_what_a_new_one_writes_and_it_can_be_read() -> None:
    found = decode_checkpoint(content_of_two_sources(), "checkpoint.json")
    assert isinstance(found, Checkpoint)
    encoder = CheckpointEncoder()
    state = found.state
    for line in (9, 10, 11):
        source = state.sources["audit"]
        (last,) = source.generations
        state = replace(state, sources={**state.sources, "audit": replace(source, generations=(replace(last, line=line),))})
        content = encoder.encode(Checkpoint(state, found.meta))
        assert content == encode_checkpoint(Checkpoint(state, found.meta))
        assert json.loads(content)["state"]["sources"]["audit"]["generations"][0]["line"] == line
        assert isinstance(decode_checkpoint(content, "checkpoint.json"), Checkpoint)


def group(number: int) -> GroupTotal:
    return GroupTotal({"name": f'g"{number}'}, {"count": number}, Entry(number, (FieldTotal(number, (number * 0.1,)),)))


def test_each_group_is_on_one_line_and_only_those_that_changed_are_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decode_checkpoint(content_of_two_sources(), "checkpoint.json")
    assert isinstance(found, Checkpoint)
    canonical, encoded = checkpoint_document._canonical, []

    def seen(value: Any) -> bytes:
        encoded.append(value)
        return canonical(value)

    monkeypatch.setattr(checkpoint_document, "_canonical", seen)
    encoder, groups, counts = CheckpointEncoder(), [group(number) for number in range(200)], []
    for changed in (0, 7, 199):
        groups[changed] = group(1000 + changed)
        table = GroupTotalsDocument(groups=tuple(groups), rows=len(groups))
        checkpoint = Checkpoint(replace(found.state, aggregates={"by_name": table}), found.meta)
        encoded.clear()
        content = encoder.encode(checkpoint)
        counts.append(len(encoded))
        assert content == encode_checkpoint(checkpoint)
        read = decode_checkpoint(content, "checkpoint.json")
        assert isinstance(read, Checkpoint)
        assert read.state.aggregates == {"by_name": table}
    lines = [json.loads(line.strip().rstrip(",")) for line in content.decode().splitlines() if '"entry":' in line]
    assert lines == json.loads(content)["state"]["aggregates"]["by_name"]["groups"]
    of_generations = 3
    assert counts[1] == counts[2] == counts[0] - 199 - of_generations
