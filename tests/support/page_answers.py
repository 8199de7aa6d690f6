"""Answers that a test gives in the server's place: what takes a day to come about, or a service to go wrong.

Owns: a history, a bottleneck, and how a page is given them.
Always: the same at every call, but for the time of a history, whose last step ends at the present.
Never: answers what a real daemon of a test can.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from math import exp, sin
from typing import Any, Final

from playwright.sync_api import Page, Route

__all__ = ["BOTTLENECK", "RETRY", "answers", "history"]

POINTS: Final = 300
RETRY: Final = "/v1/dead-letters/retry"
BOTTLENECK: Final[Mapping[str, Any]] = {
    "state_id": "0123456789abcdef",
    "span_s": 60,
    "words": "Waiting for the disk: 71 % of the time goes into fsync (11 ms each).",
    "hint": "a larger batch.pace_ms commits less often",
    "stages": [
        {"stage": "reading", "share": 0.06, "words": "0.9 µs an event"},
        {"stage": "decoding", "share": 0.16, "words": "2.5 µs an event"},
        {"stage": "fsync", "share": 0.71, "words": "11.2 µs an event, 21 a second"},
        {"stage": "waiting", "share": 0.07, "words": "nothing to read"},
    ],
    "sinks": [{"sink": "down", "words": "It waits for its service.", "shares": {"answers": 0.1, "outage": 0.9}}],
}


def history(*, step_s: int = 12, is_quiet: bool = False) -> dict[str, Any]:
    """300 steps up to now: a daily rhythm with a burst, a lag after it, a sink that stops at the end, and 15 steps without a daemon.

    `is_quiet`: nothing but zeros, of a daemon that had nothing to do.
    """
    begin_s = (int(time.time()) // step_s - POINTS) * step_s
    rate = [
        0 if is_quiet else int(1000 + 260 * sin(step / 17) + 53 * (step * 7 % 11) / 11 + (2800 if 150 <= step < 162 else 0))
        for step in range(POINTS)
    ]
    records = [each * step_s for each in rate]
    rejected = [each // 150 for each in records]
    duplicate = [each // 33 for each in records]
    accepted = [all_of - some - others for all_of, some, others in zip(records, rejected, duplicate, strict=True)]
    lag_s = [0.0 if is_quiet else round(0.3 + 9 * exp(-(((step - 160) / 4) ** 2)), 3) for step in range(POINTS)]
    zeros = [0] * POINTS
    columns: dict[str, list[Any]] = {
        "records": records,
        "accepted": accepted,
        "duplicate": duplicate,
        "rejected": rejected,
        "blank": list(zeros),
        "late": list(zeros),
        "commits": list(zeros),
        "delivered": [each if step < 270 else 0 for step, each in enumerate(accepted)],
        "failed": list(zeros),
        "lag_bytes": [int(each * 130_000) for each in lag_s],
        "lag_s": lag_s,
        "pending": [0 if is_quiet else max(0, step - 270) * 1000 * step_s for step in range(POINTS)],
    }
    if not is_quiet:
        for column in columns.values():
            column[60:75] = [None] * 15
    return {"state_id": "0123456789abcdef", "written_at": None, "from": begin_s, "step_s": step_s, "columns": columns}


def answers(by_path: Mapping[str, Any | Callable[[Route], None]]) -> Callable[[Page], None]:
    """Gives a page these answers, by path: JSON, or a function that answers. The description says that the server has these paths."""

    def give(page: Page) -> None:
        def describe(route: Route) -> None:
            described = route.fetch().json()
            route.fulfill(json={**described, "paths": {**{path: {} for path in by_path}, **described["paths"]}})

        page.route("**/openapi.json", describe)
        for path, answer in by_path.items():
            page.route(f"**{path}*", answer if callable(answer) else _fixed(answer))

    return give


def _fixed(answer: Any) -> Callable[[Route], None]:
    content = json.dumps(answer)
    return lambda route: route.fulfill(body=content, content_type="application/json")
