"""Every kind of file sink, how it is configured, and how a stranger reads what it wrote.

Never: nothing of the package reads here: JSON by Python's parser, CSV by Python's, Parquet by pyarrow itself.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.storage.durable import FileSystem, read_file

__all__ = ["KINDS", "NAME", "PART_EVENTS", "PART_KINDS", "SinkKind"]

NAME: Final = "out"
PART_EVENTS: Final = 7
COLUMNS: Final = ("id", "category", "payload.note as note")
"""What is written of an event where columns are named."""


@dataclass(frozen=True)
class SinkKind:
    """One way of writing: the last name of its path, and its options."""

    name: str
    file: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writes_parts(self) -> bool:
        return "{n}" in self.file

    def sink(self, folder: str, **more: Any) -> dict[str, FileSinkOptions]:
        """The sinks of a configuration that has this one alone."""
        path = ConfiguredPath(f"{folder}/out/{self.file}", f"out/{self.file}")
        return {NAME: FileSinkOptions.model_validate({"path": path, **self.options, **more})}

    def number(self, name: str) -> int | None:
        """Of which part `name` is the published file."""
        head, _, tail = self.file.partition("{n}")
        match = re.fullmatch(f"{re.escape(head)}([0-9]+){re.escape(tail)}", name)
        return int(match[1]) if match else None

    def files(self, fs: FileSystem, folder: str) -> dict[int, bytes]:
        """What readers find: the parts by their numbers, or the growing file as number 0."""
        found = {}
        for name in fs.names(f"{folder}/out"):
            number = self.number(name) if self.writes_parts else (0 if name == self.file else None)
            if number is not None:
                found[number] = read_file(fs, os.path.join(folder, "out", name)) or b""
        return dict(sorted(found.items()))

    def rows(self, content: bytes) -> list[dict[str, Any]]:
        """What one file holds, as the columns say it; of whole objects those fields alone."""
        if self.options.get("format") == "parquet":
            return list(parquet.read_table(pa.BufferReader(content)).to_pylist())
        if self.options.get("format") == "csv":
            text = io.StringIO(content.decode(), newline="")
            return [{**row, "id": int(row["id"]), "note": row["note"] or None} for row in csv.DictReader(text)]
        if self.options.get("format") == "json":
            return [shown(each) for each in json.loads(content)]
        return [shown(json.loads(line)) for line in content.splitlines()]


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one event."""
    payload = event.get("payload")
    note = payload.get("note") if isinstance(payload, dict) else event.get("note")
    return {"id": event["id"], "category": event["category"], "note": note}


KINDS: Final = {
    kind.name: kind
    for kind in (
        SinkKind("lines", "ordered.jsonl"),
        SinkKind("lines of columns", "ordered.jsonl", {"columns": COLUMNS}),
        SinkKind("csv", "ordered.csv", {"format": "csv", "columns": COLUMNS}),
        SinkKind("parts of lines", "part-{n}.jsonl", {"part_events": PART_EVENTS}),
        SinkKind("json parts", "results_batch_{n}.json", {"format": "json", "part_events": PART_EVENTS}),
        SinkKind("csv parts", "{n}.csv", {"format": "csv", "columns": COLUMNS, "part_events": PART_EVENTS}),
        SinkKind(
            "parquet parts",
            "events-{n}.parquet",
            {"format": "parquet", "columns": COLUMNS, "column_types": {"id": "integer"}, "part_events": PART_EVENTS},
        ),
    )
}
PART_KINDS: Final = [name for name, kind in KINDS.items() if kind.writes_parts]
