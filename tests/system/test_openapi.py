"""The description of the API is true: requests that are made from it, good and bad ones, are answered as it says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from event_processor.assembly import Environment
from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.cli.context import Invocation, load
from event_processor.operations.state_access import owned_state
from support.asgi import asked
from support.sites import application_here, open_intake

CONFIGURATION = """
[http]
listen = "127.0.0.1:0"
allowed_hosts = ["testserver"]
[intake]
enabled = true
[jobs]
pipelines_dir = "pipelines"
input_dirs = ["inputs"]
[sources.log]
path = "log.jsonl"
[aggregates.by_kind]
group_by = ["kind"]
measures = { events = "count" }
"""
LINES = [{"id": number, "category": f"c{number % 3}", "value": number, "kind": number % 2} for number in range(20)]
EXAMPLES = 20
MAY_REFUSE = ("/v1/events", "/v1/dead-letters/retry", "/v1/jobs", "/v1/uploads")
"""Which objects are events, the configuration says: the others are 422. For JSON Schema 1.0 is an integer, for the second it is 400. The
last two refuse inputs, parameters and lengths that the configuration does not allow."""
STREAMS = "/v1/commits"
"""It never ends, so it has a test of its own over a socket."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    folder = tmp_path_factory.mktemp("described")
    (folder / "event-processor.toml").write_text(CONFIGURATION)
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES) + "not an event\n")
    variables = {name: os.environ.pop(name) for name in ("EVENT_PROCESSOR_CONFIG", "STATE_DIRECTORY") if name in os.environ}
    with chdir(folder):
        assert run(["run", "--once"], COMMANDS) == 0
        with owned_state(load(Invocation()).configuration, Environment()):  # otherwise nothing runs, and it is not ready
            intake = open_intake()
            yield schemathesis.openapi.from_asgi("/openapi.json", application_here(intake=intake))
            intake.close()
    os.environ.update(variables)


def test_every_operation_answers_as_it_is_described(schema: BaseSchema) -> None:
    checked = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path == STREAMS:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable):  # nothing about it can be wrong
                _check(operation, mode)
        checked.add((operation.method, operation.path))
    assert len(checked) == 34


def _check(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def answers_as_described(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if operation.path in MAY_REFUSE else None)

    answers_as_described()


def test_every_path_is_described_and_each_answer_that_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    with chdir(tmp_path):
        document = asked(application_here(), "/openapi.json").json
    assert set(document["paths"]) == {
        "/", "/healthz", "/metrics", "/readyz", "/session", "/v1/aggregates", "/v1/aggregates/{name}",
        "/v1/aggregates/{name}/rows", "/v1/bottleneck", "/v1/categories", "/v1/commits", "/v1/dead-letters",
        "/v1/dead-letters/export", "/v1/dead-letters/retry", "/v1/events", "/v1/history", "/v1/jobs", "/v1/jobs/{id}",
        "/v1/jobs/{id}/cancel", "/v1/jobs/{id}/dead-letters", "/v1/jobs/{id}/result", "/jobs", "/v1/pipeline", "/v1/uploads", "/v1/uploads/{id}",
        "/v1/receipts/{position}", "/v1/records", "/v1/sinks", "/v1/sources", "/v1/state",
    }  # fmt: skip
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {"400", "401", "403", "421", "503"} <= operation["responses"].keys(), (path, method)
