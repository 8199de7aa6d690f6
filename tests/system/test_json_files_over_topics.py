"""The example of large JSON files over topics of a real broker: its page, and the users of one process, whatever is killed."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.documents import ROOT, play, session
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.processes import MAIN_JOB, Finished, Pipeline, wait_until

EXAMPLE = ROOT / "examples" / "004-json-files"
PAGE = EXAMPLE / "TOPICS.md"
MAKER = runpy.run_path(str(EXAMPLE / "make_users.py"))
IGNORED = shutil.ignore_patterns("state", "out", "work", "large*")
FILES = 4
USERS_A_FILE = 3_000
FAULTS_EVERY = 997
PART_EVENTS = 987
RUN_S_MAX = 300
"""Far above what a slow machine needs, so that only a run that hangs reaches it."""


class Example:
    """A copy of the example, with topics of its own. Its commands are called as a person calls them."""

    def __init__(self, folder: Path, brokers: str) -> None:
        shutil.copytree(EXAMPLE, folder, ignore=IGNORED)
        self.folder = folder
        self.topics = folder / "topics"
        self.environment = {**os.environ, "KAFKA_BROKERS": brokers, "TOPIC_PREFIX": folder.parent.name}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "topics.py", *arguments]
        environment, output = self.environment, subprocess.PIPE
        return subprocess.Popen(command, cwd=self.topics, env=environment, text=True, stdout=output, stderr=subprocess.STDOUT)

    def call(self, *arguments: str) -> Finished:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=RUN_S_MAX)
        return Finished(process.returncode, said)

    def process_id(self, name: str) -> int:
        return int((self.topics / "work" / f"{name}.pid").read_text())

    def kill(self, name: str) -> None:
        """With -9, and with everything that it started. Waits for its end."""
        process_id = self.process_id(name)
        os.killpg(process_id, signal.SIGKILL)
        wait_until(lambda: not is_running(process_id), f"{name} is gone")

    def kill_all(self) -> None:
        for path in self.topics.glob("work/*.pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(path.read_text()), signal.SIGKILL)

    def count_of(self, name: str) -> int:
        """How many records a stage has committed."""
        try:
            counts = json.loads((self.topics / "work" / name / "checkpoint.json").read_bytes())["state"]["counts"]
        except FileNotFoundError:
            return 0
        return int(counts["records"])

    def first_file_with(self, records: int) -> Path:
        """Waits until so many records of a file are in the topic. The folder of that file."""
        found: list[Path] = []

        def is_there() -> bool:
            found[:] = [file for file in self.topics.glob("work/files/*") if sent(file) >= records]
            return bool(found)

        wait_until(is_there, f"{records} records of a file are in the topic")
        return found[0]

    def dead_letters(self) -> list[str]:
        """The rejected records at all stages, by their own bytes."""
        paths = [*self.topics.glob("work/*/dead_letters.jsonl"), *self.topics.glob("work/files/*/state/dead_letters.jsonl")]
        return sorted(record for path in paths for record in records_of(path))

    def parts(self) -> list[list[dict[str, Any]]]:
        paths = {int(path.stem.rpartition("_")[2]): path for path in self.topics.glob("out/results_batch_*.json")}
        assert sorted(paths) == list(range(1, len(paths) + 1))
        return [json.loads(path.read_bytes()) for _, path in sorted(paths.items())]


def is_running(process_id: int) -> bool:
    """Whether it runs. One that ended and was not waited for, because its parent is gone, does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def records_of(path: Path) -> list[str]:
    return [json.loads(line)["record"] for line in path.read_bytes().splitlines()]


def by_id(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return sorted((user for part in parts for user in part), key=lambda user: str(user["id"]))


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests(transaction_abort_timed_out_transaction_cleanup_interval_ms="1000") as broker:
        yield broker


@pytest.fixture
def example(broker: KafkaBroker, tmp_path: Path) -> Iterator[Example]:
    made = Example(tmp_path / "example", broker.address)
    yield made
    made.kill_all()


def test_the_page_says_what_is_said(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("jq") is None and os.environ.get("CI") != "true":
        pytest.skip("needs jq")
    for name in ("KAFKA_BROKERS", "TOPIC_PREFIX"):
        monkeypatch.setenv(name, example.environment[name])
    steps = session(PAGE, language="console kafka")
    assert len(steps) > 8
    faults = [
        f"{step.place}: $ {step.command}\n  expected {list(step.expected)}\n  said     {said}"
        for step, said in zip(steps, play(steps, example.folder), strict=True)
        if not step.is_answered_by(said)
    ]
    assert not faults, "\n".join(faults)


def test_worker_transformer_and_broker_killed_on_the_way_and_each_user_once_in_arrays_of_987(
    broker: KafkaBroker, example: Example, tmp_path: Path
) -> None:
    documents = large_documents(example.folder / "large")
    single = single_process_over(tmp_path / "single", documents)
    # Small commits and transactions, so that a kill is in the middle.
    for name, records in (("reader", 50), ("transformer", 200)):
        path = example.topics / f"{name}.toml"
        text = path.read_text(encoding="utf-8").replace('record_key = "id"', f'record_key = "id"\nrequest_events_max = {records}')
        path.write_text(f"{text}\n[batch]\nbytes_max = 65536\n", encoding="utf-8")
    assert example.call("up").exit_code == 0
    assigning = example.start("assign", *map(str, documents))
    file = example.first_file_with(200)
    name = worker_of(file)
    stop_reader_of(example.process_id(name))
    early = example.call("down", "--drain")
    assert (early.exit_code, early.stderr.split(":")[0]) == (69, "not drained, because not every file is read"), early
    stopped_at = sent(file)
    wait_until(lambda: sent(file) > stopped_at + 200, "the reader goes on")
    example.kill(name)
    assert sent(file) < USERS_A_FILE - 10, "it came to its end before it was killed"
    wait_until(lambda: example.count_of("transformer-1") > 0, "a part of the users is transformed")
    example.kill("transformer-1")
    assert example.count_of("transformer-1") < FILES * USERS_A_FILE // 3, "it came to its end before it was killed"
    broker.kill()
    broker.start()
    assert example.call("up", "transformer-1").exit_code == 0
    said, _ = assigning.communicate(timeout=RUN_S_MAX)
    assert assigning.returncode == 0, said
    other = {"worker-1": "worker-2", "worker-2": "worker-1"}[name]
    assert said.count(f"done by {other}") >= FILES - 1, said
    assert "waiting by" in said, "a reader that was stopped is started again"
    status = example.call("status")
    assert (status.exit_code, status.stderr.count("does not run")) == (69, 1), status
    drained = example.call("down", "--drain")
    assert drained.exit_code == 0, drained
    parts = example.parts()
    assert [len(part) for part in parts] == [PART_EVENTS] * 12 + [144]
    assert by_id(parts) == by_id([json.loads(path.read_bytes()) for path in single.glob("out/*.json")])
    assert example.dead_letters() == sorted(records_of(single / "state" / "dead_letters.jsonl"))
    assert not [id_ for id_, count in Counter(user["id"] for part in parts for user in part).items() if count > 1]


def stop_reader_of(worker: int) -> None:
    """With TERM. It commits what it has read, and ends in the middle of its file."""
    (reader,) = map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
    os.kill(reader, signal.SIGTERM)


def large_documents(folder: Path) -> list[Path]:
    folder.mkdir()
    MAKER["make_large"](folder, USERS_A_FILE)
    return sorted(folder.iterdir())


def single_process_over(folder: Path, documents: list[Path]) -> Path:
    """The folder of the example without topics, run over these documents."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("state", "out", "users", "work", "topics"))
    shutil.copytree(documents[0].parent, folder / "users")
    shutil.copy(folder / "event-processor.toml", folder / "pipeline.toml")
    ended = Pipeline(folder, folder, MAIN_JOB).command_of("run", "--once", "--drain", environment={"PYTHONPATH": str(folder)})
    assert ended.exit_code == 0, ended.stderr
    return folder


def sent(file: Path) -> int:
    """How many records of a file are in the topic, by the folder of the file."""
    try:
        return int(json.loads((file / "state" / "delivery" / "users.json").read_bytes())["counts"]["delivered"])
    except FileNotFoundError:
        return 0


def worker_of(file: Path) -> str:
    """The worker that reads it, which is the only one so far."""
    (log,) = file.glob("worker-*.log")
    return log.stem


def test_without_a_broker_it_says_what_to_do(tmp_path: Path) -> None:
    made = Example(tmp_path / "example", "127.0.0.1:1")
    started = [made.start(*words) for words in (["up"], ["assign", "x.json"], ["status"], ["down", "--drain"], ["clean"])]
    for process in started:
        said, _ = process.communicate(timeout=RUN_S_MAX)
        assert (process.returncode, said.count("\n")) == (69, 1), said
        assert "no broker of Kafka answers at 127.0.0.1:1: start one there, or say where it is: KAFKA_BROKERS=" in said


@pytest.mark.parametrize(
    ("said", "is_at_the_end", "words"),
    [
        (
            '{"event": "stopped", "reason": "signal"}\n9 records: 9 accepted\nsink users: 9 delivered',
            False,
            "sink users: 9 delivered",
        ),
        ('{"event": "stopped", "reason": "end of input"}\nnot read: cut\nsink users: 9 delivered', True, "not read: cut"),
        ("event-processor: …/lock: held by process 7\n  stop it first", False, "event-processor: …/lock: held by process 7"),
        ("", False, "see {log}"),
    ],
)
def test_a_reader_that_was_stopped_is_not_taken_for_one_that_came_to_the_end(
    said: str, is_at_the_end: bool, words: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text(said, encoding="utf-8")
    code = "import sys, pathlib, worker; job = worker.Job(None, None, '', pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-B", "-c", f"{code}; print(job.is_at_the_end()); print(job.words())", str(log)]
    ended = subprocess.run(command, cwd=EXAMPLE / "topics", text=True, capture_output=True, check=True)
    assert ended.stdout.splitlines() == [str(is_at_the_end), words.format(log=log)]


def test_the_transformer_has_the_transforms_of_the_example() -> None:
    def shared(path: Path) -> dict[str, Any]:
        configuration = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: configuration[name] for name in ("transforms", "event", "order")}

    assert shared(EXAMPLE / "topics" / "transformer.toml") == shared(EXAMPLE / "event-processor.toml")
