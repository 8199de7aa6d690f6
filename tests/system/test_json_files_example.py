"""The example of large JSON files: its answers, killed or not, with a further process or not, whole or cut short."""

from __future__ import annotations

import gzip
import json
import runpy
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from support.documents import ROOT
from support.processes import MAIN_JOB, Finished, Pipeline, wait_until

EXAMPLE = ROOT / "examples" / "004-json-files"
MAKER = runpy.run_path(str(EXAMPLE / "make_users.py"))
NAMESPACE = uuid.UUID("d5d65ec9-07bc-5a2f-a965-0ac359daf1da")
PART_EVENTS = 987
USERS_A_FILE = 3_000
FILES = 4
FAULTS_EVERY = 997
BATCH_BYTES = 131_072
"""Chunks large enough to be handed to a further process, and enough of them."""
STRING_FIELDS = ["userPrincipalName", "usageLocation", "mail", "mobilePhone", "userType", "givenName", "surname"]
ACTIVITY_FIELDS = [
    f"last{way}{what}" for way in ("SignIn", "NonInteractiveSignIn", "SuccessfulSignIn") for what in ("DateTime", "RequestId")
]


def transformed(user: dict[str, Any]) -> dict[str, Any]:
    """The output by its definition."""
    activity: dict[str, Any] | None = user.get("signInActivity")

    def sign_in(way: str) -> dict[str, Any]:
        assert activity is not None
        return {"date_time": activity.get(f"last{way}DateTime"), "request_id": activity.get(f"last{way}RequestId")}

    return {
        "id": user["id"],
        "external_id": str(uuid.uuid5(NAMESPACE, user["id"])),
        "mail": user.get("mail"),
        "type": user.get("userType"),
        "location": user.get("usageLocation"),
        "is_enabled": user.get("accountEnabled"),
        "first_name": user.get("givenName"),
        "last_name": user.get("surname"),
        "sign_in_activity": None
        if activity is None
        else {
            "last_sign_in": sign_in("SignIn"),
            "last_non_interactive_sign_in": sign_in("NonInteractiveSignIn"),
            "last_successful_sign_in": sign_in("SuccessfulSignIn"),
        },
    }


def users_of(numbers: Iterable[int], faults_every: int) -> list[dict[str, Any]]:
    """What becomes of those of these numbers that are users."""
    return [transformed(MAKER["user"](number)) for number in numbers if number % faults_every != faults_every - 1]


def pipeline(folder: Path, documents: dict[str, bytes], extra: str = "") -> Pipeline:
    """The example in another folder, over these documents."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("state", "out", "users", "expected"))
    (folder / "users").mkdir()
    for name, content in documents.items():
        (folder / "users" / name).write_bytes(content)
    configuration = (folder / "event-processor.toml").read_text(encoding="utf-8")
    (folder / "pipeline.toml").write_text(configuration + extra, encoding="utf-8")
    return Pipeline(folder, folder, MAIN_JOB)


def called(made: Pipeline, *arguments: str) -> Finished:
    """The program, where Python finds the example's class."""
    return made.command_of(*arguments, environment={"PYTHONPATH": str(made.folder)})


def run(made: Pipeline) -> Finished:
    return called(made, "run", "--once", "--drain")


def parts(folder: Path) -> list[list[dict[str, Any]]]:
    paths = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("out/results_batch_*.json")}
    assert sorted(paths) == list(range(1, len(paths) + 1))
    return [json.loads(path.read_bytes()) for _, path in sorted(paths.items())]


def letters(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "state" / "dead_letters.jsonl").read_bytes().splitlines()]


def read_bytes(made: Pipeline) -> int:
    """How much of all documents is committed."""
    try:
        sources = json.loads(made.checkpoint.read_bytes())["state"]["sources"]
    except FileNotFoundError:
        return 0
    return sum(each["position"]["offset"] for each in sources["users"]["generations"]) if "users" in sources else 0


def kill_on_the_way(made: Pipeline, size_bytes: int, *, kills: int) -> None:
    for part in range(1, kills + 1):
        daemon = made.start("--once", "--drain", environment={"PYTHONPATH": str(made.folder)})
        goal = part * size_bytes // (kills + 1)
        wait_until(lambda daemon=daemon, goal=goal: read_bytes(made) > goal or not daemon.alive, "a part is committed")  # type: ignore[misc]
        assert daemon.kill().exit_code < 0, "it came to its end before it was killed"


def large_document(place: int) -> bytes:
    numbers = range(place * USERS_A_FILE, (place + 1) * USERS_A_FILE)
    return "".join(MAKER["document"](numbers, FAULTS_EVERY)).encode()


def large(folder: Path, files: int, workers: int) -> tuple[Pipeline, int]:
    """The example over so many documents of 3,000 users, and their size in bytes."""
    documents = {f"users-{place}.json": large_document(place) for place in range(files)}
    extra = f"\n[batch]\nbytes_max = {BATCH_BYTES}\n[engine]\nworkers = {workers}\n"
    return pipeline(folder, documents, extra), sum(map(len, documents.values()))


def test_the_sample_is_what_its_script_makes() -> None:
    def plain(content: bytes) -> bytes:
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content

    there = {path.name: plain(path.read_bytes()) for path in (EXAMPLE / "users").iterdir()}
    assert there == {name: plain(content) for name, content in MAKER["sample"]().items()}


def test_the_sample_gives_the_expected_output_which_is_that_of_its_definition(tmp_path: Path) -> None:
    made = pipeline(tmp_path / "example", {path.name: path.read_bytes() for path in (EXAMPLE / "users").iterdir()})
    finished = run(made)
    assert finished.exit_code == 66, "one document is cut short"
    written = (made.folder / "out" / "results_batch_1.json").read_bytes()
    assert written == (EXAMPLE / "expected" / "results_batch_1.json").read_bytes()
    assert json.loads(written) == users_of(range(3 * MAKER["SAMPLE_USERS"] + MAKER["CUT_USER"]), 11)
    expected = (EXAMPLE / "expected" / "dead_letters.jsonl").read_bytes().splitlines()
    assert letters(made.folder) == [json.loads(line) for line in expected]


def test_a_document_that_is_cut_short_keeps_what_came_before_and_says_where_it_broke(tmp_path: Path) -> None:
    content = large_document(0)
    content = content[: content.index(b"user-00002000") + 40]
    made = pipeline(tmp_path / "example", {"users-1.json": content, "users-2.json": large_document(1)})
    finished = run(made)
    assert finished.exit_code == 66, finished.stderr
    assert f"the document is cut short: it ends at byte {len(content)}" in finished.stderr
    found = [user for part in parts(made.folder) for user in part]
    assert sorted(found, key=lambda user: str(user["id"])) == users_of(
        [*range(2000), *range(USERS_A_FILE, 2 * USERS_A_FILE)], FAULTS_EVERY
    )
    cut = [letter for letter in letters(made.folder) if letter["line"] == 2001]
    assert [(letter["stage"], letter["record"]) for letter in cut] == [("decode", content[content.rindex(b'{"id"') :].decode())]


@pytest.mark.parametrize("workers", [1, 2])
def test_one_document_killed_and_resumed_gives_the_parts_of_an_undisturbed_run_to_the_byte(workers: int, tmp_path: Path) -> None:
    whole, size_bytes = large(tmp_path / "whole", 1, 1)
    assert run(whole).exit_code == 0
    killed, _ = large(tmp_path / "killed", 1, workers)
    kill_on_the_way(killed, size_bytes, kills=3)
    assert run(killed).exit_code == 0
    assert [len(part) for part in parts(whole.folder)] == [987, 987, 987, 36]
    assert [user for part in parts(whole.folder) for user in part] == users_of(range(USERS_A_FILE), FAULTS_EVERY)
    for path in sorted((whole.folder / "out").iterdir()):
        assert (killed.folder / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kills", [0, 3])
def test_four_documents_side_by_side_into_one_writer_every_user_once(kills: int, workers: int, tmp_path: Path) -> None:
    made, size_bytes = large(tmp_path / "example", FILES, workers)
    kill_on_the_way(made, size_bytes, kills=kills)
    finished = run(made)
    assert finished.exit_code == 0, finished.stderr
    written = parts(made.folder)
    assert [len(part) for part in written] == [PART_EVENTS] * 12 + [144]
    assert {number_of(user) // USERS_A_FILE for user in written[0]} == set(range(FILES)), "all four are in the first part"
    numbers = [number_of(user) for part in written for user in part]
    for place in range(FILES):
        of_one = [number for number in numbers if number // USERS_A_FILE == place]
        assert of_one == sorted(of_one), "users of one document keep their order"
    by_number = sorted((user for part in written for user in part), key=number_of)
    assert by_number == users_of(range(FILES * USERS_A_FILE), FAULTS_EVERY)
    assert len(letters(made.folder)) == FILES * USERS_A_FILE - len(by_number)
    verified = called(made, "verify")
    assert verified.exit_code == 0, verified.stderr


def number_of(user: dict[str, Any]) -> int:
    return int(user["id"].removeprefix("user-"))


def test_a_record_that_does_not_fit_the_schema_is_a_dead_letter_alone(tmp_path: Path) -> None:
    unfit: list[dict[str, Any]] = [{"id": "x"} | {field: 7} for field in STRING_FIELDS]
    unfit += [{"id": "x", "signInActivity": {field: 7}} for field in ACTIVITY_FIELDS]
    unfit += [{"id": 7}, {"id": ""}, {"id": None}, {"mail": "a"}, {"id": "x", "accountEnabled": "true"}]
    unfit += [{"id": "x", "accountEnabled": 1}, {"id": "x", "otherMails": "a"}, {"id": "x", "otherMails": [1]}]
    unfit += [{"id": "x", "signInActivity": []}, {"id": "x", "signInActivity": "never"}]
    fit: list[dict[str, Any]] = [{"id": f"f{place}"} for place in range(len(unfit))]
    fit[1] |= dict.fromkeys([*STRING_FIELDS, "accountEnabled", "otherMails", "signInActivity"])
    fit[2] |= {"signInActivity": dict.fromkeys(ACTIVITY_FIELDS), "@odata.etag": 7}
    fit[3] |= {"signInActivity": {}}
    items = [item for pair in zip(unfit, fit, strict=True) for item in pair]
    made = pipeline(tmp_path / "example", {"users.json": json.dumps({"value": items}).encode()})
    finished = run(made)
    assert finished.exit_code == 0, finished.stderr
    assert [letter["line"] for letter in letters(made.folder)] == list(range(1, len(items), 2))
    assert [json.loads(letter["record"]) for letter in letters(made.folder)] == unfit
    expected = [transformed(user) for user in fit]
    expected[3]["sign_in_activity"] = None  # nothing is in it that could be moved
    assert parts(made.folder) == [expected]


def test_the_files_named_to_process_give_the_same_parts_and_its_exit_code_says_that_one_is_cut_short(tmp_path: Path) -> None:
    made = pipeline(tmp_path / "example", {path.name: path.read_bytes() for path in (EXAMPLE / "users").iterdir()})
    paths = sorted(str(path) for path in (made.folder / "users").iterdir())
    finished = called(made, "process", *paths)
    assert finished.exit_code == 66
    assert "users-4.json: is damaged" in finished.stderr
    assert "the document is cut short: it ends at byte 8738" in finished.stderr
    written = (made.folder / "out" / "results_batch_1.json").read_bytes()
    assert written == (EXAMPLE / "expected" / "results_batch_1.json").read_bytes()
    shutil.rmtree(made.folder / "out")
    assert called(made, "process", *paths[:3]).exit_code == 0
    assert parts(made.folder) == [users_of(range(3 * MAKER["SAMPLE_USERS"]), 11)]
