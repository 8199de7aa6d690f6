"""What a module of tests leaves open is found."""

from __future__ import annotations

import os
from threading import Event, Thread

import pytest

from support import left_open
from support.left_open import DESCRIPTORS_MAX, LeftOpen


def test_a_thread_that_runs_on_is_found_and_one_that_ends_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_open, "DEADLINE_S", 0.0)
    before, end = LeftOpen(), Event()
    thread = Thread(target=end.wait, name="left-by-a-test", daemon=True)
    thread.start()
    with pytest.raises(AssertionError, match=r"m: it left threads that run: .*left-by-a-test"):
        before.require_nothing("m")
    end.set()
    thread.join()
    before.require_nothing("m")


def test_more_descriptors_than_a_server_needs_are_found() -> None:
    before, opened = LeftOpen(), [os.open("/dev/null", os.O_RDONLY) for _ in range(DESCRIPTORS_MAX)]
    before.require_nothing("m")
    opened.append(os.open("/dev/null", os.O_RDONLY))
    try:
        with pytest.raises(AssertionError, match=rf"m: it left {DESCRIPTORS_MAX + 1} descriptors open: \['/dev/null'"):
            before.require_nothing("m")
    finally:
        for descriptor in opened:
            os.close(descriptor)
