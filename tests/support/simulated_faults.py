"""What goes wrong on a simulated disk, and when: failed calls, and the moment at which everything stops.

Owns: the plan of faults and crash points, and which calls it counts.
Always: a plan is a function of the calls it is asked about; nothing here is random.
Never: what a fault does to files is not decided here.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

__all__ = ["FALLIBLE_CALLS", "MUTATING_CALLS", "CallPlan", "Fault", "SimulatedCrash", "Verdict"]

MUTATING_CALLS: Final = frozenset(
    {"create", "write", "truncate", "sync", "sync_directory", "make_directory", "link", "rename", "unlink", "remove_directory"}
)
"""Calls after which the disk may look different. `create` is an `open` that made the file or emptied it."""
FALLIBLE_CALLS: Final = MUTATING_CALLS | {"open", "read", "status", "status_of", "names", "lock"}
"""Every call but `close`, whose failure tells nothing that a failed sync has not told."""


class SimulatedCrash(BaseException):
    """The process is gone at this call. Not an `Exception`, so that no clause of the program under test survives its own death."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Calls that fail: the `nth` (from 1) of those in `kinds`, and all later ones where `lasting`.

    `short_first`: that call takes a part of its bytes and the next one is the first that fails, as on a disk that fills up.
    """

    errno: int
    nth: int = 1
    kinds: AbstractSet[str] = FALLIBLE_CALLS
    lasting: bool = False
    short_first: bool = False

    def __post_init__(self) -> None:
        if self.short_first and set(self.kinds) != {"write"}:
            raise ValueError("only a write can be short")
        if not set(self.kinds) <= FALLIBLE_CALLS:
            raise ValueError(f"no such calls: {sorted(set(self.kinds) - FALLIBLE_CALLS)}")

    def verdict(self, count: int) -> Verdict:
        """What becomes of the `count`th matching call."""
        first = self.nth + self.short_first
        if count == first or (self.lasting and count > first):
            return Verdict(errno=self.errno)
        return Verdict(short=self.short_first and count == self.nth)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plan says of one call: the error number it fails with (0: it does not), whether it is cut short, whether the
    process ends before or after it."""

    errno: int = 0
    short: bool = False
    crash_before: bool = False
    crash_after: bool = False


_GOES_ON: Final = Verdict()


class CallPlan:
    """The faults and the crash point, each counting calls from the moment it was set."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._seen: list[int] = []
        self._crash_in = 0
        self._crash_after = False

    def add(self, fault: Fault) -> None:
        """Adds a fault. The first one that strikes decides."""
        self._faults.append(fault)
        self._seen.append(0)

    def crash_at(self, nth: int, *, after: bool) -> None:
        """Ends the process at the `nth` mutating call from now (from 1), before it has any effect or after it had it."""
        self._crash_in = nth
        self._crash_after = after

    def clear(self) -> None:
        """Nothing more goes wrong."""
        self._faults.clear()
        self._seen.clear()
        self._crash_in = 0

    def verdict(self, kind: str) -> Verdict:
        """Counts the call and says what becomes of it."""
        if kind in MUTATING_CALLS and self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                return Verdict(crash_before=not self._crash_after, crash_after=self._crash_after)
        answer = _GOES_ON
        for index, fault in enumerate(self._faults):
            if kind in fault.kinds:
                self._seen[index] += 1
                verdict = fault.verdict(self._seen[index])
                answer = answer if answer.errno or answer.short else verdict
        return answer
