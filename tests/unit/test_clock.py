"""What the loop waits for: set by anybody, at any point."""

import sys
import threading
from types import FrameType
from typing import Any

from event_processor.model.clock import SystemWakeup

LIMIT_S = 60.0


def test_it_stays_set_until_it_is_cleared() -> None:
    wakeup = SystemWakeup()
    assert not wakeup.wait(0.0)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait()
    assert wakeup.wait(0.0)
    wakeup.clear()
    assert not wakeup.wait(0.0)


def test_another_thread_wakes_who_waits() -> None:
    wakeup = SystemWakeup()
    thread = threading.Thread(target=wakeup.set)
    thread.start()
    assert wakeup.wait(LIMIT_S)
    thread.join()


def test_a_signal_handler_may_set_it_wherever_it_interrupts() -> None:
    """A handler runs between any two lines of the thread that it interrupts, and so does a trace function."""
    wakeup = SystemWakeup()
    interrupted: list[str] = []

    def interrupt(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code.co_name in {"clear", "wait", "set", "__enter__", "__exit__"}:
            interrupted.append(frame.f_code.co_name)
            wakeup.set()
        return interrupt

    def use_it() -> None:
        sys.settrace(interrupt)
        wakeup.wait(0.0)
        wakeup.clear()
        wakeup.set()
        sys.settrace(None)

    thread = threading.Thread(target=use_it, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert {"clear", "wait", "set"} <= set(interrupted)
    assert wakeup.wait(0.0)
