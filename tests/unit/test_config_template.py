import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from event_processor.configuration import ConfigurationFaultsError, ConfigurationRequest, ConnectorOptions, load_configuration
from event_processor.configuration.configuration import Configuration, Section
from event_processor.configuration.template import configuration_template, key_documentation, short_template
from event_processor.configuration.transforms import TransformOptions
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.options import keys_of

CONNECTOR_OPTIONS = ConnectorOptions(
    sources={"file": FileSourceOptions},
    sinks={"file": FileSinkOptions},
    default_type="file",
    default_sources={"events": {"path": "events/events.jsonl"}},
)
EARLIER_INIT = Path(__file__).parents[1] / "support" / "earlier_init.toml"
"""What `init` wrote before it wrote ten lines."""


def load(folder: Path) -> Configuration:
    request = ConfigurationRequest(working_directory=str(folder), system_path=str(folder / "none"))
    return load_configuration(request, CONNECTOR_OPTIONS).configuration


def test_the_template_says_exactly_the_defaults(tmp_path: Path) -> None:
    defaults = load(tmp_path)
    (tmp_path / "event-processor.toml").write_text(configuration_template(CONNECTOR_OPTIONS), encoding="utf-8")
    assert load(tmp_path) == defaults


def test_the_short_template_has_ten_lines_and_says_the_defaults(tmp_path: Path) -> None:
    defaults = load(tmp_path)
    text = short_template(CONNECTOR_OPTIONS)
    assert len(text.splitlines()) == 10
    (tmp_path / "event-processor.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path) == defaults


def test_what_an_earlier_init_wrote_is_still_valid_and_says_the_defaults(tmp_path: Path) -> None:
    defaults = load(tmp_path)
    shutil.copy(EARLIER_INIT, tmp_path / "event-processor.toml")
    earlier = load(tmp_path)
    assert earlier.batch.pace_s == 0, "it wrote linger_ms = 0: each event is committed at once, as before"
    assert earlier.model_copy(update={"batch": defaults.batch}) == defaults


def test_the_values_of_the_template_are_those_of_the_manual() -> None:
    tables: dict[str, Any] = tomllib.loads(configuration_template(CONNECTOR_OPTIONS))
    assert tables["sources"]["events"]["path"] == "events/events.jsonl"
    assert tables["event"]["id"] == "id"
    assert tables["order"] == {"buffer_events": 1024, "idle_release_ms": 2000}
    assert '\n# by = "id"\n' in configuration_template(CONNECTOR_OPTIONS), "written, it would not follow the windows"
    assert tables["batch"]["bytes_max"] == 4_194_304
    assert "sinks" not in tables


def test_the_sink_that_is_commented_out_is_one_that_may_be_had(tmp_path: Path) -> None:
    head, _, rest = configuration_template(CONNECTOR_OPTIONS).partition("# [sinks.NAME]")
    sink, gap, tail = rest.partition("\n\n")
    keys = "\n".join(line.removeprefix("# ") if " = " in line else line for line in sink.split("\n"))
    (tmp_path / "event-processor.toml").write_text(f"{head}[sinks.NAME]{keys}{gap}{tail}", encoding="utf-8")
    assert load(tmp_path).sinks["NAME"].paths() == (f"{tmp_path}/out/ordered.jsonl",)


def test_no_key_without_a_default_lacks_an_example() -> None:
    assert [
        line for line in configuration_template(CONNECTOR_OPTIONS).split("\n") if line.startswith("# ") and line.endswith('= ""')
    ] == []


@pytest.mark.parametrize(
    ("source", "sink", "is_refused"),
    [
        ('path = "log.jsonl"', "log.jsonl.sorted", True),
        ('path = "log.jsonl"', "log.sorted", False),
        ('path = "log.jsonl"\nrotated = "old/*"', "log.jsonl.sorted", False),
        ('path = "*.jsonl"', "log.jsonl.sorted", True),
        ('path = "*.jsonl"\nrotated = "old/{name}-*"', "old/log.jsonl-1", True),
    ],
)
def test_a_sink_does_not_write_where_a_source_would_take_it_for_a_rotated_file(
    tmp_path: Path, source: str, sink: str, is_refused: bool
) -> None:
    (tmp_path / "event-processor.toml").write_text(f'[sources.a]\n{source}\n[sinks.b]\npath = "{sink}"', encoding="utf-8")
    try:
        load(tmp_path)
        refused = False
    except ConfigurationFaultsError as error:
        refused = [fault.key for fault in error.faults] == ["sinks.b.path"]
    assert refused == is_refused


def test_the_transform_that_is_commented_out_is_one_that_may_be_had(tmp_path: Path) -> None:
    head, _, rest = configuration_template(CONNECTOR_OPTIONS).partition("# [[transforms]]")
    table, gap, tail = rest.partition("\n\n")
    lines = [re.sub(r"^# (?=(?!class)[a-z0-9_]+ = )", "", line) for line in table.split("\n")]
    assert "keep = []" in lines
    (tmp_path / "event-processor.toml").write_text("\n".join([f"{head}[[transforms]]", *lines, gap, tail]), encoding="utf-8")
    assert load(tmp_path).transforms == (TransformOptions.model_validate({}),)
    assert '# class = "package.module:Class"' in table


def sections() -> list[type[Section]]:
    core = [info.annotation for info in Configuration.model_fields.values()]
    kinds = [kind for kind in core if isinstance(kind, type) and issubclass(kind, Section)]
    return [*kinds, TransformOptions, FileSourceOptions, FileSinkOptions]


@pytest.mark.parametrize("section", sections())
def test_every_key_has_its_documentation(section: type[Section]) -> None:
    assert section.__doc__
    said = key_documentation(section)
    assert [key for key in keys_of(section) if not said.get(key) and key not in {"type", "path"}] == []
