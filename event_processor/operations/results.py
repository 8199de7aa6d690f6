"""The result of a one-shot run, as rows: JSON objects, one a line.

Owns: the content and the order of rows. They are a contract (docs/json-output.md).
Always: the rows are a function of the inputs and the configuration.
Never: knows where the rows go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from event_processor.aggregation.groups import GroupTotalsDocument
from event_processor.aggregation.windows.rows import group_line
from event_processor.assembly import result_file
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import StateDocument
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import FileSystem

__all__ = ["ResultRow", "has_table", "result_lines", "result_rows"]

ResultRow: TypeAlias = dict[str, Any]
"""One row. If `has_table`, all rows of a result have the same keys in the same order."""


def has_table(configuration: Configuration) -> bool:
    """Whether the result is one table of readable size: False with windows or several aggregates."""
    aggregates = configuration.aggregates
    return len(aggregates) <= 1 and not configuration.has_windows


def result_rows(lines: Iterator[bytes]) -> Iterator[ResultRow]:
    """Yields the decoded lines."""
    return (msgspec.json.decode(line) for block in lines for line in block.splitlines())


def result_lines(configuration: Configuration, state: StateDocument, fs: FileSystem) -> Iterator[bytes]:
    """Yields the whole result in blocks of whole lines.

    If aggregates are declared, the rows are theirs; otherwise those of the categories. With several aggregates, in order of
    name, each row starts with the name of its aggregate.
    """
    if not configuration.aggregates:
        yield from _totals(state)
    for name, options in sorted(configuration.aggregates.items()):
        opening = b"{" if len(configuration.aggregates) == 1 else b'{"aggregate": "%b", ' % name.encode()
        if options.window is None:
            document = state.aggregates.get(name, GroupTotalsDocument())
            assert isinstance(document, GroupTotalsDocument), "the state was made by this configuration"
            for each in document.groups:
                # In the order of the configuration, because the checkpoint sorts its keys.
                named = [(field, each.group[field]) for field in options.group_by]
                yield opening + group_line(named, [(measure, each.measures[measure]) for measure in options.measures])[1:]
            continue
        for lines in committed_lines(fs, *result_file(configuration, name, state.appended)):
            yield b"".join(opening + line[1:] + b"\n" for line in lines)


def _totals(state: StateDocument) -> Iterator[bytes]:
    """Yields a row for each category, ascending by name."""
    for name, total in sorted(state.categories.items()):
        fields = msgspec.to_builtins(total)
        del fields["sum_parts"]  # the representation of the exact sum, not its value
        yield msgspec.json.encode({"category": name, **fields}) + b"\n"
