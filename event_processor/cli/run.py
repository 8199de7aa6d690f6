"""`run`: the daemon, or one run to the end of the log.

Owns: the command, the progress of `--once`, and the summary.
Always: without `--once` nothing is written to standard output but, at the end, the figures of remote sinks and the verdict.
Never: no record is read here; `service/daemon.py` runs the pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Final

import typer

from event_processor.assembly import Environment, Mode, lag_bytes
from event_processor.assembly.several_telemetries import SeveralTelemetry
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.lanes import lane_summary, snapshot_summary
from event_processor.cli.output import foreign_notes, one_line, progress_bar, write_lines
from event_processor.configuration.configuration import Configuration
from event_processor.model.clock import SystemClock, SystemWakeup
from event_processor.model.errors import ExitCode
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import Progress, nobody_watches
from event_processor.operations.targets import figures_of_lanes, missed_targets
from event_processor.service.daemon import Daemon, Finished
from event_processor.service.systemd import ServiceNotifier

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="End at the end of the log.")] = False,
    drain: Annotated[
        bool,
        typer.Option(
            "--drain", help="With --once: the log is finished. Its end ends the last record and flushes the order buffer."
        ),
    ] = False,
    check_targets: Annotated[
        bool, typer.Option("--check-targets", help="Exit with 69 if a target of [targets] was missed.")
    ] = False,
) -> None:
    """Read the log and keep the checkpoint, until stopped. TERM and INT end it after a commit; HUP reloads the configuration.

    With --once, exits with 66 if a source is missing, cannot be read, or lost something.
    """
    if drain and not once:
        raise typer.BadParameter("--drain needs --once: a followed log has no end", param_hint="--drain")
    called = invocation(context)
    configuration = load(called).configuration
    if check_targets and not configuration.targets.is_set:
        raise typer.BadParameter("no target is configured: set one in [targets]", param_hint="--check-targets")
    wakeup = SystemWakeup()
    with progress_bar("reading the log") if once else nullcontext(nobody_watches) as progress:

        def environment_of(configuration: Configuration) -> Environment:
            environment = replace(real_environment(configuration), wakeup=wakeup)
            if progress is nobody_watches:
                return environment
            shown = _ShownProgress(progress, lambda: _lag_bytes(configuration, environment))
            return replace(environment, telemetry=SeveralTelemetry([environment.telemetry, shown]))

        notifier = ServiceNotifier.from_environment(os.environ, process_id=os.getpid(), clock=SystemClock())
        finished = Daemon(lambda: load(called).configuration, environment_of, Mode(once=once, drain=drain), notifier).run()
    missed = _missed(finished, configuration)
    if lines := [*(_summary(finished, configuration) if once else ()), *_figures(finished, missed)]:
        write_lines(lines)
    if once and (code := _exit_code(finished)):
        raise typer.Exit(code)
    if check_targets and missed:
        raise typer.Exit(ExitCode.NOT_KEEPING_UP)


def _exit_code(finished: Finished) -> int:
    """How `--once` ends."""
    codes = [*(each.exit_code for each in finished.lanes), *(each.exit_code for each in finished.snapshots)]
    if code := next(filter(None, codes), 0):
        return code
    if finished.not_read or finished.lost:
        return ExitCode.INPUT_GONE
    is_behind = any(
        each.pending or each.detached_after is not None or (each.retried and each.retried.pending) for each in finished.lanes
    )
    is_current = all(each.is_current for each in finished.snapshots)
    return ExitCode.NOT_KEEPING_UP if is_behind or not is_current else ExitCode.OK


class _ShownProgress(Telemetry):
    """Shows how much is committed of what the log held at the start."""

    def __init__(self, progress: Progress, lag_bytes: Callable[[], int]) -> None:
        self._progress: Final = progress
        self._lag_bytes: Final = lag_bytes
        self._size_bytes = 0
        self._done_bytes = 0

    def started(self, **_facts: object) -> None:
        self._size_bytes = self._lag_bytes()

    def batch_committed(self, *, content_bytes: int, **_facts: object) -> None:
        self._done_bytes += content_bytes
        self._progress(self._done_bytes, max(self._size_bytes, self._done_bytes))


def _lag_bytes(configuration: Configuration, environment: Environment) -> int:
    """How many bytes are left to read."""
    # Imported only if a person watches: a service starts faster without it.
    from event_processor.engine.journal import JOURNAL_NAME  # noqa: PLC0415
    from event_processor.operations.state_access import peek  # noqa: PLC0415

    checkpoint = peek(configuration, environment)
    if checkpoint is None:
        return lag_bytes(configuration, environment, {}, journal_bytes=0)
    journal_bytes = checkpoint.state.appended.get(JOURNAL_NAME, 0)
    return lag_bytes(configuration, environment, checkpoint.state.sources, journal_bytes=journal_bytes)


def _summary(finished: Finished, configuration: Configuration) -> list[str]:
    """The lines after `--once`, for people."""
    counts = finished.counts
    outcomes = f"{counts.accepted} accepted, {counts.duplicate} duplicate, {counts.rejected} rejected, {counts.blank} blank"
    lines = [
        f"{counts.records} records: {outcomes}",
        *foreign_notes(counts),
        f"checkpoint: {os.path.join(configuration.state.dir, 'checkpoint.json')}",
    ]
    lines += map(str, finished.omissions)
    lines += [one_line(f"not read: {each}") for each in finished.not_read]
    lines += [one_line(f"lost: {each}; see 'event-processor lost'") for each in finished.lost]
    if finished.held_events:
        lines.append(f"{finished.held_events} events are still in the order buffer; 'run --once --drain' flushes it")
    return lines


def _missed(finished: Finished, configuration: Configuration) -> list[str]:
    """The targets that the run missed."""
    if not finished.targets.is_set:
        return []
    figures = figures_of_lanes(finished.lanes)
    if not figures:
        lag = _lag_bytes(configuration, real_environment(configuration))
        figures = [finished.committed.figures(lag)]
    return missed_targets(finished.targets, figures)


def _figures(finished: Finished, missed: list[str]) -> list[str]:
    """The lines about remote sinks, and the verdict if there are targets."""
    lines = [one_line(line) for line in (*lane_summary(finished.lanes), *snapshot_summary(finished.snapshots))]
    if finished.targets.is_set:
        lines.append(one_line("targets: missed: " + "; ".join(missed) if missed else "targets: met"))
    return lines
