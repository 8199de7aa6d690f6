"""`metrics`: writes what is committed as metrics, without a server.

Owns: the command.
Always: the file is replaced as a whole, so a collector never reads half of it.
Never: names a metric (`operations/metrics.py` does).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import write_lines
from event_processor.model.errors import ConfigurationError, UsageError
from event_processor.operations.metrics import MetricFamily, metric_families
from event_processor.operations.state_access import peek
from event_processor.operations.status import status_of
from event_processor.storage.durable import replace_file

__all__ = ["command"]

NAME: Final = "metrics"


def command(
    context: typer.Context,
    *,
    textfile: Annotated[
        str | None,
        typer.Option("--textfile", metavar="PATH", help="Replace this file, for the textfile collector of node_exporter."),
    ] = None,
) -> None:
    """Write the metrics of what is committed, in the text format of Prometheus. Works with and without a daemon."""
    if textfile == "":
        raise UsageError("--textfile has an empty name", hint="name a file that ends with .prom")
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    checkpoint = peek(configuration, environment)
    content = _text(metric_families(status_of(checkpoint, configuration, environment), checkpoint))
    if textfile is None:
        write_lines(content.decode().splitlines())
        return
    # Under another name than *.prom until it is whole, and durable: after a power cut the old file or the new one is there.
    replace_file(environment.fs, textfile, [content], NAME)


def _text(families: Iterable[MetricFamily]) -> bytes:
    try:
        from event_processor.service.web.exposition import metrics_text  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            f"metrics needs prometheus-client, which cannot be imported: {error}",
            hint="install it: pip install 'event-processor[http]'",
        ) from error
    return metrics_text(families)
