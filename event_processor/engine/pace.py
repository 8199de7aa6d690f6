"""The pace of commits: when a live log may be committed again.

Owns: the distance between two commits while events come one by one. A commit costs fsyncs, a checkpoint, a look at the log and a step,
whether it covers one event or a thousand. So a log that is busy is committed a few times a second, not for each event.
Always: the first event after a silence may be committed at once. A backlog is never held.
Never: waits, or reads a clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PACE_S_MAX", "Pace"]

SHARE: Final = 100
"""By itself, a commit that took t, from the look at the log on, is followed by 100 t without one: so all of it takes about a hundredth
of the time."""
PACE_S_MAX: Final = 0.25
"""By itself, no commit is held for longer than this, however slow the disk is."""
MEMORY: Final = 4
"""How many commits the expected duration of a commit is smoothed over: one slow fsync says little."""


class Pace:
    """Used by the loop's thread. All times are seconds by the monotonic clock."""

    def __init__(self, fixed_s: float | None) -> None:
        """`fixed_s`: the distance between two commits; None: what a commit takes decides. 0: no commit is held."""
        self._fixed_s: Final = fixed_s
        self._commit_s = 0.0
        self._due_s = 0.0
        self.was_held = False
        """Whether the loop was held since the last commit. Then there may be input that it never looked for."""

    def committed(self, now_s: float, commit_s: float, *, is_backlog: bool = False) -> None:
        """A commit is done, and took `commit_s`, reading included. With a backlog, the next one is due at once."""
        if is_backlog:
            self.has_backlog()
            return
        self.was_held = False
        self._commit_s += (commit_s - self._commit_s) / (MEMORY if self._commit_s else 1)
        own_s = min(SHARE * self._commit_s, PACE_S_MAX)
        self._due_s = now_s + (own_s if self._fixed_s is None else self._fixed_s)

    def has_backlog(self) -> None:
        """Reports a backlog: the next commit is due at once."""
        self._due_s, self.was_held = 0.0, False

    def held_s(self, now_s: float) -> float:
        """For how long the next commit is held; 0 if it is due."""
        held_s = max(0.0, self._due_s - now_s)
        self.was_held = self.was_held or held_s > 0
        return held_s
