"""The daemon with transforms: what the transformed events give as they are, killed in the middle or not, with a further process or not."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from support.documents import ROOT, blocks
from support.processes import Committed, Json, Pipeline, kill_on_the_way

ROWS = 24_000
BATCH_BYTES = 131_072
"""Chunks large enough to be handed to a further process, and enough of them."""
TRANSFORMS = """
[[transforms]]
rename = { category = "kind", value = "payload.amount", "user.name" = "userName" }
convert = { value = "number" }
set = { origin = "import" }
[[transforms]]
convert = { id = "uuid" }
keep = ["id", "category", "value", "user.name", "origin"]
"""


def is_bad(number: int) -> bool:
    return number % 500 == 3


def name_of(number: int) -> int:
    """Every fiftieth comes twice."""
    return number - 40 if number % 50 == 7 and number > 500 else number


def record(number: int) -> bytes:
    """As it is logged: amounts are texts, every five hundredth is none, and some users have no name."""
    amount = "a lot" if is_bad(number) else f"{number % 997}.{number % 10}"
    user = f',"userName":"u{number % 3}"' if number % 3 else ""
    return f'{{"id":{name_of(number)},"kind":"c{number % 9}","payload":{{"amount":"{amount}","x":1}}{user}}}\n'.encode()


def event(number: int) -> bytes:
    """What becomes of it; what is no event there is none here either."""
    if is_bad(number):
        return b'{"id":"x"}\n'
    user = f'{{"name":"u{number % 3}"}}' if number % 3 else "null"
    value = f"{number % 997}.{number % 10}"
    made = uuid.UUID(int=name_of(number))
    return f'{{"id":"{made}","category":"c{number % 9}","value":{value},"user":{user},"origin":"import"}}\n'.encode()


def pipeline(folder: Path, log: bytes, extra: str, *, workers: int = 1) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=BATCH_BYTES)
    made.prepare(log)
    with (folder / "pipeline.toml").open("a") as configuration:
        configuration.write(f"{extra}\n[engine]\nworkers = {workers}\n")
    return made


def transformed(folder: Path, *, workers: int = 1) -> Pipeline:
    return pipeline(folder, b"".join(map(record, range(ROWS))), TRANSFORMS, workers=workers)


def committed_of(made: Pipeline) -> Committed:
    committed = made.committed()
    assert committed is not None
    return committed


def told(made: Pipeline) -> tuple[Json, Json, bytes]:
    """What both must say alike: everything but places in the log."""
    committed = committed_of(made)
    return committed.state["categories"], committed.state["counts"], committed.sink


@pytest.fixture(scope="module")
def as_they_are(tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, Json, bytes]:
    made = pipeline(tmp_path_factory.mktemp("plain"), b"".join(map(event, range(ROWS))), "")
    assert made.run().exit_code == 0
    return told(made)


@pytest.mark.parametrize("workers", [1, 2])
def test_transformed_events_give_what_the_same_events_give_as_they_are(
    workers: int, as_they_are: tuple[Json, Json, bytes], tmp_path: Path
) -> None:
    made = transformed(tmp_path, workers=workers)
    finished = made.run()
    assert finished.exit_code == 0, finished.stderr
    assert told(made) == as_they_are
    assert made.verify().exit_code == 0


def test_killed_in_the_middle_it_goes_on_right(as_they_are: tuple[Json, Json, bytes], tmp_path: Path) -> None:
    made = transformed(tmp_path)
    kill_on_the_way(made, made.log.stat().st_size, kills=3)
    assert made.run().exit_code == 0
    assert told(made) == as_they_are


def test_a_dead_letter_is_the_record_as_it_came_and_mended_it_is_transformed(tmp_path: Path) -> None:
    made = transformed(tmp_path)
    assert made.run().exit_code == 0
    before = committed_of(made)
    letters = [json.loads(line) for line in before.dead_letters.splitlines()]
    bad = [number for number in range(ROWS) if is_bad(number)]
    assert [letter["line"] for letter in letters] == [number + 1 for number in bad]
    assert [letter["record"].encode() + b"\n" for letter in letters] == [record(number) for number in bad]
    assert {(letter["stage"], letter["field"], letter["reason"]) for letter in letters} == {
        ("transform", "value", '"value" is not a number: "a lot"')
    }
    mended = tmp_path / "mended.jsonl"
    mended.write_text("".join(json.dumps(letter).replace("a lot", "0.25") + "\n" for letter in letters))
    assert made.command_of("dead-letters", "retry", str(mended)).exit_code == 0
    assert made.run().exit_code == 0
    after = committed_of(made)
    counts, counted = before.state["counts"], after.state["counts"]
    assert isinstance(counts, dict)
    assert isinstance(counted, dict)
    assert counted["accepted"] == counts["accepted"] + len(bad)  # type: ignore[operator]
    last = json.loads(after.sink.splitlines()[-1])
    assert last["value"] == 0.25
    assert last["origin"] == "import"
    assert made.verify().exit_code == 0


def test_other_transforms_over_the_same_state_are_refused_and_name_the_key(tmp_path: Path) -> None:
    made = transformed(tmp_path)
    assert made.run().exit_code == 0
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text().replace('"import"', '"export"'))
    finished = made.run()
    assert finished.exit_code == 78
    assert 'transforms[0].set: [["origin","import"]] -> [["origin","export"]]' in finished.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_the_class_that_the_guide_makes_does_what_it_says(workers: int, tmp_path: Path) -> None:
    guide = ROOT / "docs" / "transforms.md"
    code = next(block.text for block in blocks(guide) if block.language == "python")
    (tmp_path / "prices.py").write_text(code)
    configuration = next(block.text for block in blocks(guide) if "prices:Prices" in block.text and block.language == "toml")
    currencies = ["EUR", "USD"]
    rows = [f'{{"id":{number},"category":"c","amount":{number},"currency":"{currencies[number % 2]}"}}' for number in range(ROWS)]
    rows[10], rows[20] = '{"id":10,"category":"c","amount":1,"currency":"XXX"}', '{"id":20,"category":"c","amount":1}'
    made = pipeline(tmp_path, "\n".join(rows).encode() + b"\n", configuration, workers=workers)
    finished = made.run(environment={"PYTHONPATH": str(tmp_path)})
    assert finished.exit_code == 0, finished.stderr
    committed = committed_of(made)
    assert json.loads(committed.sink.splitlines()[3]) == {"id": 3, "category": "c", "currency": "USD", "value": 2.76}
    letters = [json.loads(line) for line in committed.dead_letters.splitlines()]
    assert [(letter["line"], letter["stage"], letter["reason"]) for letter in letters] == [
        (11, "transform", "no rate for XXX"),
        (21, "transform", "KeyError: 'currency'"),
    ]


def test_where_python_does_not_find_the_class_the_start_is_refused_and_says_so(tmp_path: Path) -> None:
    made = pipeline(tmp_path, b"", '[[transforms]]\nclass = "prices:Prices"\n')
    finished = made.run()
    assert finished.exit_code == 78
    assert 'transforms[0].class: cannot import "prices"' in finished.stderr
    assert "Traceback" not in finished.stderr
