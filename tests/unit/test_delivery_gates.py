"""The gates of a process: how long a start waits for the process before, and what a reload keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_processor.engine.delivery.gates import Before, Gates, begin_sending, end_sending
from event_processor.model.answers import Answer, Verdict
from event_processor.model.remote import ServiceOptions
from event_processor.storage.durable import OperatingSystem
from support.simulated_fs import SimulatedFileSystem

FS = OperatingSystem()


class Now:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def made(before: Before, now: Now) -> Gates:
    gates = Gates(before, now, lambda: 0.5)
    gates.begin()
    return gates


def service(rate: float | None = 2, **options: float) -> ServiceOptions:
    return ServiceOptions.model_validate({"requests_per_s": rate, "timeout_s": 5.0, **options})


@pytest.mark.parametrize(("before", "wait_s"), [(Before.NOTHING_SENT, 0.0), (Before.CLEAN, 1.0), (Before.UNCLEAN, 6.0)])
def test_a_start_waits_for_requests_of_the_process_before(before: Before, wait_s: float) -> None:
    now = Now()
    assert made(before, now).of("api", service()).wait_s(now.s) == wait_s


def test_the_wait_counts_from_the_start_of_the_process_and_is_not_repeated_by_a_reload() -> None:
    now = Now()
    gates = made(Before.UNCLEAN, now)
    now.s += 4
    gate = gates.of("api", service())
    assert gate.wait_s(now.s) == 2.0
    now.s += 10
    gates.begin()
    assert gates.of("api", service()) is gate
    assert gate.wait_s(now.s) == 0.0


def test_a_service_that_is_new_after_a_reload_waits_because_it_may_be_one_that_had_another_name() -> None:
    now = Now()
    gates = made(Before.NOTHING_SENT, now)
    assert [gates.of(name, service()).wait_s(now.s) for name in ("api", "other")] == [0.0, 0.0]
    now.s += 100
    gates.begin()
    assert gates.of("renamed", service()).wait_s(now.s) == 6.0


def test_another_rate_begins_when_the_requests_under_the_present_one_are_over() -> None:
    now = Now()
    gates = made(Before.NOTHING_SENT, now)
    gate = gates.of("api", service())
    ticket = gate.acquire(now.s)
    assert ticket is not None
    gate.give_up(ticket, now.s)
    gates.begin()
    assert gates.of("api", service(3)).wait_s(now.s) == 6.0
    assert gates.of("api", service(None)).wait_s(now.s) == 0.0
    assert gates.of("api", service(2)).wait_s(now.s) == 6.0


def test_a_reload_forgets_what_the_service_asked_for() -> None:
    now = Now()
    gates = made(Before.NOTHING_SENT, now)
    gate = gates.of("api", service(None))
    ticket = gate.acquire(now.s)
    assert ticket is not None
    gate.release(ticket, now.s, Answer(Verdict.WAIT, "later", "503", wait_s=3600.0))
    assert gate.is_held_long(now.s)
    assert gate.wait_s(now.s) == 3600.0
    gates.of("api", service(None))
    assert gate.wait_s(now.s) == 0.0


def test_without_a_number_as_many_requests_run_as_the_rate_allows() -> None:
    gates = made(Before.NOTHING_SENT, Now())
    found = [
        gates.of(str(n), options).concurrency
        for n, options in enumerate((service(15), service(None), service(15, concurrency=2)))
    ]
    assert found == [15, 4, 2]


def test_the_mark_says_how_the_process_before_ended(tmp_path: Path) -> None:
    assert begin_sending(FS, str(tmp_path)) is Before.NOTHING_SENT
    assert begin_sending(FS, str(tmp_path)) is Before.UNCLEAN
    end_sending(FS, str(tmp_path))
    assert begin_sending(FS, str(tmp_path)) is Before.CLEAN
    (tmp_path / "delivery" / "sending").write_bytes(b"")
    assert begin_sending(FS, str(tmp_path)) is Before.UNCLEAN


def test_after_a_power_cut_the_mark_is_there() -> None:
    fs = SimulatedFileSystem(0)
    fs.make_directory("/state")
    fs.sync_directory("/")
    begin_sending(fs, "/state")
    assert begin_sending(fs.crash(), "/state") is Before.UNCLEAN
