"""`kafka`: what operators do to sources that read Kafka.

Owns: the commands of the group, their questions and their output.
Always: a seek shows what it skips and repeats before it asks.
Never: nothing is decided here; `operations/seek.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.configured_names import source_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, one_line, require_answerable, write_json, write_lines
from event_processor.model.connector import SeekPlan
from event_processor.operations.seek import apply_seek, plan_seek, source_named
from event_processor.operations.state_access import owned_state

__all__ = ["app"]

app = typer.Typer(help="Sources that read Kafka: move their positions, with a preview.")

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.callback()
def group() -> None:
    """Sources that read Kafka: move their positions, with a preview."""


@app.command("seek")
def seek(
    context: typer.Context,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="available (the nearest offsets that are there), beginning, end, or offsets: 0=1200,1=980; one number with --partition."
        ),
    ],
    source: Annotated[
        str, typer.Option(help="The source; may be left out if there is only one.", autocompletion=source_names)
    ] = "",
    partition: Annotated[int | None, typer.Option(min=0, help="Move only this partition.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be skipped. Works while a daemon runs.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Move without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move a source to another place of its topic, in one commit. What is skipped counts as lost. The daemon must be stopped.

    For offsets that expired, for a topic that was deleted and made again, or to read records again.
    """
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    name = source_named(configuration, "kafka", source)
    if dry_run:
        _write(name, plan_seek(configuration, environment, name, to, partition=partition), as_json=as_json, is_done=False)
        return
    require_answerable(yes=yes)
    with owned_state(configuration, environment):
        plan = plan_seek(configuration, environment, name, to, partition=partition)
        if not as_json:
            _write(name, plan, as_json=False, is_done=False)
        if plan.script:
            confirm("Move the source?", yes=yes)
            apply_seek(configuration, environment, plan)
    if as_json:
        _write(name, plan, as_json=True, is_done=True)
    elif plan.script:
        write_lines(["moved; the next start goes on from there"])


def _write(name: str, plan: SeekPlan, *, as_json: bool, is_done: bool) -> None:
    if as_json:
        moved = {"moves": list(plan.words), "skipped_max": plan.skipped, "repeated_max": plan.repeated}
        write_json({"source": name, **moved, "moved": is_done and bool(plan.script)})
        return
    write_lines(one_line(words) for words in plan.words or ("nothing to move: it is there already",))
    if plan.skipped:
        write_lines([f"skips up to {plan.skipped:,} records of {len(plan.words)} partitions; they count as lost"])
    if plan.repeated:
        write_lines([f"reads up to {plan.repeated:,} records again; records with known ids count as duplicates"])
