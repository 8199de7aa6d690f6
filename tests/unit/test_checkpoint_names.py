"""The names beside `checkpoint.json` that a process leaves if it dies within a save."""

from __future__ import annotations

from event_processor.engine.checkpoint_document import Checkpoint, decode_checkpoint
from support.engine import configuration, run
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"
CHECKPOINT = f"{FOLDER}/state/checkpoint.json"
PREDECESSOR = f"{FOLDER}/state/checkpoint.previous.json"


def test_what_a_process_left_that_died_between_the_renames_of_its_last_save_is_in_no_later_saves_way() -> None:
    fs = SimulatedFileSystem(0)
    lines = [b'{"id": %d, "category": "a", "value": 1}\n' % number for number in range(200)]
    fs.plant(f"{FOLDER}/log.jsonl", b"".join(lines[:5]))
    run(fs, configuration(FOLDER))
    # It made the next checkpoint, and the present one its own predecessor. The process after it died as well, within its first save.
    fs.plant(f"{CHECKPOINT}.tmp", b"{")
    fs.unlink(PREDECESSOR)
    fs.link(CHECKPOINT, PREDECESSOR)
    fs.link(CHECKPOINT, f"{PREDECESSOR}.tmp")
    fs.plant(f"{FOLDER}/log.jsonl", b"".join(lines))
    run(fs, configuration(FOLDER))
    found = decode_checkpoint(fs.content(CHECKPOINT) or b"", CHECKPOINT)
    assert isinstance(found, Checkpoint)
    assert found.state.counts.accepted == 200
    assert not [path for path in fs.paths() if path.endswith(".tmp")]
