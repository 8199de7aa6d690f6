"""Writes docs/checkpoint.schema.json, the JSON Schema of `checkpoint.json`, from the types that read and write it."""

from __future__ import annotations

import json
from pathlib import Path

from event_processor.engine.checkpoint_document import checkpoint_schema

SCHEMA_PATH = Path(__file__).parent.parent / "docs" / "checkpoint.schema.json"

if __name__ == "__main__":
    SCHEMA_PATH.write_text(json.dumps(checkpoint_schema(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
