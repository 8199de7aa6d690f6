"""What a command must not import: the cost of a command that people type often is what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

OTHER_CONNECTORS = tuple(f"event_processor.connectors.{name}" for name in ("http", "kafka", "python", "s3", "sql"))
EXTRAS = ("confluent_kafka", "httpx2", "obstore", "prometheus_client", "psycopg", "pyarrow", "starlette", "uvicorn")
NOT_TO_SAY_SO = ("event_processor.assembly", "event_processor.configuration", "msgspec", "numpy", "orjson", "rich", "watchdog")
"""A command that reads nothing needs none of these."""
NOT_TO_LOOK = (
    *OTHER_CONNECTORS,
    *EXTRAS,
    "asyncio",
    "event_processor.assembly.opening",
    "event_processor.deduplication.index",
    "event_processor.engine.commit",
    "event_processor.engine.loop",
    "event_processor.records.delimited",
    "event_processor.records.json_lines.format",
    "event_processor.service.daemon",
    "event_processor.service.web",
    "numpy",
    "rich",
    "ssl",
    "watchdog",
)
"""A command that looks at a state, or at the configuration, runs no pipeline, reads no record and has no arrays."""
NOT_TO_RUN_ONCE = (
    *OTHER_CONNECTORS,
    *EXTRAS,
    "asyncio",
    "event_processor.connectors.files.sinks",
    "event_processor.records.delimited",
    "event_processor.records.log_lines",
    "event_processor.service.web",
    "rich",
    "ssl",
    "watchdog",
)
"""A run over JSON Lines without sinks."""
FORBIDDEN: Mapping[str, Sequence[str]] = {
    "version": NOT_TO_SAY_SO,
    "--version": NOT_TO_SAY_SO,
    "--help": (*NOT_TO_SAY_SO, "pydantic"),
    "status": NOT_TO_LOOK,
    "inspect": NOT_TO_LOOK,
    "validate": NOT_TO_LOOK,
    "dead-letters list": NOT_TO_LOOK,
    "sinks list": NOT_TO_LOOK,
    "lost": NOT_TO_LOOK,
    "run --once": NOT_TO_RUN_ONCE,
}
WITNESS = """
import json, sys

arguments, forbidden, found = json.loads(sys.argv[1]), json.loads(sys.argv[2]), {}


class Witness:
    "Is asked for each module that is not imported yet, and finds none."

    def find_spec(self, name, path=None, target=None):
        if name in forbidden and name not in found:
            frame, importers = sys._getframe(1), []
            while frame is not None:
                if frame.f_globals.get("__name__", "").startswith("event_processor"):
                    importers.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                frame = frame.f_back
            found[name] = importers[:4]
        return None


sys.meta_path.insert(0, Witness())
from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run

sys.stdout = open("/dev/null", "w")
code = run(arguments, COMMANDS)
sys.stderr.write("\\n" + json.dumps([code, found]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a state and a configuration."""
    place = tmp_path_factory.mktemp("pipeline")
    event = '{"id":1,"category":"a","value":1,"timestamp":"2026-01-31T00:00:00Z"}\n'
    place.joinpath("events.jsonl").write_text(event, encoding="utf-8")
    place.joinpath("event-processor.toml").write_text('[sources.events]\npath = "events.jsonl"\n', encoding="utf-8")
    subprocess.run([sys.executable, "-m", "event_processor", "run", "--once"], cwd=place, check=True, capture_output=True)
    return place


@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_command_imports_nothing_that_it_does_not_use(command: str, folder: Path) -> None:
    script = [sys.executable, "-c", WITNESS, json.dumps(command.split()), json.dumps(FORBIDDEN[command])]
    called = subprocess.run(script, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False)
    code, found = json.loads(called.stderr.rpartition("\n")[2])
    assert code in (0, 69), called.stderr
    faults = [f"'{command}' imports {name}: {' <- '.join(importers)}" for name, importers in found.items()]
    assert not faults, "\n".join(
        [*faults, "import it in the function that uses it: docs/architecture.md, 'What a command imports'"]
    )
