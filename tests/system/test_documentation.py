"""The documentation against what it speaks of: its links, its paths, its commands, its configurations, its sessions."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from event_processor.assembly import SINK_OPTIONS, SOURCE_OPTIONS
from event_processor.cli import COMMANDS
from event_processor.cli.command_line import GLOBAL_OPTIONS, application
from event_processor.cli.examples import EXAMPLES
from event_processor.configuration import ConfigurationRequest, ConnectorOptions, load_configuration
from event_processor.engine.checkpoint_document import checkpoint_schema
from support.documents import ROOT, Block, blocks, pages, play, program_calls, prose, session
from support.reference import Options, evaluate

EXAMPLE = ROOT / "examples" / "002-event-processor"
NAMED_PATH = re.compile(
    r"(?<![\w./-])((?:event_processor|tests|docs|tools|examples|benchmarks|requirements|\.ci)/[\w./-]*\w)(?:::(test_\w+))?"
)
CONNECTOR_OPTIONS = ConnectorOptions(
    sources=SOURCE_OPTIONS,
    sinks=SINK_OPTIONS,
    default_type="file",
    default_sources={"events": {"path": "events/events.jsonl"}},
)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def sessions() -> list[Path]:
    return [page for page in pages() if session(page)]


def configurations() -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.language == "toml"]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    broken = []
    for target, anchor in re.findall(r"\]\(((?!\w+:)[^)#]*)#?([^)]*)\)", prose(page)):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert not broken


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_every_path_and_every_test_that_is_named_exists(page: Path) -> None:
    missing = []
    for path, test in NAMED_PATH.findall(page.read_text(encoding="utf-8")):
        found = ROOT / path
        if not found.exists() or (test and f"def {test}(" not in found.read_text(encoding="utf-8")):
            missing.append(f"{path}::{test}" if test else path)
    assert not missing


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_every_call_of_the_program_is_one_that_it_understands(page: Path) -> None:
    faults = [" ".join(call) for call in program_calls(page) if not is_understood(call)]
    assert not faults


def is_understood(arguments: list[str]) -> bool:
    """Whether the command is there and knows its options."""
    remaining = [word for word in arguments if word != "…"]
    names = {entry.name for entry in COMMANDS}
    called = next((word for word in remaining if word in names), "")
    options = {word.partition("=")[0] for word in remaining if word.startswith("-") and word != "-"}
    command = get_command(application(COMMANDS, called))
    known = options_of(command) | set(GLOBAL_OPTIONS)
    while isinstance(command, typer.core.TyperGroup):
        name = next((word for word in remaining if word in command.commands), None)
        if name is None:
            break
        command = command.commands[name]
        known |= options_of(command)
    return (bool(called) or bool(options)) and options <= known


def test_every_example_of_a_help_is_one_that_the_program_understands() -> None:
    calls = [
        shlex.split(part)[1:]
        for lines in EXAMPLES.values()
        for line in lines
        for part in line.split(" | ")
        if "event-processor" in part
    ]
    assert len(calls) >= len(COMMANDS)
    assert [call for call in calls if not is_understood(call)] == []


def options_of(command: object) -> set[str]:
    assert isinstance(command, typer.core.TyperGroup | typer.core.TyperCommand)
    return {"--help", "-h"} | {name for parameter in command.params for name in parameter.opts}


def test_every_command_has_its_heading_on_the_page_of_commands() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^## `([a-z-]+)`", text, flags=re.MULTILINE))
    assert documented == {entry.name for entry in COMMANDS}


@pytest.mark.parametrize("block", configurations(), ids=lambda block: f"{page_id(block.page)}:{block.line}")
def test_every_configuration_that_is_shown_is_valid(block: Block, tmp_path: Path) -> None:
    shown = tmp_path / "event-processor.toml"
    shown.write_text(block.text, encoding="utf-8")
    request = ConfigurationRequest(
        working_directory=str(tmp_path), config_paths=(str(shown),), system_path=str(tmp_path / "none")
    )
    load_configuration(request, CONNECTOR_OPTIONS)


@pytest.mark.parametrize("page", sessions(), ids=page_id)
def test_every_session_that_is_shown_says_what_it_says(page: Path, tmp_path: Path) -> None:
    if shutil.which("jq") is None and os.environ.get("CI") != "true":
        pytest.skip("needs jq")
    folder = tmp_path / "session"
    if page.parent.parent == EXAMPLE.parent:
        shutil.copytree(page.parent, folder, ignore=shutil.ignore_patterns("state", "out", "large*", "data", "work", ".venv"))
    elif page.parent == ROOT:
        folder.mkdir()
    else:
        shutil.copytree(ROOT / "events", folder / "events")
        shutil.copy(ROOT / "event-processor.toml", folder)
    steps = session(page)
    faults = [
        f"{step.place}: $ {step.command}\n  expected {list(step.expected)}\n  said     {said}"
        for step, said in zip(steps, play(steps, folder), strict=True)
        if not step.is_answered_by(said)
    ]
    assert not faults, "\n".join(faults)


def test_the_tables_of_the_configuration_page_are_those_of_the_models() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "make_configuration_tables.py"))
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert tool["with_tables"](text) == text


def test_the_published_schema_is_that_of_the_program() -> None:
    assert json.loads((ROOT / "docs" / "checkpoint.schema.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(checkpoint_schema())
    )


def test_the_checkpoint_page_names_every_key_of_the_schema() -> None:
    schema = checkpoint_schema()
    text = (ROOT / "docs" / "checkpoint.md").read_text(encoding="utf-8")
    keys = {key for definition in schema["$defs"].values() for key in definition.get("properties", ())}
    assert sorted(key for key in keys if f"`{key}`" not in text) == []


def test_the_expected_output_of_the_example_is_that_of_a_run_and_of_the_independent_model(tmp_path: Path) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("state", "out"))
    play([step for step in session(EXAMPLE / "README.md") if "run --once --drain" in step.command][:1], folder)
    totals = json.loads((EXAMPLE / "expected" / "totals.json").read_text(encoding="utf-8"))
    ordered = (EXAMPLE / "expected" / "ordered.jsonl").read_bytes()
    state = json.loads((folder / "state" / "checkpoint.json").read_text(encoding="utf-8"))["state"]
    assert {"counts": state["counts"], "categories": shown(state["categories"])} == totals
    assert (folder / "out" / "ordered.jsonl").read_bytes() == ordered
    model = evaluate((EXAMPLE / "events.jsonl").read_bytes(), Options(buffer_events=100, finished=True))
    assert model.counts == totals["counts"]
    assert {name: [total.count, total.sum] for name, total in model.categories.items()} == {
        name: [total["count"], total["sum"]] for name, total in totals["categories"].items()
    }


def shown(categories: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Of each category what the example's expected output holds."""
    return {name: {key: total[key] for key in ("count", "sum", "min", "max", "mean")} for name, total in categories.items()}
