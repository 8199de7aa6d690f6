"""The examples below the --help of each command.

Owns: the examples.
Always: each is a call that the program understands; a test looks at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "run": ("event-processor run", "event-processor run --once --drain", "event-processor --config orders.toml run"),
    "process": (
        "event-processor process events.jsonl --no-sinks",
        "event-processor process export.csv.gz --format csv --output totals.jsonl",
        "zcat events.jsonl.gz | event-processor process -",
    ),
    "status": ("event-processor status", "event-processor status --json", "event-processor status --lag-bytes-max 1000000"),
    "metrics": ("event-processor metrics --textfile /var/lib/node_exporter/event_processor.prom",),
    "top": ("event-processor top", "event-processor top --interval-s 5"),
    "report": ("event-processor report report.html",),
    "inspect": ("event-processor inspect", "event-processor inspect --category order", "event-processor inspect --json"),
    "explain": (
        "event-processor explain evt-000900",
        "event-processor explain 2999",
        "event-processor explain '[\"shop-1\", 17]'",
    ),
    "verify": ("event-processor verify", "event-processor verify --sink ordered"),
    "merge": ("event-processor merge state/events-* --output totals",),
    "kafka": ("event-processor kafka seek --to available --dry-run",),
    "lost": ("event-processor lost", "event-processor lost --acknowledge"),
    "replay": ("event-processor replay", "event-processor replay --start oldest --yes"),
    "reload": ("event-processor reload",),
    "reset": ("event-processor reset", "event-processor reset --yes"),
    "dead-letters": (
        "event-processor dead-letters list --limit 20",
        "event-processor dead-letters export --output letters.jsonl",
        "event-processor dead-letters retry letters.jsonl",
    ),
    "sinks": ("event-processor sinks list", "event-processor sinks pause api", "event-processor sinks skip api --first"),
    "deliver": ("event-processor deliver --from 1200 --sink api",),
    "produce": ("event-processor produce events.jsonl --topic events --rate 100/s --key id",),
    "sql": ("event-processor sql plan", "event-processor sql apply"),
    "init": ("event-processor init", "event-processor init --full elsewhere"),
    "config": ("event-processor config", "event-processor --set order.buffer_events=0 config --json"),
    "validate": ("event-processor validate", "event-processor --config /etc/event-processor/event-processor.toml validate"),
    "test": (
        "event-processor test sample.jsonl",
        "head -n 20 events.csv | event-processor test - --format csv",
        "event-processor test",
    ),
    "doctor": ("event-processor doctor",),
    "version": ("event-processor version",),
}
"""By command: complete command lines."""


def epilog(command: str, *, is_drawn: bool) -> str:
    """The text below the help of a command; empty if there is none. `is_drawn`: for a terminal, where brackets are markup."""
    examples = EXAMPLES.get(command, ())
    if not examples:
        return ""
    if is_drawn:
        # A single line break would become a space.
        return "\n\n".join(["Examples:", *(example.replace("[", "\\[") for example in examples)])
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])
