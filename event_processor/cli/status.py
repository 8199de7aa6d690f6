"""`status`: tells if a daemon is alive, keeps up, and needs no operator.

Owns: the command, and its output as text or JSON.
Always: exit code 0 means that a daemon is alive and keeps up, and that no condition needs an operator.
Never: the status is not read here; `operations/status.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import UNSET

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.lanes import lane_facts
from event_processor.cli.output import one_line, write_facts, write_json, write_lines
from event_processor.model.errors import ExitCode
from event_processor.operations.last_verification import LastVerification
from event_processor.operations.status import CommittedStatus, Status, StatusLimits, read_status
from event_processor.operations.status_document import status_document

__all__ = ["command"]

LAGS_MIN = 2
"""The lag of a single source is that of all."""


def command(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    lag_bytes_max: Annotated[int | None, typer.Option(min=0, help="Fail if more bytes than this are left to read.")] = None,
    age_s_max: Annotated[
        float | None,
        typer.Option(min=0, help="Fail if bytes are left to read and the last commit is older, in seconds."),
    ] = None,
) -> None:
    """Say whether a daemon is alive and keeps up, and what needs you. Exits with 0 if all is well, or else with 69."""
    configuration = load(invocation(context)).configuration
    status = read_status(configuration, real_environment(configuration))
    shortfalls = status.shortfalls(StatusLimits(lag_bytes_max, age_s_max))
    if as_json:
        write_json(status_document(status, shortfalls))
    else:
        write_facts(_facts_of(status))
        write_lines(f"note: {one_line(each)}" for each in status.notes)
        write_lines(f"note: {one_line(each)}" for each in status.conditions if not each.fails)
        if status.committed is not None:
            write_lines(f"left out: {one_line(each)}" for each in status.committed.left_out)
        write_lines(f"not keeping up: {one_line(shortfall)}" for shortfall in shortfalls)
    if shortfalls:
        raise typer.Exit(ExitCode.NOT_KEEPING_UP)


def _facts_of(status: Status) -> dict[str, object]:
    """The status for people."""
    facts: dict[str, object] = {"owner": status.owner or "none: not running", "state": status.state_directory}
    committed = status.committed
    if committed is None:
        return {**facts, "committed": "nothing yet"}
    counts = committed.counts
    age = "" if committed.age_s is None else f" ({committed.age_s:.1f} s ago)"
    return {
        **facts,
        "last commit": f"{committed.written_at or 'at an unknown time'}{age}",
        "records": counts.records,
        "accepted": counts.accepted,
        "duplicate": counts.duplicate,
        "rejected": counts.rejected,
        "blank": counts.blank,
        "late": counts.late,
        **({} if counts.foreign is UNSET else {"foreign": counts.foreign}),
        "categories": committed.categories,
        "lag": f"{committed.lag_bytes:,} bytes"
        + (f" (about, {committed.lag_records:,} records)" if committed.lag_records else ""),
        **_lags_of_sources(committed),
        "held": f"{committed.held_events:,} events",
        "dead letters": committed.dead_letters,
        **({"lost": f"{committed.lost:,} (event-processor lost)"} if committed.lost else {}),
        "verified": _verified_words(status.verified),
        **lane_facts(status.lanes),
    }


def _lags_of_sources(committed: CommittedStatus) -> dict[str, str]:
    """The lag of each source that has one, if there are several."""
    lags = {name: lag for name, lag in committed.lag_by_source.items() if lag.bytes or lag.records or lag.unknown}
    if len(lags) < LAGS_MIN:
        return {}
    words = {
        name: f"{each.bytes:,} bytes" + (f" (about, {each.records:,} records)" if each.records else "")
        for name, each in lags.items()
    }
    return {f"lag {name}": one_line(lags[name].unknown) or each for name, each in words.items()}


def _verified_words(last: LastVerification | None) -> str:
    if last is None:
        return "never (event-processor verify)"
    records = f"{last.records:,} records at {last.at}"
    return f"ok, {records}" if last.verdict == "ok" else f"{last.verdict}, {records}: {one_line(last.words)}"
