"""The DAG of the example of transactions, run by Airflow, in an environment of its own (`make .venv-airflow/ready`)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.documents import ROOT, SESSION_S_MAX
from support.processes import DEADLINE_S

EXAMPLE = ROOT / "examples" / "003-transactions"
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
STEPS = ["file", "validate", "load", "verify", "views", "check"]

pytestmark = pytest.mark.skipif(
    not AIRFLOW.exists() and os.environ.get("CI") != "true", reason="Airflow is not there: make .venv-airflow/ready"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, with a small file."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "out", "state*", "work", "__pycache__", ".venv"))
    subprocess.run([sys.executable, "generate.py", "--rows", "600", "--bad", "6"], cwd=folder, check=True, timeout=DEADLINE_S)
    return folder


@pytest.fixture
def service() -> Iterator[str]:
    """The address of a prediction service."""
    command = [sys.executable, "-m", "ml_api", "--port", "0"]
    with subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def called(home: Path, folder: Path, service: str, *command: str) -> str:
    """What Airflow says. It knows nothing of this machine's settings."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "EVENT_PROCESSOR_", "COVERAGE_"))
    }
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "TRANSACTIONS_PYTHON": sys.executable,
        "TRANSACTIONS_RETRIES": "0",
        "ML_API_URL": service,
        "PYTHONPATH": str(ROOT),
    }
    finished = subprocess.run(
        [AIRFLOW, *command],
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SESSION_S_MAX,
    )
    return finished.stdout


def states(home: Path) -> dict[str, str]:
    """The state of each task of the last run. Airflow's exit code does not say which failed."""
    with closing(sqlite3.connect(home / "airflow.db")) as connection:
        return dict(connection.execute("SELECT task_id, state FROM task_instance ORDER BY start_date").fetchall())


def test_airflow_runs_every_step_of_the_batch(folder: Path, service: str, tmp_path: Path) -> None:
    home = tmp_path / "airflow"
    said = called(home, folder, service, "db", "migrate")
    assert (home / "airflow.db").exists(), said
    said = called(home, folder, service, "dags", "test", "transactions_batch")
    assert states(home) == dict.fromkeys(STEPS, "success"), said
    assert list(states(home)) == STEPS
    assert "check: right: 594 transactions as in the file, each with its prediction; 6 bad rows" in said
