"""The options of a sink in a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from event_processor import load
from event_processor.configuration import ConfigurationFaultsError

BEGIN = '[sources.log]\npath = "log.jsonl"\n'
SINK = """[sinks.rows]
type = "sql"
url = "sqlite:///out/results.db"
table = "results"
columns = { id = "text", amount = "double" }
"""


def loaded(folder: Path, text: str) -> Any:
    (folder / "shop.toml").write_text(BEGIN + text, encoding="utf-8")
    return load(str(folder / "shop.toml"))


def faults_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationFaultsError) as caught:
        loaded(folder, text)
    return "\n".join(str(fault).partition(": ")[2] for fault in caught.value.faults)


def test_a_relative_database_is_beside_the_configuration(tmp_path: Path) -> None:
    options = loaded(tmp_path, SINK).sinks["rows"]
    assert options.url == f"sqlite:///{tmp_path}/out/results.db"
    assert options.target() == {"type": "sql", "database": "sqlite:///out/results.db", "table": "results"}
    assert (options.order, options.request_events_max) == ("strict", 5000)
    absolute = loaded(tmp_path, SINK.replace("out/results.db", "/srv/results.db")).sinks["rows"]
    assert absolute.url == "sqlite:////srv/results.db"


def test_the_pipeline_is_called_as_its_file_unless_it_has_a_name(tmp_path: Path) -> None:
    assert loaded(tmp_path, SINK).state.name == "shop"
    assert loaded(tmp_path, SINK + '[state]\nname = "orders"\n').state.name == "orders"
    assert "state.name" in faults_of(tmp_path, SINK + '[state]\nname = "a b"\n')


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sqlite:///out/results.db", "mysql://db/shop", 'an address such as "sqlite:///out/results.db"'),
        ("sqlite:///out/results.db", "postgresql://u:secret@db/shop", "an address without a password"),
        ("sqlite:///out/results.db", "sqlite:///", 'an address such as "sqlite:///out/results.db"'),
        ('url = "sqlite:///out/results.db"\n', "", "exactly one of url, url_env and url_file"),
        ('"results"', '"event_processor_x"', "a name of letters, digits and _"),
        ('"results"', '"a; DROP TABLE b"', "a name of letters, digits and _"),
        ('id = "text"', 'id = "varchar"', "sinks.rows.columns"),
        ('id = "text"', 'id = "numeric(2,3)"', '"numeric(p,s)" with at most 1000 digits, s of them after the point'),
        ('id = "text"', 'id = "numeric(1001,0)"', '"numeric(p,s)" with at most 1000 digits'),
        ('id = "text"', '_id = "text"', "names of letters, digits and _ that begin with a letter"),
        ('id = "text"', 'AMOUNT = "text"', "case makes no difference"),
        ('columns = { id = "text", amount = "double" }', "columns = {}", "sinks.rows.columns"),
        ("columns", 'upsert = ["other"]\ncolumns', '"other" is not one'),
        ("columns", 'order = "none"\ncolumns', "sinks.rows.order"),
    ],
)
def test_a_fault_says_what_is_wanted(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SINK
    assert words in faults_of(tmp_path, SINK.replace(old, new))


def test_a_precision_has_one_form(tmp_path: Path) -> None:
    columns = '{ a = "numeric(10, 2)", b = { type = "numeric(5)", field = "c" } }'
    options = loaded(tmp_path, SINK.replace('{ id = "text", amount = "double" }', columns)).sinks["rows"]
    assert options.typed_columns() == {"a": "numeric(10,2)", "b": "numeric(5,0)"}


def test_a_sink_that_replaces_rows_has_its_table_alone(tmp_path: Path) -> None:
    second = SINK.replace("sinks.rows", "sinks.more")
    assert len(loaded(tmp_path, SINK + second).sinks) == 2
    words = faults_of(tmp_path, SINK + second + 'upsert = ["id"]\n')
    assert words.endswith("wanted: another table: sinks.rows writes there too, and one replaces rows")
    assert loaded(tmp_path, SINK + second.replace('"results"', '"more"') + 'upsert = ["id"]\n')


def test_a_field_that_an_enricher_sets_may_be_a_column(tmp_path: Path) -> None:
    keep = '[[transforms]]\nkeep = ["id", "category", "value", "amount"]\n'
    services = '[services.ml]\nbase_url = "http://127.0.0.1:9"\n[enrichers.ml]\nservice = "ml"\nset = { kind = "category" }\n'
    sink = SINK.replace('id = "text"', 'id = "text", kind = "text"')
    assert 'it has no "kind"' in faults_of(tmp_path, keep + sink)
    assert loaded(tmp_path, keep + sink + 'enrich = ["ml"]\n' + services)


@pytest.mark.parametrize(
    "address",
    ["postgresql://u:hunter2@db/shop", "postgresql://u:hunt/hunter2@db/shop", "postgresql://db/shop?user=a&password=hunter2"],
)
def test_a_password_in_an_address_is_in_no_message(tmp_path: Path, address: str) -> None:
    for text in (
        SINK.replace("sqlite:///out/results.db", address),
        f'[services.api]\nbase_url = "{address.replace("postgresql", "http")}"\n',
    ):
        found = faults_of(tmp_path, text)
        assert "***" in found
        assert "hunter2" not in found
