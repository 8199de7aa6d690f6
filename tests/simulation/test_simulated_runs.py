"""The whole engine on a simulated disk: killed, powered off and failed at every call, and by chance, it ends as if undisturbed.

Commits that run behind the loop run here at once, as late as can be, or at some moment between the two: a function of the seed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from event_processor.engine.commit import InlineCommits
from event_processor.model.errors import StateError, StorageError
from support.commits import Committing, LateCommits, RandomCommits
from support.engine import comparable, configuration, run
from support.logs import adversarial_log
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem

FOLDER = "/pipeline"
RUNS = int(os.environ.get("SIMULATED_RUNS", "2000"))
SETTINGS = configuration(FOLDER)


def new_disk(seed: int, content: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed)
    fs.plant(f"{FOLDER}/log.jsonl", content)
    return fs


def results(fs: SimulatedFileSystem) -> tuple[dict[str, Any], bytes, bytes]:
    """The state, the committed bytes of the sink, and the dead letters."""
    checkpoint = fs.content(f"{FOLDER}/state/checkpoint.json")
    assert checkpoint is not None
    sink = fs.content(f"{FOLDER}/out/ordered.jsonl") or b""
    letters = fs.content(f"{FOLDER}/state/dead_letters.jsonl") or b""
    return comparable(checkpoint), sink, letters


def small_log(seed: int) -> bytes:
    """Ids that repeat and stray, a few bad lines, a torn end: about 9 kB."""
    random = Random(seed)
    lines = []
    for number in range(90):
        event_id = max(0, number + random.randint(-12, 3)) if random.random() < 0.5 else number
        lines.append(
            f'{{"id": {event_id}, "category": "c{random.randint(0, 3)}", "value": {random.choice([1e16, 0.1, -3, 2.5])}}}'
        )
        if random.random() < 0.06:
            lines.append(random.choice(["", "{}", "not json", '{"id": 1}', "x" * 5000]))
    return "\n".join(lines).encode() + b'\n{"id": "torn'


LOG = small_log(7)


def committing_of(seed: int) -> Committing:
    """At once, late, or by chance: each for a third of the seeds."""
    return (InlineCommits, LateCommits, partial(RandomCommits, seed))[seed % 3]


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, Any], bytes, bytes]:
    fs = new_disk(0, LOG)
    run(fs, SETTINGS)
    return results(fs)


def calls_of_a_run() -> int:
    fs = new_disk(0, LOG)
    run(fs, SETTINGS)
    return sum(fs.calls.values())


def finish(fs: SimulatedFileSystem, seed: int) -> tuple[dict[str, Any], bytes, bytes]:
    run(fs, SETTINGS, seed=seed)
    return results(fs)


@pytest.mark.parametrize("committing", [InlineCommits, LateCommits])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("power_cut", [False, True])
def test_a_death_at_every_call_leaves_the_same_end(
    undisturbed: Any, after: bool, power_cut: bool, committing: Committing
) -> None:
    points = 0
    for nth in range(1, 10_000):
        fs = new_disk(nth, LOG)
        fs.crash_at(nth, after=after)
        try:
            run(fs, SETTINGS, seed=nth, committing=committing)
        except SimulatedCrash:
            points += 1
        else:
            break
        revived = fs.crash() if power_cut else fs.kill()
        assert finish(revived, nth + 1) == undisturbed, f"nth={nth} after={after} power_cut={power_cut}\n{fs.journal()}"
    assert points > 100


def test_deaths_by_chance_in_runs_and_in_recoveries_leave_the_same_end(undisturbed: Any) -> None:
    total = calls_of_a_run()
    for seed in range(RUNS):
        random = Random(seed)
        fs = new_disk(seed, LOG)
        deaths = random.randint(1, 4)
        for death in range(deaths):
            fs.crash_at(random.randint(1, total // (1 + death)), after=random.random() < 0.5)
            with suppress(SimulatedCrash):
                run(fs, SETTINGS, seed=seed * 10 + death, committing=committing_of(seed + death))
            fs = fs.crash() if random.random() < 0.6 else fs.kill()
        assert finish(fs, seed * 10 + 9) == undisturbed, f"seed={seed}\n{fs.journal()}"


@pytest.mark.parametrize("committing", [InlineCommits, LateCommits])
@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failure_of_every_call_stops_with_its_name_and_the_next_run_ends_right(
    undisturbed: Any, number: int, stays: bool, committing: Committing
) -> None:
    points = 0
    for nth in range(1, 10_000):
        fs = new_disk(nth, LOG)
        fs.fail(Fault(nth=nth, errno=number, lasting=stays))
        message = ""
        try:
            run(fs, SETTINGS, seed=nth, committing=committing)
        except StorageError as error:
            points += 1
            message = error.message
        assert not message or "/pipeline" in message, message
        if sum(fs.calls.values()) < nth:
            break
        fs.stop_failing()
        revived = fs.crash() if nth % 2 else fs.kill()
        assert finish(revived, nth + 1) == undisturbed, f"nth={nth} errno={number} stays={stays}\n{fs.journal()}"
    assert points > 100


def test_a_checkpoint_broken_at_any_point_falls_back_and_a_death_in_that_recovery_costs_nothing(undisturbed: Any) -> None:
    total = calls_of_a_run()
    fallbacks = 0
    for seed in range(RUNS // 10):
        random = Random(seed)
        fs = new_disk(seed, LOG)
        fs.crash_at(random.randint(total // 3, total))
        with suppress(SimulatedCrash):
            run(fs, SETTINGS, seed=seed * 10, committing=committing_of(seed))
        fs = fs.crash() if random.random() < 0.5 else fs.kill()
        path = f"{FOLDER}/state/checkpoint.json"
        content = bytearray(fs.content(path) or b"")
        present, previous = fs.status(path), fs.status(f"{FOLDER}/state/checkpoint.previous.json")
        if present is None or previous is None or present.inode == previous.inode:
            # Without a predecessor there is none to fall back to. Where both names are one file (a death between the two
            # renames), one flipped byte breaks both.
            continue
        fallbacks += 1
        content[content.index(b'"state"') + random.randint(0, 800)] ^= 1 << random.randint(0, 6)
        fs.plant(path, bytes(content))
        fs.crash_at(random.randint(1, 60))
        with suppress(SimulatedCrash):
            run(fs, SETTINGS, seed=seed * 10 + 1)
        assert finish(fs.crash(), seed * 10 + 2) == undisturbed, f"seed={seed}\n{fs.journal()}"
    assert fallbacks > RUNS // 20


def test_two_broken_checkpoints_are_an_error_and_nothing_is_reset() -> None:
    fs = new_disk(1, LOG)
    run(fs, SETTINGS)
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        fs.plant(f"{FOLDER}/state/{name}", b'{"version": 1, "state": {}, "checksum": "", "meta": {}}')
    before = {path: fs.content(path) for path in fs.paths() if not path.endswith("/lock")}
    with pytest.raises(StateError, match=r"checkpoint.json: the checksum does not match.*cannot be resumed") as raised:
        run(fs, SETTINGS)
    assert raised.value.exit_code == 65
    assert "replay" in raised.value.hint
    assert {path: fs.content(path) for path in fs.paths() if not path.endswith("/lock")} == before


def test_an_adversarial_log_survives_deaths_by_chance() -> None:
    log = adversarial_log(400, 3)
    whole = new_disk(0, log)
    run(whole, SETTINGS)
    expected = results(whole)
    for seed in range(RUNS // 40):
        random = Random(seed)
        fs = new_disk(seed, log)
        for death in range(3):
            fs.crash_at(random.randint(1, 600))
            with suppress(SimulatedCrash):
                run(fs, SETTINGS, seed=seed * 10 + death, committing=committing_of(seed + death))
            fs = fs.crash()
        assert finish(fs, seed * 10 + 9) == expected, f"seed={seed}\n{fs.journal()}"
