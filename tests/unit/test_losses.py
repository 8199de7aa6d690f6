"""What is lost stays in the state until a person has seen it: over restarts, replays and a running daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_processor.engine.losses import LISTED_MAX, NOTHING_LOST, REQUEST_NAME, Losses, LossRequest, LossRequests
from event_processor.model.losses import Loss
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.lost import acknowledge_losses, recorded_losses
from event_processor.operations.replay import Replay
from event_processor.operations.state_access import owned_state
from event_processor.operations.status import StatusLimits, read_status
from event_processor.operations.verification import verify
from support.operated import Place, lines


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A state whose rotated file was removed before its last record was read."""
    place = Place.real(tmp_path, buffer_events=2)
    place.append(lines([1]))
    place.run()
    return lose_a_line(place, 2)


def lose_a_line(place: Place, event_id: int) -> Place:
    """A line is appended, the log is rotated and the rotated file removed, before a run."""
    place.append(lines([event_id]))
    place.path("log.jsonl").rename(place.path("gone"))
    place.append(lines([event_id + 100]))
    place.path("gone").unlink()  # after its successor has an inode of its own
    place.run()
    return place


def listed(place: Place) -> list[tuple[str, int, int]]:
    losses = recorded_losses(place.settings, place.environment).losses
    return [(each.path, each.generation, each.offset) for each in losses.entries]


def acknowledged(place: Place) -> None:
    acknowledge_losses(place.settings, place.environment, recorded_losses(place.settings, place.environment).losses)


LOST_LINE = ("log.jsonl", 1, len(lines([1])))


def test_a_loss_is_in_the_checkpoint_with_its_file_and_offset_and_its_time_in_meta(place: Place) -> None:
    recorded = recorded_losses(place.settings, place.environment)
    assert listed(place) == [LOST_LINE]
    assert recorded.time_of(recorded.losses.entries[0]) is not None
    assert "lost_at" not in place.state()["lost"]


def test_status_says_it_until_it_is_acknowledged(place: Place) -> None:
    status = read_status(place.settings, place.environment)
    assert any("lost: source log: log.jsonl" in shortfall for shortfall in status.shortfalls(StatusLimits()))
    acknowledged(place)
    assert listed(place) == []
    status = read_status(place.settings, place.environment)
    assert not any("lost" in shortfall for shortfall in status.shortfalls(StatusLimits()))


def test_a_loss_survives_restarts_and_is_recorded_once(place: Place) -> None:
    for _ in range(3):
        place.run()
    place.append(lines([7]))
    place.run()
    assert listed(place) == [LOST_LINE]


def test_a_loss_that_a_restart_finds_again_is_not_new_after_its_acknowledgement(tmp_path: Path) -> None:
    place = Place.real(tmp_path, buffer_events=2)
    place.append(lines([1, 2]))
    place.run()
    place.path("log.jsonl").unlink()  # the only file: it stays in the state, and each start looks for it
    place.run()
    before = listed(place)
    acknowledged(place)
    place.run()
    assert before
    assert listed(place) == []


def test_a_later_loss_is_new(place: Place) -> None:
    acknowledged(place)
    lose_a_line(place, 3)
    assert [(path, generation) for path, generation, _ in listed(place)] == [("log.jsonl", 2)]


def test_a_state_without_losses_has_no_key_for_them(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([1]))
    place.run()
    assert "lost" not in place.state()
    assert "lost_at" not in place.read("state", "checkpoint.json").decode()


def test_the_predecessor_knows_it_too(place: Place) -> None:
    place.append(lines([7]))
    place.run()
    place.path("state", "checkpoint.json").unlink()
    place.run()
    assert listed(place) == [LOST_LINE]


def restore_what_is_gone(place: Place) -> None:
    """Puts back what was committed of the removed file, but not the line that was lost."""
    place.path("log.jsonl.1").write_bytes(lines([1]))


def test_verify_recomputes_the_loss_from_the_journal_and_is_not_ok(place: Place) -> None:
    restore_what_is_gone(place)
    verification = verify(place.settings, place.environment, progress=nobody_watches)
    assert verification.differences == ()
    assert not verification.is_ok
    assert [each.path for each in verification.lost] == ["log.jsonl"]
    acknowledged(place)
    assert verify(place.settings, place.environment, progress=nobody_watches).is_ok


@pytest.mark.parametrize("journal", ["followed", "broken"])
def test_a_replay_keeps_saying_what_it_cannot_read(place: Place, journal: str) -> None:
    restore_what_is_gone(place)
    if journal == "broken":
        place.path("state", "journal.jsonl").write_bytes(b"{}\n" * 100)
    with owned_state(place.settings, place.environment):
        replay = Replay(place.settings, place.environment)
        replayed = replay.prepare(nobody_watches)
        replay.swap_in()
    assert replayed.lost == 1
    assert listed(place) == [LOST_LINE]


def test_the_owner_of_the_state_carries_out_a_request_and_removes_it(place: Place) -> None:
    losses = recorded_losses(place.settings, place.environment).losses
    requests = LossRequests(place.fs, str(place.path("state")))
    requests.write(LossRequest(losses.entries), "token")
    place.run()
    assert listed(place) == []
    assert not place.path("state", REQUEST_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"losses": [{"source": "log"}]}'])
def test_a_request_that_cannot_be_read_acknowledges_nothing(place: Place, content: bytes) -> None:
    place.path("state", REQUEST_NAME).write_bytes(content)
    place.run()
    assert listed(place) == [LOST_LINE]
    assert not place.path("state", REQUEST_NAME).exists()


def test_a_request_names_what_was_seen_so_what_came_later_stays() -> None:
    losses = NOTHING_LOST
    for offset in (1, 2):
        losses = losses.adding(Loss("s", 1, "p", offset))
    left = losses.acknowledging([Loss("s", 1, "p", 1, reason="in other words")], 0)
    assert [each.offset for each in left.entries] == [2]


def test_the_list_is_bounded_and_the_rest_is_counted() -> None:
    losses = NOTHING_LOST
    for offset in range(LISTED_MAX + 7):
        losses = losses.adding(Loss("s", 1, "p", offset))
    assert (len(losses.entries), losses.unlisted, losses.count) == (LISTED_MAX, 7, LISTED_MAX + 7)
    left = losses.acknowledging(losses.entries, 7)
    assert left.count == 0
    assert isinstance(left, Losses)
