"""`test`: shows what sample records would become, or runs the tests of the configuration.

Owns: the command, and its output as text or JSON.
Always: a result goes to stdout. A test that differs is named, with what differs.
Never: no record is read here; `operations/trial.py` does that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import typer

from event_processor.assembly import STDIN_ARGUMENT, Environment, InputFormat, is_pipe
from event_processor.cli.context import invocation, load
from event_processor.cli.output import counted, one_line, write_json, write_lines
from event_processor.cli.process import require_stream
from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import ExitCode, UsageError
from event_processor.operations.trial import SAMPLE_BYTES_MAX, SampleRecord, Trial, run_test, try_file, try_records

__all__ = ["command"]


def command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Sample records, or - for standard input.")] = "",
    *,
    source: Annotated[str, typer.Option(metavar="NAME", help="Read records like this configured source.")] = "",
    record_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="jsonl, csv, json or package.module:Class.")
    ] = "",
    item_path: Annotated[str, typer.Option(metavar="PATH", help="With json: the path of the records, such as value.item.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what each sample record would become: its outcome, its fields and its groups, then the rows of the result.

    No state is read or changed, and no sink gets anything. Without a FILE, runs every table [[tests]] of the configuration, and exits
    with 65 if something is not as the table expects.
    """
    configuration = load(invocation(context)).configuration
    if file:
        trial = _tried(configuration, file, InputFormat(source, record_format, item_path))
        if as_json:
            write_lines([_document(trial)])
        else:
            write_lines(_lines(file, trial))
        return
    _run_tests(configuration, as_json=as_json)


def _tried(configuration: Configuration, file: str, chosen: InputFormat) -> Trial:
    if file == STDIN_ARGUMENT:
        require_stream(is_kept=False)
        content = sys.stdin.buffer.read(SAMPLE_BYTES_MAX + 1)
    elif is_pipe(file):
        # A sample is read twice, and a pipe only once.
        try:
            with open(file, "rb") as stream:
                content = stream.read(SAMPLE_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {error.strerror}", hint="name a file that can be read") from error
    else:
        return try_file(configuration, Environment(), file, chosen)
    return try_records(configuration, Environment(), content, chosen)


def _run_tests(configuration: Configuration, *, as_json: bool) -> None:
    """Runs the tests of the configuration. Raises `typer.Exit` if one differs, `UsageError` if there is none."""
    if not configuration.tests:
        raise UsageError(
            "no records to test: no FILE is named, and the configuration has no [[tests]]",
            hint="name a file, or - for standard input; or write a table [[tests]] with records, and outcomes or rows",
        )
    results = [run_test(configuration, Environment(), test) for test in configuration.tests]
    differing = sum(bool(each.differences) for each in results)
    if as_json:
        tests = [{"name": each.name, "ok": not each.differences, "differences": list(each.differences)} for each in results]
        write_json({"ok": not differing, "tests": tests})
    else:
        for each in results:
            write_lines([f"{'differs' if each.differences else 'ok'}: {one_line(each.name)}"])
            write_lines(f"  {one_line(difference)}" for difference in each.differences)
        write_lines([f"{counted(len(results), 'test')}: {len(results) - differing} ok, {differing} differ"])
    if differing:
        raise typer.Exit(ExitCode.STATE)


def _lines(file: str, trial: Trial) -> Iterator[str]:
    """A line for each record, a line for each aggregate that it counts in, and the rows of the result."""
    for record in trial.records:
        yield one_line(f"{file}:{record.line}  {record.outcome:<9}  {_said(record)}").rstrip()
        for name, group in record.groups.items():
            yield one_line(f"    aggregate {name}: {_group(group)}")
    counts = trial.counts
    outcomes = f"{counts.accepted} accepted, {counts.duplicate} duplicate, {counts.rejected} rejected, {counts.blank} blank"
    yield f"{counts.records} records: {outcomes}"
    yield from (one_line(omission) for omission in trial.omissions)
    for row in trial.rows:
        yield f"row: {_json(row)}"


def _said(record: SampleRecord) -> str:
    """Its fields, or why it was rejected."""
    if record.reason:
        return record.reason
    if record.outcome == "blank":
        return ""
    fields = {"id": record.id, "category": record.category, "value": record.value, "timestamp": record.timestamp}
    said = ", ".join(f"{name} {_json(value)}" for name, value in fields.items() if value is not None)
    event = b"" if record.event is None else bytes(record.event)
    return f"{said}: {event.decode()}"


def _group(group: Mapping[str, Any] | None) -> str:
    if group is None:
        return "left out"
    return _json(group) if group else "all events"


def _json(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _document(trial: Trial) -> str:
    """The output of `test FILE --json`. docs/json-output.md says what each key means. A number of an event keeps its digits."""
    document = {"records": trial.records, "counts": trial.counts, "rows": trial.rows, "left_out": trial.omissions}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
