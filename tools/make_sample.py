"""Makes `events/events.jsonl`: one morning of a small shop, with what real logs have.

Run by hand, `python tools/make_sample.py`, after a change here; the result is committed.
Always: the same file, byte for byte. Nothing here is needed to run the program.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

SEED: Final = 2026
EVENTS: Final = 285
DISORDER: Final = 18
"""How many places at the most an event may come late."""
DUPLICATE_NUMBERS: Final = (17, 18, 19, 88, 140, 141, 233, 270)
"""Events that are delivered twice, as after a lost acknowledgement."""
PATH: Final = Path(__file__).resolve().parent.parent / "events" / "events.jsonl"

CATEGORIES: Final = ("order", "order", "order", "payment", "payment", "payment", "shipping", "shipping", "refund")
PRODUCTS: Final = ("espresso cups", "linen towel", "desk lamp", "notebook", "olive oil", "wool scarf", "café filter", "teapot")
BAD_LINES: Final = {
    31: '{"id": "evt-000900", "category": "payment", "value": "49.90", "timestamp": "2026-03-02T08:11:02Z"}',
    64: '{"id": "evt-000901", "category": "order", "value": 12.5, "timestamp": "2026-03-02T08:2',
    97: "",
    118: '{"category": "refund", "value": -19.0, "timestamp": "2026-03-02T08:44:40Z", "reason": "damaged"}',
    156: '{"id": "evt-000903", "category": "payment", "value": NaN, "timestamp": "2026-03-02T09:02:13Z"}',
    190: '{"id": "evt-000904", "category": "", "value": 7.2, "timestamp": "2026-03-02T09:15:55Z"}',
    221: "shop-7 restarted at 09:28, 14 requests dropped",
    254: '["evt-000906", "shipping", 4.9]',
    279: '{"id": 906.0, "category": "order", "value": 31.0, "timestamp": "2026-03-02T09:50:31Z"}',
}
"""By the line (from 0) that they become: eight records that are no events, each for a reason of its own, and a blank one."""


def sample() -> bytes:
    """The whole file."""
    random = Random(SEED)  # noqa: S311 - a sample, not a secret
    lines = {number: _event(random, number) for number in range(1, EVENTS + 1)}
    places = {number: number + random.choice((0, 0, 0, random.uniform(0, DISORDER))) for number in lines}
    arrivals = sorted(places, key=lambda number: places[number])
    for number in DUPLICATE_NUMBERS:
        arrivals.insert(arrivals.index(number) + random.randint(3, DISORDER), number)
    log = [lines[number] for number in arrivals]
    for place, line in BAD_LINES.items():
        log.insert(place, line)
    return "".join(f"{line}\n" for line in log).encode()


def _event(random: Random, number: int) -> str:
    """One line: what happened in the shop, and when."""
    category = random.choice(CATEGORIES)
    moment = datetime(2026, 3, 2, 8, tzinfo=UTC) + timedelta(seconds=number * 25 + random.randrange(20))
    cents = random.randrange(390, 18_000, 10)
    value = {"order": cents, "payment": cents, "shipping": random.choice((490, 690, 1290)), "refund": -cents // 2}[category]
    details: dict[str, dict[str, object]] = {
        "order": {
            "customer": f"c-{random.randrange(1, 400):04}",
            "product": random.choice(PRODUCTS),
            "quantity": random.randint(1, 4),
        },
        "payment": {"order": f"o-{number + 5000}", "method": random.choice(("card", "card", "invoice", "transfer"))},
        "shipping": {"order": f"o-{number + 4990}", "carrier": random.choice(("post", "courier")), "address": {"country": "PT"}},
        "refund": {"order": f"o-{number + 4700}", "reason": random.choice(("damaged", "returned", "late"))},
    }
    event = {"id": f"evt-{number:06}", "category": category, "value": value / 100, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps(event | details[category], ensure_ascii=False)


if __name__ == "__main__":
    PATH.write_bytes(sample())
