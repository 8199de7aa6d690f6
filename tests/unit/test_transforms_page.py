"""The examples of the page on transforms: each configuration turns what is shown into what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from event_processor.configuration.toml_files import parse
from event_processor.configuration.transforms import TransformOptions
from event_processor.records.transforms.tables import transform_factories
from support.documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "transforms.md"


def examples() -> list[tuple[Block, Block, Block]]:
    """A configuration, records, and what becomes of them."""
    shown = [block for block in blocks(PAGE) if block.language in {"toml", "json"}]
    triples = zip(shown, shown[1:], shown[2:], strict=False)
    return [triple for triple in triples if [block.language for block in triple] == ["toml", "json", "json"]]


def test_every_configuration_of_the_page_has_its_example() -> None:
    assert len(examples()) == len([block for block in blocks(PAGE) if block.language == "toml"])


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"line {example[0].line}")
def test_the_page_shows_what_becomes_of_a_record(
    example: tuple[Block, Block, Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration, records, expected = (block.text for block in example)
    (tmp_path / "prices.py").write_text(next(block.text for block in blocks(PAGE) if block.language == "python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    tables: Any = parse("page", configuration.encode(), folder="/").tables["transforms"]
    (factory,) = transform_factories([TransformOptions.model_validate(table) for table in tables], "UTC")
    answers = factory().apply([line.encode() for line in records.splitlines()])
    assert answers == [line.encode() for line in expected.splitlines()]
