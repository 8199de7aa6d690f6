"""The rules of the downstream API: its settings, its limit, what it accepts, and what it counts.

Owns: `Settings`, `Window`, `Figures` and `fault_of`.
Always: times are whole nanoseconds of one monotonic clock, so that counts of windows are exact.
Never: reads a clock, or knows HTTP (`downstream_api.py` does).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SOURCES: Final = ("user_events", "transaction_data", "system_metrics", "security_logs")
PROCESSING_TIME_MS_MAX: Final = 10_000
WINDOW_NS: Final = 1_000_000_000


@dataclass(slots=True)
class Settings:
    """How the API behaves. `POST /control` changes any of these while it runs."""

    requests_per_s: int = 15
    fail: float = 0.15
    """The share of requests that fail with 500 or 503."""
    fail_late: float = 0.0
    """The share of these failures that come after the record was accepted, as if the answer had been lost."""
    delay_ms: tuple[float, float] = (10.0, 50.0)
    slow_share: float = 0.0
    slow_s: float = 2.0
    down: bool = False
    """Closes the connection instead of an answer."""
    retry_after: int | str | None = None
    """The `Retry-After` of 429 and of failures: seconds, or a date. None: 1 for 429, none for failures."""

    def change(self, changes: Mapping[str, Any]) -> None:
        """Sets these. Raises `ValueError` for a name that does not exist, or a value of another kind; then nothing is changed."""
        numbers = {"requests_per_s", "fail", "fail_late", "slow_share", "slow_s"}
        for name, value in changes.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, int | float) for end in value)
            is_sound = {
                "down": isinstance(value, bool),
                "delay_ms": is_pair,
                "retry_after": value is None or isinstance(value, int | str),
            }.get(name, name in numbers and is_number)
            if not is_sound:
                raise ValueError(f'"{name}": not a setting, or not a value of it')
        for name, value in changes.items():
            setattr(self, name, tuple(value) if name == "delay_ms" else value)


class Window:
    """The arrivals of the last second: at most `requests_per_s` in any window of one second, measured at each arrival.

    Two arrivals are in one window if they are less than a second apart.
    """

    def __init__(self) -> None:
        self.arrivals_ns: Final[list[int]] = []
        """Every arrival, by the monotonic clock."""
        self.worst: int = 0
        self._recent: Final[deque[int]] = deque()

    def arrive(self, now_ns: int) -> int:
        """The number of arrivals in the second that ends now, this one included."""
        self.arrivals_ns.append(now_ns)
        self._recent.append(now_ns)
        while now_ns - self._recent[0] >= WINDOW_NS:
            self._recent.popleft()
        self.worst = max(self.worst, len(self._recent))
        return len(self._recent)


@dataclass(slots=True)
class Figures:
    """What happened so far. `accepted`: records stored, repeats included. `changed`: repeats with another body."""

    accepted: int = 0
    repeats: int = 0
    changed: int = 0
    failures: int = 0
    refused_400: int = 0
    refused_422: int = 0
    limited_429: int = 0
    closed: int = 0
    answered: int = 0
    duration_ms: float = 0.0
    keys: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    by_source: Counter[str] = field(default_factory=Counter)
    by_priority: Counter[int] = field(default_factory=Counter)


def fault_of(record: object) -> str:
    """What is wrong with a record, beginning with the field; empty if nothing is."""
    if not isinstance(record, dict):
        return "record: must be an object"
    return next((f"{name}: must be {wanted}" for name, (is_sound, wanted) in RULES.items() if not is_sound(record)), "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


RULES: Final[dict[str, tuple[Callable[[Mapping[str, Any]], bool], str]]] = {
    "source": (lambda record: record.get("source") in SOURCES, "one of " + ", ".join(SOURCES)),
    "timestamp": (lambda record: _is_number(record.get("timestamp")), "a number"),
    "priority": (
        lambda record: (
            isinstance(record.get("priority"), int) and record["priority"] is not True and 1 <= record["priority"] <= 4
        ),
        "a whole number from 1 to 4",
    ),
    "processed_at": (
        lambda record: _is_number(record.get("processed_at")) and record["processed_at"] >= record["timestamp"],
        "a number, and not before timestamp",
    ),
    "processing_time_ms": (
        lambda record: (
            _is_number(record.get("processing_time_ms")) and 0 <= record["processing_time_ms"] < PROCESSING_TIME_MS_MAX
        ),
        f"a number from 0 to less than {PROCESSING_TIME_MS_MAX}",
    ),
    "transformed_data": (
        lambda record: isinstance(record.get("transformed_data"), dict) and bool(record["transformed_data"]),
        "an object that is not empty",
    ),
}
"""The rule of each field, and its words. They are asked in this order, so a later one may rely on the fields before it."""
