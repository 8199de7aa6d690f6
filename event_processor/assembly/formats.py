"""The format in which a source's records are read: how its lines become events.

Owns: `record_format`, and `format_factory`, which makes it here or in another process.
Always: only these functions need the readers of records; a command that reads none does not import this file.
Never: reads a record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from event_processor.configuration.configuration import Configuration
from event_processor.model.contracts import Format, ObjectReader
from event_processor.model.options import SourceOptions
from event_processor.records.json_lines.format import JsonLinesFormat

__all__ = ["format_factory", "record_format"]


def record_format(configuration: Configuration, options: SourceOptions) -> Format:
    """The format in which a source's records are read. Raises `ConfigurationError`."""
    return format_factory(configuration, options)()


def format_factory(configuration: Configuration, options: SourceOptions) -> Callable[[], Format]:
    """A callable that makes that format, here or in another process."""
    event, record_bytes_max = configuration.event, options.record_bytes_max
    timestamps_used = configuration.timestamps_are_used
    make_reader: Callable[[], ObjectReader] | None = options.object_reader(event.value)
    if make_reader is None and not configuration.transforms:
        return partial(JsonLinesFormat, event, record_bytes_max=record_bytes_max, timestamps_used=timestamps_used)
    # Most records are JSON Lines as they are, and need none of this.
    from event_processor.records.objects import LineReader, ObjectFormat, TransformedReader  # noqa: PLC0415
    from event_processor.records.transforms.tables import transform_factories  # noqa: PLC0415

    if make_reader is None:
        make_reader = partial(LineReader, record_bytes_max=record_bytes_max)
    for make_transform in transform_factories(configuration.transforms, event.timestamp_zone):
        make_reader = partial(TransformedReader, make_reader, make_transform)
    return partial(ObjectFormat, make_reader, event, record_bytes_max=record_bytes_max, timestamps_used=timestamps_used)
