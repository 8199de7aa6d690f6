"""The page on what is reached: every system that the documents name has its row, and a row claims only what exists."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from event_processor.assembly import SINK_OPTIONS, SOURCE_OPTIONS
from event_processor.cli import COMMANDS
from support.documents import ROOT, blocks

PAGE = ROOT / "docs" / "reach.md"
NAMED = [
    "Apache Kafka", "AWS Kinesis", "Google Pub/Sub", "Apache Flink", "Apache Spark", "S3", "BigQuery", "Snowflake", "PostgreSQL",
    "MySQL", "MongoDB", "DynamoDB", "Elasticsearch, Kibana", "CloudWatch", "Prometheus, Grafana", "Airflow", "Docker",
]  # fmt: skip
"""What the five documents name."""


def rows() -> dict[str, tuple[str, str, str]]:
    """System -> today, configuration, tried."""
    _, table = PAGE.read_text(encoding="utf-8").split("| system |", 1)
    lines = list(table.split("\n\n", 1)[0].splitlines()[2:])
    cells = [[cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")] for line in lines]
    return {system: (today, configuration, tried) for system, today, configuration, tried in cells}


def configured_types() -> set[str]:
    """The kinds of sinks that the page's configurations have."""
    text = "\n".join(block.text for block in blocks(PAGE) if block.language == "toml")
    return set(re.findall(r'^type = "(\w+)"', text, re.MULTILINE))


@pytest.mark.parametrize("system", NAMED)
def test_every_system_that_the_documents_name_has_a_row(system: str) -> None:
    assert system in rows()


@pytest.mark.parametrize("system", rows())
def test_a_row_has_its_configuration_or_says_that_there_is_none(system: str) -> None:
    today, configuration, tried = rows()[system]
    if today.startswith("not yet"):
        assert (configuration, tried) == ("", "")
    else:
        assert "](" in configuration
        assert tried


def accepts(url: str) -> bool:
    """Whether a sink in a database may have this address."""
    try:
        SINK_OPTIONS["sql"].model_validate({"type": "sql", "url": url, "table": "t", "columns": {"id": "text"}})
    except (KeyError, ValidationError):
        return False
    return True


def test_what_is_not_there_yet_is_not_there() -> None:
    """If this fails, something was added: its row needs its configuration."""
    missing = {system for system, (today, *_) in rows().items() if today.startswith("not yet")}
    kinds = set(SINK_OPTIONS) | set(SOURCE_OPTIONS)
    assert ("Apache Kafka" in missing) == ("kafka" not in kinds)
    assert ("Prometheus, Grafana" in missing) == ("metrics" not in {entry.name for entry in COMMANDS})
    assert ("PostgreSQL" in missing) == (not accepts("postgresql://127.0.0.1/database"))
    assert "s3" in SOURCE_OPTIONS, "the row of S3 says source"
    assert "s3" in SINK_OPTIONS, "the row of S3 says sink"


def test_what_is_claimed_is_there() -> None:
    assert configured_types() == {"http", "kafka", "python", "sql"}
    assert accepts("sqlite:///out/results.db")
    assert configured_types() <= set(SINK_OPTIONS)
    assert {"run", "verify", "process", "status"} <= {entry.name for entry in COMMANDS}


def test_the_class_on_the_page_is_a_class_that_a_sink_can_use() -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    names: dict[str, object] = {}
    exec(compile(text, str(PAGE), "exec"), names)
    deliver = vars(names["Documents"])["deliver"]
    assert deliver.__code__.co_varnames[:3] == ("self", "records", "keys")
