"""`top`: shows the status, live.

Owns: the command, and the two forms of an update: a screen on a terminal, one line in a pipe.
Always: nothing is changed. It works from the state directory alone.
Never: the status is not read here; `operations/status.py` and `operations/live.py` do that.
"""

from __future__ import annotations

import itertools
import sys
from contextlib import suppress
from typing import Annotated, Final

import typer
from msgspec import UNSET

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.lanes import lane_words
from event_processor.cli.output import write_lines
from event_processor.model.contracts import Clock
from event_processor.operations.live import LiveReader
from event_processor.operations.status import StatusFrame, watch_status

__all__ = ["command"]

READING_SHARE: Final = 0.1
"""The share of the time that reading takes at most."""


def command(
    context: typer.Context,
    *,
    interval_s: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two updates.")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many updates. Default: at Ctrl-C.")] = None,
) -> None:
    """Show the status, rates, sinks and categories, live. In a pipe, each update is one line. Changes nothing."""
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    with suppress(KeyboardInterrupt):
        if sys.stdout is not None and sys.stdout.isatty():
            _draw(LiveReader(configuration, environment), environment.clock, interval_s=interval_s, count=count)
        else:
            for frame in watch_status(configuration, environment, interval_s=interval_s, count=count):
                write_lines([_line(frame)])


def _draw(reader: LiveReader, clock: Clock, *, interval_s: float, count: int | None) -> None:
    """Draws until a key ends it, or after `count` updates."""
    # Imported only if it is drawn: a line in a pipe comes sooner without it.
    from event_processor.cli.terminal import Terminal  # noqa: PLC0415
    from event_processor.cli.top_screen import View, pressed, screen  # noqa: PLC0415

    view = View()
    with Terminal() as terminal:
        for number in itertools.count(1):
            began_s = clock.monotonic_s()
            live = reader.read()
            # Reading takes at most a tenth of the time, however large the checkpoint is.
            deadline_s = max(began_s + interval_s, began_s + (clock.monotonic_s() - began_s) / READING_SHARE)
            while True:
                width, height = terminal.size()
                lines, page = screen(live, view, width=width, height=height, is_unicode=terminal.is_unicode)
                terminal.show(lines)
                key = terminal.key(0.0 if number == count else deadline_s - clock.monotonic_s())
                if key is None:
                    break
                chosen = pressed(view, key, rows=len(live.categories), page=page)
                if chosen is None:
                    return
                view = chosen
            if number == count:
                return


def _line(frame: StatusFrame) -> str:
    """One update as `key=value` words. `-` means unknown."""
    status, committed = frame.status, frame.status.committed
    words: dict[str, object] = {"alive": str(status.is_alive).lower()}
    if committed is not None:
        words |= {
            "records": committed.counts.records,
            "records_per_s": "-" if frame.records_per_s is None else f"{frame.records_per_s:.0f}",
            **({} if committed.counts.foreign is UNSET else {"foreign": committed.counts.foreign}),
            "lag_bytes": committed.lag_bytes,
            "age_s": "-" if committed.age_s is None else f"{committed.age_s:.1f}",
            "held_events": committed.held_events,
            "dead_letters": committed.dead_letters,
        }
    words |= lane_words(status.lanes)
    words["conditions"] = sum(each.fails for each in status.conditions)
    if committed is not None and committed.lost:
        words["lost"] = committed.lost
    return " ".join(f"{key}={value}" for key, value in words.items())
