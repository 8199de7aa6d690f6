"""The commit and a lane on one simulated disk, killed, powered off and failed at any call of either, with checkpoints that break.

Nothing is lost, nothing comes under another key, and nothing is sent again after its cursor. `DELIVERY_SEEDS=5000` tries more.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import Any

import pytest

from event_processor.assembly import Environment
from event_processor.assembly import delivery as assembly_delivery
from event_processor.assembly import outbox as assembly_outbox
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay
from event_processor.operations.state_access import owned_state
from event_processor.operations.verification import verify
from event_processor.storage.outbox import OutboxSeries
from support import engine
from support.delivery_world import World, WorldReceiver, life, offload_in
from support.virtual_time import run_in_virtual_time

SEEDS = int(os.environ.get("DELIVERY_SEEDS", "150"))
PARTS = 10
FOUND = (1696,)
"""Seeds that found a fault once. They are tried each time."""
REPLAYED = 3
"""Each so many seeds also replay their state."""


async def lives(world: World) -> None:
    for _ in range(world.numbers.randint(1, 6)):
        await life(world, is_last=False)
    await life(world, is_last=True)
    world.require_end()
    surroundings = engine.environment(world.fs, seed=world.seed + 1_000_000)
    verified = verify(world.settings, surroundings, progress=nobody_watches)
    assert verified.is_ok, verified.differences
    if world.seed % REPLAYED == 0:
        world.append()
        replay(world, surroundings)
        world.append()
        await life(world, is_last=True)
        world.require_end()


def replay(world: World, surroundings: Environment) -> None:
    """Makes the state anew: its lane goes on where it was, so the model of the world goes on too."""
    with owned_state(world.settings, surroundings):
        replay = Replay(world.settings, surroundings)
        replayed = replay.prepare(nobody_watches)
        assert [each.result for each in replayed.lanes] == ["continues"]
        replay.swap_in()


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_to_the_disk_each_record_is_delivered_under_its_key(part: int, monkeypatch: Any) -> None:
    ends: Counter[str] = Counter()
    sends = 0
    monkeypatch.setattr(assembly_outbox, "OutboxSeries", partial(OutboxSeries, file_bytes_max=1500))
    for seed in {*range(part, SEEDS, PARTS), *(each for each in FOUND if each % PARTS == part)}:
        world = World(seed)
        monkeypatch.setattr(assembly_delivery, "_receiver", lambda *_, world=world: WorldReceiver(world))
        monkeypatch.setattr(assembly_delivery, "_offload", offload_in(world))
        try:
            run_in_virtual_time(lives(world))
        except BaseException as error:
            error.add_note(f"seed {seed}\n{world.fs.journal()}")
            raise
        ends += world.ends
        sends += world.sends
    assert min(ends["crash"], ends["clean"], ends["fault"], ends["broken"]) > 0, ends
    assert sends > 100
