"""`unbabel_cli`: the moving average of delivery times, for every minute, from a file to stdout.

Owns: two options with the names that its users know. They call `process` with the configuration beside this file, which is also
in the example of the moving average.
Always: the rows are those of `process` with that configuration.
Never: nothing is computed here.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import as_file, files
from typing import Annotated, Final

import typer

from event_processor.assembly import CONNECTOR_OPTIONS, InputFormat, with_inputs
from event_processor.cli import boundary
from event_processor.cli.context import Invocation, real_environment
from event_processor.cli.output import drop_unwritten
from event_processor.cli.process import ProcessCall
from event_processor.configuration import ConfigurationRequest, load_configuration
from event_processor.configuration.aggregates import WINDOW_S_MAX
from event_processor.configuration.configuration import Configuration, LogOptions
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


def moving_average(window_minutes: int) -> Configuration:
    """The configuration of the moving average over `window_minutes`, without its sinks."""
    with as_file(files("event_processor.cli") / "moving_average.toml") as path:
        request = ConfigurationRequest(working_directory=os.getcwd(), config_paths=(str(path),))
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
        str, typer.Option("--input_file", metavar="FILE", help="The events, one JSON object a line. - for standard input.")
    ],
    window_size: Annotated[
        int, typer.Option("--window_size", min=1, metavar="MINUTES", help="The length of the window, in minutes.")
    ],
) -> None:
    """Write the mean duration of the deliveries of the last MINUTES, for every minute.

    The first row is for the minute of the first event, the last row for the minute after the last event.
    """
    configuration = with_inputs(moving_average(window_size), OperatingSystem(), [input_file], InputFormat())
    environment = real_environment(configuration)
    ProcessCall(Invocation(), configuration, environment, None, None, is_kept=False, as_json=True).run()
