"""The allocator's setting: taken where there is one, harmless where there is none. And memory that it does not keep."""

from __future__ import annotations

import ctypes
import os

import pytest

from event_processor.kernels import memory


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


WORDS = 8 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 300_000])
def test_words_of_their_own_are_zeros_that_can_be_written(count: int) -> None:
    words = memory.words_of_their_own(count)
    assert (len(words), words.flags.aligned, words.flags.c_contiguous) == (count, True, True)
    assert not words.any()
    words[:] = 7
    assert int(words.sum()) == 7 * count


def test_words_of_their_own_are_given_back_when_nobody_holds_them() -> None:
    before = resident_bytes()
    words = memory.words_of_their_own(WORDS)
    words[:] = 1
    part = words[1:]
    del words
    assert resident_bytes() - before > 7 * WORDS, "a part of it is held"
    del part
    assert resident_bytes() - before < WORDS
