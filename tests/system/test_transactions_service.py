"""The prediction service and the generator of the example of transactions, and the validation before the service."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.modules import modules_of
from support.processes import DEADLINE_S
from support.transactions import EXAMPLE, FIELDS, called, category, folder_of, is_sound, made, rows_of, service

# The prediction service.


def test_the_tests_of_the_prediction_service_pass() -> None:
    finished = called(EXAMPLE, "-W", "error", "-m", "unittest", "ml_api.test_ml_api")
    assert finished.returncode == 0, finished.stderr


def test_the_command_of_the_document_gets_its_prediction() -> None:
    command = re.search(r"curl -X POST http://localhost:8000/predict.*?\]'", (EXAMPLE / "HOWTO.md").read_text(), re.DOTALL)
    assert command is not None
    body = command[0][command[0].index("'[") + 1 : -1]
    with service() as address:
        finished = subprocess.run(
            ["bash", "-c", command[0].replace("http://localhost:8000", address)],
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
    number = int(json.loads(body)[0]["id"].replace("-", ""), 16)
    assert json.loads(finished.stdout) == [{"transaction_id": json.loads(body)[0]["id"], "category": category(number)}]


def test_a_service_whose_port_is_taken_says_so() -> None:
    with service() as address:
        finished = called(EXAMPLE, "-m", "ml_api", "--port", address.rpartition(":")[2])
    assert finished.returncode == 1
    assert "cannot listen on 127.0.0.1:" in finished.stderr
    assert "Traceback" not in finished.stderr


# The generator.


def test_the_file_has_the_form_of_the_document(tmp_path: Path) -> None:
    assert made(tmp_path) | {"file": ""} == {"file": "", "rows": 10_000, "bad": 0, "faults": {}}
    first, *lines = (tmp_path / "data" / "transactions.csv").read_text(encoding="utf-8").splitlines()
    assert first == "id;description;amount;timestamp;merchant;operation_type;side"
    form = re.compile(
        r'\d+;"(?:[^"]|"")+";-?\d+,\d\d;"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d";"(?:[^"]|"")*";"[a-z_]+";"(?:debit|credit)"'
    )
    assert [line for line in lines if not form.fullmatch(line)] == []
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 10_001)]
    moments = [row["timestamp"] for row in rows]
    assert moments != sorted(moments)
    assert 200 < sum(row["merchant"] == "" for row in rows) < 800
    assert all((row["side"] == "debit") == row["amount"].startswith("-") for row in rows)
    assert any(not row["description"].isascii() for row in rows)
    assert any('"' in row["merchant"] for row in rows)


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        made(tmp_path / name, "--rows", "200", "--bad", "20", "--seed", seed)
        files.append((tmp_path / name / "data" / "transactions.csv").read_bytes())
    assert files[0] == files[1] != files[2]


def test_every_kind_of_fault_is_made_and_breaks_its_row_alone(tmp_path: Path) -> None:
    said = made(tmp_path, "--rows", "300", "--bad", "30")
    assert said["bad"] == sum(said["faults"].values()) == 30
    assert len(said["faults"]) == 9
    assert sum(not is_sound(row) for row in rows_of(tmp_path)) == 30


@pytest.mark.parametrize("options", [("--rows", "-1"), ("--rows", "2", "--bad", "3"), ("--bad", "-1")])
def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    finished = called(tmp_path, str(EXAMPLE / "generate.py"), "--output", "x.csv", *options)
    assert finished.returncode == 2
    assert not (tmp_path / "x.csv").exists()


# The validation.


@pytest.mark.parametrize(
    ("changes", "is_accepted"),
    [
        ({"id": 0}, True),
        ({"id": 2**63 - 1}, True),
        ({"description": "", "merchant": ""}, True),
        ({"description": "é \u2028 😀 \\u0000"}, True),
        ({"amount": "-99999999,99"}, True),
        ({"amount": "0,000000000000000000000000000000000000000000000001"}, True),
        ({"timestamp": "0001-01-01 00:00:00"}, False),
        ({"timestamp": "9999-12-31 23:59:59.123456"}, False),
        ({"timestamp": "2023-11-28T06:35:12+14:00"}, True),
        ({"timestamp": "1701153312"}, False),
    ],
)
def test_what_the_validation_lets_pass_the_service_takes(tmp_path: Path, changes: dict[str, Any], is_accepted: bool) -> None:
    folder = folder_of(tmp_path)
    number = changes.get("id", 1)
    row = {"id": 1, "description": "x", "amount": "-952,40", "timestamp": "2023-11-28 06:35:12", "merchant": "EDF"} | changes
    (folder / "data").mkdir()
    cells = (f'"{value}"' if isinstance(value, str) and "," not in value else str(value) for value in row.values())
    text = f"{';'.join(FIELDS)}\n{';'.join(cells)};refund;debit\n"
    (folder / "data" / "transactions.csv").write_text(text, encoding="utf-8")
    settings = [word for name in ("event-processor", "batch") for word in ("--config", f"{name}.toml")]
    (folder / "file.toml").write_text('[sinks.kept]\npath = "out/kept.jsonl"\n', encoding="utf-8")
    text = (folder / "event-processor.toml").read_text(encoding="utf-8")
    without_sinks = text[: text.index("[sinks.")] + text[text.index("[state]") :]
    (folder / "event-processor.toml").write_text(without_sinks, encoding="utf-8")
    finished = called(folder, "-m", "event_processor", *settings, "--config", "file.toml", "run", "--once", "--drain")
    assert finished.returncode == 0, finished.stderr
    kept = (folder / "out" / "kept.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(kept) == is_accepted
    (prediction,) = modules_of(EXAMPLE, "ml_api.prediction")
    for line in kept:
        assert prediction.predictions(f"[{line}]".encode()) == [
            {"transaction_id": json.loads(line)["id"], "category": category(number)}
        ]
