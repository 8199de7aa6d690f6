"""The DAG of the example of transactions, run by Airflow, in an environment of its own (`make .venv-airflow/ready`)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from support.documents import ROOT, SESSION_S_MAX
from support.transactions import folder_of, made, service

AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
STEPS = ["file", "validate", "load", "verify", "views", "check"]

pytestmark = pytest.mark.skipif(
    not AIRFLOW.exists() and os.environ.get("CI") != "true", reason="Airflow is not there: make .venv-airflow/ready"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, with a small file."""
    folder = folder_of(tmp_path)
    made(folder, "--rows", "600", "--bad", "6")
    return folder


def airflow(home: Path, folder: Path, address: str, *command: str) -> str:
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
        "ML_API_URL": address,
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


def test_airflow_runs_every_step_of_the_batch(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "airflow"
    with service() as address:
        said = airflow(home, folder, address, "db", "migrate")
        assert (home / "airflow.db").exists(), said
        said = airflow(home, folder, address, "dags", "test", "transactions_batch")
    assert states(home) == dict.fromkeys(STEPS, "success"), said
    assert list(states(home)) == STEPS
    assert "check: right: 594 transactions as in the file, each with its prediction; 6 bad rows" in said
