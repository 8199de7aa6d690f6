"""The batch run as a DAG of Airflow: wait for the file, validate, load, verify, make the views, check.

Owns: the order of the steps, their retries, and that only one run is at work.
Always: each step is a command that can be typed by hand. A step that is repeated changes nothing that is done already.
Never: puts the database's address into a command or a log. event-processor reads it from `DATABASE_URL`.

Settings, from the environment of Airflow: `TRANSACTIONS_DATABASE` ("sqlite" or "postgres"), `ML_API_URL`, `TRANSACTIONS_PYTHON` (the
Python that has event-processor), `TRANSACTIONS_FOLDER` (the example's folder), `TRANSACTIONS_RETRIES` (of a step; 3).
"""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

FOLDER = os.environ.get("TRANSACTIONS_FOLDER") or str(Path(__file__).resolve().parents[2])
PYTHON = os.environ.get("TRANSACTIONS_PYTHON", "python3")
DATABASE = os.environ.get("TRANSACTIONS_DATABASE", "sqlite")
RETRIES = int(os.environ.get("TRANSACTIONS_RETRIES", "3"))
ML_API_URL = os.environ.get("ML_API_URL", "http://127.0.0.1:8000")
PROGRAM = (
    f"PYTHONPATH=.:$PYTHONPATH {PYTHON} -m event_processor --config event-processor.toml --config batch.toml --config {DATABASE}.toml "
    f"--set services.ml.base_url={ML_API_URL}"
)
STEPS = {
    "file": f"test -s data/transactions.csv || {PYTHON} generate.py",
    "validate": f"{PROGRAM} validate",
    "load": f"{PROGRAM} run --once",
    "verify": f"{PROGRAM} verify",
    "views": f"{PYTHON} views.py --database {DATABASE}",
    "check": f"{PYTHON} check.py --database {DATABASE}",
}

with DAG(
    dag_id="transactions_batch",
    description="Transactions from the CSV, through the prediction service, into the database",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    # If the service or the database does not answer, a load ends with 69. The next try goes on where it was.
    default_args={"retries": RETRIES, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    tags=["transactions"],
    doc_md=__doc__,
) as dag:
    steps = [BashOperator(task_id=name, bash_command=command, cwd=FOLDER, append_env=True) for name, command in STEPS.items()]
    for before, after in itertools.pairwise(steps):
        before >> after
