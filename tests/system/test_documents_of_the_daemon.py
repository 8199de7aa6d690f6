"""The daemon on JSON documents: what the items give as JSON Lines, killed in the middle, compressed, or cut short."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from support.processes import Pipeline, kill_on_the_way

ITEMS = 4_000
BATCH_BYTES = 16_384


def item(number: int) -> str:
    """Every fiftieth comes twice, every five hundredth is no event, and some hold what looks like the end of an item."""
    name = number - 40 if number % 50 == 7 and number > 500 else number
    if number % 500 == 3:
        return json.dumps({"id": name})
    return json.dumps(
        {"id": name, "category": f"c{number % 9}", "value": number % 997, "note": '}]"' if number % 11 == 0 else "é"}
    )


def document(items: list[str]) -> bytes:
    """As an API writes it, over several lines, with something around the items."""
    body = ",\n  ".join(each.replace(", ", ",\n   ") for each in items)
    return f'{{"@odata.context": "https://example.org/[{{", "value": [\n  {body}\n], "more": [1, {{}}]}}\n'.encode()


def pipeline(folder: Path, content: bytes, *, as_document: bool) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=BATCH_BYTES)
    made.prepare(content)
    path = folder / "pipeline.toml"
    keys = 'format = "json"\njson_item_path = "value.item"\n[order]' if as_document else "[order]"
    path.write_text(path.read_text().replace("[order]", keys))
    return made


def totals(made: Pipeline) -> object:
    """What both must say alike: everything but places."""
    committed = made.committed()
    assert committed is not None
    sink = [json.loads(each) for each in committed.sink.splitlines()]
    return committed.state["categories"], committed.state["counts"], sink


@pytest.fixture(scope="module")
def as_json_lines(tmp_path_factory: pytest.TempPathFactory) -> object:
    lines = "".join(f"{item(number)}\n" for number in range(ITEMS)).encode()
    made = pipeline(tmp_path_factory.mktemp("jsonl"), lines, as_document=False)
    assert made.run().exit_code == 0
    return totals(made)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_documents_items_are_counted_as_lines_would_be(compressed: bool, as_json_lines: object, tmp_path: Path) -> None:
    content = document(list(map(item, range(ITEMS))))
    made = pipeline(tmp_path, gzip.compress(content) if compressed else content, as_document=True)
    finished = made.run()
    assert finished.exit_code == 0, finished.stderr
    assert totals(made) == as_json_lines
    assert made.verify().exit_code == 0


def test_killed_in_the_middle_of_a_document_it_goes_on_behind_the_last_item(as_json_lines: object, tmp_path: Path) -> None:
    made = pipeline(tmp_path, document(list(map(item, range(ITEMS)))), as_document=True)
    kill_on_the_way(made, made.log.stat().st_size, kills=3)
    assert made.run().exit_code == 0
    assert totals(made) == as_json_lines


def test_a_document_cut_short_keeps_what_came_before_and_says_where_it_broke(tmp_path: Path) -> None:
    content = document(list(map(item, range(100))))
    broken = content[: content.index(item(60).split(", ")[0].encode()) + 5]
    made = pipeline(tmp_path, broken, as_document=True)
    finished = made.run()
    assert finished.exit_code == 66, finished.stderr
    assert f"the document is cut short: it ends at byte {len(broken)}" in finished.stderr
    committed = made.committed()
    assert committed is not None
    counts = committed.state["counts"]
    assert isinstance(counts, dict)
    assert (counts["records"], counts["accepted"], counts["rejected"]) == (61, 59, 2)
    letters = [json.loads(each) for each in committed.dead_letters.splitlines()]
    assert [letter["line"] for letter in letters] == [4, 61]


def test_a_fault_between_items_ends_the_document_behind_what_came_before(tmp_path: Path) -> None:
    content = document(list(map(item, range(100))))
    place = content.index(item(60).split(", ")[0].encode())
    made = pipeline(tmp_path, content[:place] + b"}" + content[place:], as_document=True)
    finished = made.run()
    assert finished.exit_code == 66, finished.stderr
    assert f"not JSON at byte {place}: expected a value, not '}}'" in finished.stderr
    committed = made.committed()
    assert committed is not None
    counts = committed.state["counts"]
    assert isinstance(counts, dict)
    assert counts["records"] == 60
