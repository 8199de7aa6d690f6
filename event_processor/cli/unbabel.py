"""`unbabel_cli`: the moving average of delivery times, for every minute, from a file to stdout.

Owns: the options with the names that its users know, and the options that messages of `process` name. They call `process` with
the configuration beside this file, which is also in the example of the moving average.
Always: the rows are those of `process` with that configuration. Every option that a message names is here.
Never: nothing is computed here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import Annotated, Final

import typer

from event_processor.aggregation.windows.windows import WindowSummary
from event_processor.assembly import CONNECTOR_OPTIONS, STDIN_ARGUMENT, InputFormat, recognised, with_inputs
from event_processor.cli import boundary
from event_processor.cli.context import Invocation, real_environment
from event_processor.cli.output import counted, drop_unwritten
from event_processor.cli.process import COST, INPUTS, RESULT, WORKERS_MAX, ProcessCall, require_stream, size_bytes
from event_processor.configuration import ConfigurationRequest, load_configuration
from event_processor.configuration.aggregates import WINDOW_S_MAX
from event_processor.configuration.configuration import Configuration, LogOptions
from event_processor.operations.processing import Processed, require_outputs
from event_processor.storage.durable import OperatingSystem

__all__ = ["main", "moving_average"]

PROGRAM: Final = "unbabel_cli"
MINUTE_S: Final = 60
AGGREGATE: Final = "delivery_time"


def main() -> None:
    """The console script."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:]
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["--help", "-h"]}
    )
    app.command()(_command)
    exit_code = boundary.run_application(arguments, lambda: boundary.Call(app, arguments, PROGRAM), PROGRAM)
    drop_unwritten()
    sys.exit(exit_code)


def moving_average(window_minutes: int, invocation: Invocation | None = None) -> Configuration:
    """The configuration of the moving average over `window_minutes`, without its sinks."""
    overrides = (invocation or Invocation()).overrides()
    with as_file(files("event_processor.cli") / "moving_average.toml") as path:
        request = ConfigurationRequest(working_directory=os.getcwd(), config_paths=(str(path),), overrides=overrides)
        loaded = load_configuration(request, CONNECTOR_OPTIONS).configuration
    options = loaded.aggregates[AGGREGATE]
    assert options.window is not None, "it is an average over windows"
    # A window longer than all readable time would hold the same events.
    window = options.window.model_copy(update={"size_s": min(window_minutes * MINUTE_S, WINDOW_S_MAX)})
    aggregates = {AGGREGATE: options.model_copy(update={"window": window})}
    return loaded.model_copy(update={"aggregates": aggregates, "sinks": {}, "log": LogOptions(level="warning")})


def _command(
    *,
    input_file: Annotated[
        str,
        typer.Option(
            "--input_file",
            metavar="FILE",
            help="The events: JSON Lines, or a JSON document. - for standard input.",
            rich_help_panel=INPUTS,
        ),
    ],
    window_size: Annotated[
        int, typer.Option("--window_size", min=1, metavar="MINUTES", help="The length of the window, in minutes.")
    ],
    record_format: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="jsonl or json. Default: as the file begins.", rich_help_panel=INPUTS),
    ] = "",
    item_path: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="With --format json: the path of the events, such as value.item.", rich_help_panel=INPUTS
        ),
    ] = "",
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="FILE", help="The result file. Default: standard output.", rich_help_panel=RESULT),
    ] = None,
    dead_letters: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file for rejected records.", rich_help_panel=RESULT)
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the state here, to resume a stopped run.", rich_help_panel=COST)
    ] = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(parser=size_bytes, metavar="SIZE", help="Bytes per read: 4MiB.", rich_help_panel=COST),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=WORKERS_MAX, metavar="N", help="How many threads or processes decode.", rich_help_panel=COST),
    ] = None,
) -> None:
    """Write the mean duration of the deliveries of the last MINUTES, for every minute.

    The first row is for the minute of the first delivery, the last row for the minute after the last delivery. An event whose
    event_name is another than translation_delivered is left out and counted.

    Exits with 65 if every record was rejected, and otherwise like event-processor process.
    """
    called = Invocation(state_directory=state)
    configuration = _configured(window_size, called, chunk_size, workers)
    if input_file == STDIN_ARGUMENT:
        require_stream(is_kept=state is not None)
    configuration = _with_input(configuration, input_file, InputFormat(format=record_format, item_path=item_path))
    environment = real_environment(configuration)
    require_outputs(configuration, environment, [path for path in (output, dead_letters) if path is not None])
    ProcessCall(
        called,
        configuration,
        environment,
        output,
        dead_letters,
        is_kept=state is not None,
        as_json=True,
        notes=_left_out,
        needs_an_event=True,
    ).run()


def _configured(window_minutes: int, called: Invocation, chunk_bytes: int | None, workers: int | None) -> Configuration:
    configuration = moving_average(window_minutes, called)
    changes: dict[str, object] = {}
    if chunk_bytes is not None:
        changes["batch"] = configuration.batch.model_copy(update={"bytes_max": chunk_bytes})
    if workers is not None:
        changes["engine"] = configuration.engine.model_copy(update={"workers": workers})
    return configuration.model_copy(update=changes)


def _with_input(configuration: Configuration, input_file: str, chosen: InputFormat) -> Configuration:
    """The configuration for the file, in the chosen form, or else in the one that its first bytes show."""
    peeked = b""
    if chosen == InputFormat():
        chosen, peeked = recognised(OperatingSystem(), input_file, {"timestamp", configuration.event.value})
    return with_inputs(configuration, OperatingSystem(), [input_file], chosen, peeked=peeked)


def _left_out(processed: Processed) -> Iterator[str]:
    """How many events the rows leave out, because they are no deliveries."""
    summary = processed.aggregates.get(AGGREGATE)
    if isinstance(summary, WindowSummary) and (count := processed.counts.accepted - summary.counts.events):
        yield f"{counted(count, 'event')} left out: event_name is not translation_delivered"
