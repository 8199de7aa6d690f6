"""`produce`: sends the lines of a file to a topic, as the producer of a live stream.

Owns: the command, its options, its signals, and its messages.
Always: what was not sent, and what was not answered, is in the last lines and in the exit code.
Never: sends anything itself; `operations/producing.py` does that.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import typer

from event_processor.assembly import STDIN_ARGUMENT
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, one_line, progress_bar, write_json, write_lines
from event_processor.cli.process import SIGNAL_EXIT_BASE, require_stream
from event_processor.model.errors import ExitCode
from event_processor.operations.producing import Destination, Produced, Producing
from event_processor.service.daemon import SignalHandlers

__all__ = ["command", "rate"]

UNITS_S: Final = {"": 1, "s": 1, "min": 60, "h": 3600}


def rate(text: str) -> float:
    """Parses a rate in records per second: "100", "100/s", "30/min", "0.5". Raises `typer.BadParameter`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:/ ?(s|min|h))?", text.strip())
    per_s = float(found[1]) / UNITS_S[found[2] or ""] if found else 0.0
    if not 0 < per_s <= 10_000_000:
        raise typer.BadParameter(f"{text!r} is not a rate such as 100/s, 30/min or 0.5")
    return per_s


def command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A file of lines, compressed or not, or - for standard input.")],
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The topic. It must exist.")],
    brokers: Annotated[
        str, typer.Option(metavar="HOST:PORT,…", help="The brokers. Left out: as a source or a sink of type kafka names them.")
    ] = "",
    rate_per_s: Annotated[
        float | None, typer.Option("--rate", parser=rate, metavar="N/s", help="At most so many records: 100/s, 30/min.")
    ] = None,
    key: Annotated[str, typer.Option(metavar="FIELD", help="The field whose value becomes the key of a record.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Send the lines of a file to a topic of Kafka, and wait until the brokers have them.

    Each line is a record, without its end. Blank lines are left out. The producer is idempotent and waits for all replicas in sync. A run that is
    repeated sends everything again.

    Exits with 0 if every record was acknowledged; with 65 if a record was refused or a line is too long; with 66 if the file is not found or is
    incomplete; with 69 if the brokers did not answer in time; with 78 if there is no such topic or right; with 130 or 143 if a signal stopped it.
    """
    called = invocation(context)
    configuration = load(called).configuration
    if file == STDIN_ARGUMENT:
        require_stream(is_kept=False)
    producing = Producing(configuration, real_environment(configuration), file, rate_per_s=rate_per_s)
    stopped_by: list[int] = []

    def on_signal(number: int) -> None:
        if stopped_by:
            os._exit(SIGNAL_EXIT_BASE + number)
        stopped_by.append(number)
        producing.stop()

    handlers = SignalHandlers(dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), on_signal))
    with handlers, progress_bar("sending") as progress:
        produced = producing.run(Destination(topic, brokers, key), progress)
    if as_json:
        write_json(msgspec.to_builtins(produced))
    else:
        write_lines(_summary(produced, topic))
    if stopped_by:
        raise typer.Exit(SIGNAL_EXIT_BASE + stopped_by[0])
    if produced.damaged:
        raise typer.Exit(ExitCode.INPUT_GONE)
    if produced.refused or produced.oversized:
        raise typer.Exit(ExitCode.STATE)


def _summary(produced: Produced, topic: str) -> Iterator[str]:
    per_s = f", {produced.acknowledged / produced.took_s:,.1f}/s" if produced.took_s > 0 else ""
    yield f"{topic}: {counted(produced.acknowledged, 'record')} acknowledged in {produced.took_s:,.1f} s{per_s}"
    left_out = {
        "blank line": produced.blank,
        "line that is too long": produced.oversized,
        "record without a key": produced.without_key,
        "record without an answer": produced.unanswered,
    }
    for noun, count in left_out.items():
        if count:
            yield f"{count:,} x {noun}"
    if produced.refused:
        yield f"{counted(produced.refused, 'record')} refused; the first: {one_line(produced.refusal)}"
    for words in produced.damaged:
        yield one_line(words)
    if not produced.is_complete:
        yield "stopped before the end of the input"
