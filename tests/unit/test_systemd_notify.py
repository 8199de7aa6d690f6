"""The notifier against a manager of our own: a datagram socket whose messages are read back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.model.contracts import Wakeup
from event_processor.service.systemd import ServiceNotifier

PROCESS_ID = 4711


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_ns(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        self.now_s += timeout_s


class Manager:
    """The other end of the notification socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(b"\0" + address[1:].encode() if address.startswith("@") else address)
        self._socket.setblocking(False)

    def messages(self) -> list[str]:
        """Everything sent since the last call, in order."""
        received = []
        while True:
            try:
                received.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return received

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    opened = Manager(str(tmp_path / "notify"))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def notifier(manager: Manager, clock: SetClock) -> Iterator[ServiceNotifier]:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PROCESS_ID)}
    with ServiceNotifier.from_environment(environment, process_id=PROCESS_ID, clock=clock) as opened:
        yield opened


def test_ready_is_told_together_with_the_status(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.ready("reading events.jsonl")
    assert manager.messages() == ["READY=1\nSTATUS=reading events.jsonl"]


def test_ready_alone_sets_no_status(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.ready()
    assert manager.messages() == ["READY=1"]


def test_a_status_is_sent_once_until_it_changes(manager: Manager, notifier: ServiceNotifier, clock: SetClock) -> None:
    for text in ("idle", "idle", "reading", "idle"):
        notifier.status(text)
        clock.now_s += 1
    assert manager.messages() == ["STATUS=idle", "STATUS=reading", "STATUS=idle"]


def test_a_status_told_with_ready_is_not_told_again(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.ready("idle")
    notifier.status("idle")
    assert manager.messages() == ["READY=1\nSTATUS=idle"]


def test_of_many_statuses_within_a_second_the_first_is_told_and_then_the_last(
    manager: Manager, notifier: ServiceNotifier, clock: SetClock
) -> None:
    notifier.ready()
    for number in range(100):
        notifier.status(f"{number} records")
        notifier.progress()
    assert manager.messages() == ["READY=1", "STATUS=0 records"]
    clock.now_s += 1
    notifier.progress()
    notifier.progress()
    assert manager.messages() == ["STATUS=99 records"]


def test_a_status_is_told_later_even_where_nobody_watches(manager: Manager, clock: SetClock) -> None:
    with ServiceNotifier(manager.address, clock=clock) as notifier:
        notifier.status("first")
        notifier.status("second")
        clock.now_s += 1
        notifier.progress()
    assert manager.messages() == ["STATUS=first", "STATUS=second"]


def test_a_change_of_state_brings_its_status_at_once(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.status("reading")
    notifier.stopping("draining")
    notifier.progress()
    assert manager.messages() == ["STATUS=reading", "STOPPING=1\nSTATUS=draining", "WATCHDOG=1"]


def test_a_line_feed_in_a_status_begins_no_assignment(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.status("reading a\nSTOPPING=1\r\n.jsonl")
    assert manager.messages() == ["STATUS=reading a STOPPING=1 .jsonl"]


def test_a_file_name_that_is_not_utf8_still_makes_a_status(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.status("reading \udcff.jsonl")
    assert manager.messages() == ["STATUS=reading ?.jsonl"]


@given(st.text(max_size=3000))
def test_any_status_is_one_assignment_that_the_manager_reads_whole(text: str) -> None:
    manager = Manager("@event-processor-test-status")
    try:
        with ServiceNotifier(manager.address, clock=SetClock()) as notifier:
            notifier.status(text)
        for message in manager.messages():
            assert message.startswith("STATUS=")
            assert "\n" not in message
            assert len(message.encode()) <= 4096
    finally:
        manager.close()


def test_the_watchdog_is_fed_at_most_twice_per_period(manager: Manager, notifier: ServiceNotifier, clock: SetClock) -> None:
    notifier.ready()
    manager.messages()
    for _ in range(60):  # once a second for two periods of 30 s
        clock.now_s += 1
        notifier.progress()
    assert manager.messages() == ["WATCHDOG=1"] * 4


def test_the_watchdog_is_fed_in_time_by_calls_that_are_half_a_period_apart(
    manager: Manager, notifier: ServiceNotifier, clock: SetClock
) -> None:
    notifier.ready()
    manager.messages()
    for _ in range(4):
        clock.now_s += 15
        notifier.progress()
    assert manager.messages() == ["WATCHDOG=1"] * 4


def test_ready_feeds_the_watchdog(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.ready()
    notifier.progress()
    assert manager.messages() == ["READY=1"]


def test_a_loop_that_makes_no_progress_starves_the_watchdog(manager: Manager, notifier: ServiceNotifier, clock: SetClock) -> None:
    notifier.ready()
    clock.now_s += 3600
    notifier.status("stuck")
    assert manager.messages() == ["READY=1", "STATUS=stuck"]


def test_a_reload_that_takes_long_is_no_stalled_loop(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.extend(300)
    notifier.ready()
    manager.messages()
    notifier.reloading()
    notifier.extend(300)
    notifier.ready("open")
    notifier.ready()
    extended, ready, again = manager.messages()[1:]
    assert extended == "EXTEND_TIMEOUT_USEC=300000000\nWATCHDOG_USEC=300000000"
    assert ready == "READY=1\nWATCHDOG_USEC=30000000\nSTATUS=open"
    assert again == "READY=1"


def test_a_message_that_found_no_room_is_tried_again_at_the_next_call(manager: Manager, clock: SetClock) -> None:
    with ServiceNotifier(manager.address, clock=clock, watchdog_period_s=30) as notifier:
        sent = fill(manager)
        notifier.progress()
        assert manager.messages() == ["STATUS=x"] * sent
        notifier.progress()
        assert manager.messages() == ["WATCHDOG=1"]


def fill(manager: Manager) -> int:
    """Puts messages in the manager's queue until there is no room for anybody's; how many."""
    sent = 0
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:  # each has a buffer of its own, which also has an end
            sender.setblocking(False)
            sent_by_this = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"STATUS=x", manager.address)
                    sent_by_this += 1
        if not sent_by_this:
            return sent
        sent += sent_by_this


@pytest.mark.parametrize(
    ("environment", "period_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "4711"}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "4712"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_period_is_ours_only_if_the_manager_says_so(
    manager: Manager, clock: SetClock, environment: dict[str, str], period_s: float | None
) -> None:
    environment |= {"NOTIFY_SOCKET": manager.address}
    with ServiceNotifier.from_environment(environment, process_id=PROCESS_ID, clock=clock) as notifier:
        assert notifier.watchdog_period_s == period_s
        notifier.progress()
    assert manager.messages() == ([] if period_s is None else ["WATCHDOG=1"])


def test_an_extension_is_asked_for_again_when_half_of_it_is_used(
    manager: Manager, notifier: ServiceNotifier, clock: SetClock
) -> None:
    for _ in range(31):  # once a second, from 0 s to 30 s
        notifier.extend(20)
        clock.now_s += 1
    assert manager.messages() == ["EXTEND_TIMEOUT_USEC=20000000"] * 4  # at 0, 10, 20 and 30 s


def test_a_longer_extension_is_asked_for_at_once(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.extend(20)
    notifier.extend(300)
    assert manager.messages() == ["EXTEND_TIMEOUT_USEC=20000000", "EXTEND_TIMEOUT_USEC=300000000"]


def test_the_stop_is_extended_on_its_own(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.extend(20)
    notifier.stopping("draining")
    notifier.extend(20)
    assert manager.messages() == [
        "EXTEND_TIMEOUT_USEC=20000000",
        "STOPPING=1\nSTATUS=draining",
        "EXTEND_TIMEOUT_USEC=20000000",
    ]


def test_stopping_needs_no_status(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.stopping()
    assert manager.messages() == ["STOPPING=1"]


def test_a_reload_tells_its_moment_on_the_monotonic_clock(manager: Manager, notifier: ServiceNotifier, clock: SetClock) -> None:
    clock.now_s = 12.345678
    notifier.reloading()
    notifier.ready()
    assert manager.messages() == ["RELOADING=1\nMONOTONIC_USEC=12345678", "READY=1"]


def test_an_abstract_socket_is_reached(clock: SetClock) -> None:
    manager = Manager("@event-processor-test-abstract")
    try:
        with ServiceNotifier(manager.address, clock=clock) as notifier:
            notifier.ready()
        assert manager.messages() == ["READY=1"]
    finally:
        manager.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/notify", "@nobody-listens", "/" + "x" * 200])
def test_without_a_manager_nothing_happens(clock: SetClock, address: str) -> None:
    with ServiceNotifier(address, clock=clock, watchdog_period_s=30) as notifier:
        say_everything(notifier)


def test_a_manager_that_went_away_is_no_fault_of_ours(manager: Manager, notifier: ServiceNotifier) -> None:
    manager.close()
    say_everything(notifier)


def test_what_is_said_after_close_is_not_sent(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.close()
    say_everything(notifier)
    assert manager.messages() == []


def test_without_the_variable_no_socket_is_opened(clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> socket.socket:
        raise AssertionError(arguments)

    monkeypatch.setattr(socket, "socket", refuse)
    say_everything(ServiceNotifier.from_environment({}, process_id=PROCESS_ID, clock=clock))


def test_a_process_that_may_open_no_socket_goes_on(clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    say_everything(ServiceNotifier("/run/systemd/notify", clock=clock, watchdog_period_s=30))


def say_everything(notifier: ServiceNotifier) -> None:
    notifier.extend(10)
    notifier.ready("ready")
    notifier.progress()
    notifier.status("idle")
    notifier.reloading()
    notifier.stopping("draining")
    notifier.close()
