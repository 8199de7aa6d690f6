"""The allocator's setting: taken where there is one, harmless where there is none."""

from __future__ import annotations

import ctypes

import pytest

from event_processor import memory


class Library:
    """A C library that remembers what it was told."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}

    def mallopt(self, option: int, value: int) -> int:
        self.told[option] = value
        return 1


def test_the_c_library_is_told_to_keep_what_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    memory.keep_freed_memory()
    assert library.told == {-3: 32 << 20, -1: 1 << 30}


def test_a_c_library_without_that_setting_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    memory.keep_freed_memory()


def test_this_machine_s_own_takes_it() -> None:
    """Where it has one, it says 1 for each value."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        pytest.skip("this C library has no mallopt")
    assert mallopt(-3, 32 << 20) == 1
    assert mallopt(-1, 1 << 30) == 1
