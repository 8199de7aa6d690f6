"""`[[transforms]]` as the configuration reads it: its spellings, its faults with their places, its part in the state's hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.configuration import (
    ConfigurationFaultsError,
    ConfigurationRequest,
    ConnectorOptions,
    LoadedConfiguration,
    load_configuration,
)
from event_processor.configuration.configuration import Configuration
from event_processor.configuration.parts import changed_parts, config_hash, config_parts
from event_processor.configuration.toml_files import key_lines
from event_processor.configuration.transforms import TransformOptions
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions

CONNECTOR_OPTIONS = ConnectorOptions(
    sources={"file": FileSourceOptions},
    sinks={"file": FileSinkOptions},
    default_type="file",
    default_sources={"events": {"path": "events/events.jsonl"}},
)


def load(folder: Path, *texts: str) -> LoadedConfiguration:
    names = []
    for number, text in enumerate(texts):
        names.append(f"{number}.toml")
        (folder / names[-1]).write_text(text, encoding="utf-8")
    asked = ConfigurationRequest(working_directory=str(folder), config_paths=tuple(names), system_path=str(folder / "none"))
    return load_configuration(asked, CONNECTOR_OPTIONS)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationFaultsError) as raised:
        load(folder, text)
    return [str(fault).removeprefix("0.toml:") for fault in raised.value.faults]


def configured(*tables: dict[str, Any]) -> Configuration:
    return Configuration(sources={}, transforms=tuple(TransformOptions.model_validate(table) for table in tables))


def test_a_table_inside_a_table_says_the_same_as_a_dotted_name(tmp_path: Path) -> None:
    spellings = [
        '[[transforms]]\nrename = { "a.b.c" = "d.e", "a.x" = "y" }\nset = { "p.q" = [1, {r = "s"}] }',
        '[[transforms]]\nrename.a.b.c = "d.e"\nrename.a.x = "y"\nset.p.q = [1, {r = "s"}]',
        '[[transforms]]\n[transforms.rename.a]\nb.c = "d.e"\nx = "y"\n[transforms.set.p]\nq = [1, {r = "s"}]',
        'transforms = [{rename = {a = {b = {c = "d.e"}, x = "y"}}, set = {p = {q = [1, {r = "s"}]}}}]',
    ]
    loaded = [load(tmp_path, text).configuration.transforms for text in spellings]
    assert loaded == [loaded[0]] * 4
    assert loaded[0][0].rename == {"a.b.c": "d.e", "a.x": "y"}
    assert loaded[0][0].set == {"p.q": [1, {"r": "s"}]}


def test_a_later_file_replaces_all_tables_of_an_earlier_one(tmp_path: Path) -> None:
    first = '[[transforms]]\nkeep = ["a"]\n[[transforms]]\nkeep = ["b"]'
    loaded = load(tmp_path, first, '[[transforms]]\n\ndrop = ["c"]')
    assert [table.parts() for table in loaded.configuration.transforms] == [{"drop": ["c"]}]
    assert str(loaded.origins["transforms[0].drop"]) == "1.toml:3"
    assert str(loaded.origins["transforms[0].keep"]) == "default"
    assert len(load(tmp_path, first, "[log]").configuration.transforms) == 2


def test_every_value_of_a_table_has_its_origin(tmp_path: Path) -> None:
    text = '[[transforms]]\nkeep = ["a"]\n[[transforms]]\nrename.a.b = "c"\n[transforms.convert]\n"p.q" = "uuid"\n'
    origins = load(tmp_path, text).origins
    assert str(origins["transforms[0].keep"]) == "0.toml:2"
    assert str(origins["transforms[1].rename.a.b"]) == "0.toml:4"
    assert str(origins["transforms[1].convert.p.q"]) == "0.toml:6"
    assert str(origins["transforms[1].uuid5_namespace"]) == "default"
    assert str(load(tmp_path, "transforms = [\n{drop = ['a']}]").origins["transforms[0].drop"]) == "0.toml:1"


def test_the_tables_of_arrays_have_lines_of_their_own() -> None:
    text = "[[a]]\nx=1\n[a.b]\ny=2\n[[a]]\n[[a.c]]\nz=3\n[[a.c]]\n[a.c.d]\n[e]\n[[e.f]]\ng=4"
    assert {key: line for key, line in key_lines(text).items() if len(key) > 1 or "[" in key[0]} == {
        ("a[0]",): 1,
        ("a[0]", "x"): 2,
        ("a[0]", "b"): 3,
        ("a[0]", "b", "y"): 4,
        ("a[1]",): 5,
        ("a[1]", "c[0]"): 6,
        ("a[1]", "c[0]", "z"): 7,
        ("a[1]", "c[1]"): 8,
        ("a[1]", "c[1]", "d"): 9,
        ("e", "f[0]"): 11,
        ("e", "f[0]", "g"): 12,
    }


def test_all_faults_come_at_once_and_name_their_place(tmp_path: Path) -> None:
    text = """\
[[transforms]]
rename.user.name = 5
kep = ["a"]
[transforms.convert]
amount = "decimal"
[[transforms]]
class = "Class"
options = 5
drop = ["a", 7]
keep = ["a", "a.b"]
set = { x = 1979-05-27 }
rename = { a = "b.", c = "d" }
[[transforms]]
class = "a:B"
keep = ["a"]
[[transforms]]
options = { x = nan }
uuid5_namespace = "x"
uuid5 = { a = { b = "c" }, "a.b" = "d" }
[[transforms]]
options = { x = 1 }
[[transforms]]
drop = ["a", "a"]
set = { x = 9223372036854775808 }
rename = { x = "a", y = "a.b" }
"""
    conversions = '"string", "integer", "number", "boolean", "uuid" or "timestamp"'
    json_value = "as a string, a finite 64-bit number, true or false, an array or a table"
    apart = "wanted: names that are not inside one another"
    assert faults(tmp_path, text) == [
        "2: transforms[0].rename.user.name = 5: wanted: a string",
        '3: transforms[0].kep = ["a"]: not a known key; did you mean transforms[0].keep?',
        f'5: transforms[0].convert.amount = "decimal": wanted: {conversions}',
        '7: transforms[1].class = "Class": wanted: "package.module:Class"',
        "8: transforms[1].options = 5: wanted: a table",
        "9: transforms[1].drop[1] = 7: wanted: a string",
        f'10: transforms[1].keep = ["a", "a.b"]: {apart}',
        f'11: transforms[1].set = a table: wanted: "x" {json_value}',
        "12: transforms[1].rename = a table: wanted: names with text before and after each dot",
        "13: transforms[2] = a table: wanted: only class and options: put the other keys into another [[transforms]] table",
        f'17: transforms[3].options = a table: wanted: "x" {json_value}',
        '18: transforms[3].uuid5_namespace = "x": wanted: a UUID, such as "d5d65ec9-07bc-5a2f-a965-0ac359daf1da"',
        "19: transforms[3].uuid5 = a table: wanted: each name once",
        "20: transforms[4] = a table: wanted: options only together with class",
        '23: transforms[5].drop = ["a", "a"]: wanted: each name once',
        f'24: transforms[5].set = a table: wanted: "x" {json_value}',
        f"25: transforms[5].rename = a table: {apart}",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[transforms]\nkeep = ['a']", "1: transforms = a table: wanted: an array of tables: [[transforms]]"),
        ("[transforms]", "1: transforms: wanted: an array of tables: [[transforms]]"),
        ("\ntransforms = 5", "2: transforms = 5: wanted: an array of tables: [[transforms]]"),
        ("transforms = [5]", "1: transforms = [5]: wanted: an array of tables: [[transforms]]"),
        ("transforms = [{},\n{keep = 5}]", "1: transforms[1].keep = 5: wanted: an array"),
    ],
)
def test_what_is_no_array_of_tables_is_a_fault(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_a_configuration_without_transforms_has_the_hash_that_it_always_had() -> None:
    parts = config_parts(configured())
    assert not [key for key in parts if key.startswith("transforms")]
    assert config_hash(parts) == config_hash(config_parts(Configuration(sources={})))


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ([], [{"keep": ("a",)}], ["transforms[0].keep"]),
        ([{"set": {"a": 1}}], [{"set": {"a": 1.0}}], ["transforms[0].set"]),
        ([{"rename": {"a": "x", "b": "y"}}], [{"rename": {"b": "y", "a": "x"}}], ["transforms[0].rename"]),
        ([{"class": "a:B"}], [{"class": "a:B", "options": {"x": 1}}], ["transforms[0].options"]),
        (
            [{"drop": ("a",)}, {"drop": ("b",)}],
            [{"drop": ("b",)}, {"drop": ("a",)}],
            ["transforms[0].drop", "transforms[1].drop"],
        ),
    ],
)
def test_what_the_tables_say_is_part_of_the_state_and_their_order_too(
    before: list[dict[str, Any]], after: list[dict[str, Any]], keys: list[str]
) -> None:
    old, new = config_parts(configured(*before)), config_parts(configured(*after))
    assert [change.key for change in changed_parts(old, new)] == keys
    assert config_hash(old) != config_hash(new)


def test_the_effective_configuration_is_toml_that_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[[transforms]]\nrename = { "user.id" = "@id" }\nset = { n = 1, "x y" = [true] }\n[[transforms]]\nclass = "a:B"\noptions.x = "é"'
    before = load(tmp_path, text).configuration
    assert run(["--config", str(tmp_path / "0.toml"), "config"], COMMANDS) == 0
    written = capsys.readouterr().out
    assert "[[transforms]]" in written
    after = load(tmp_path, written).configuration
    assert after.transforms == before.transforms
