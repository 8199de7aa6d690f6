"""Two sources that read the same: named before anything is read, as a fault if it is certain, or else as a note."""

import json
from pathlib import Path

import pytest

from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.model.errors import ExitCode

KAFKA = 'type = "kafka"\nbrokers = "one:9092,two:9092"\n'
GROUP = f'{KAFKA}topic = "t"\nmode = "group"\n'
S3 = 'type = "s3"\n'

CERTAIN = {
    "one file": (
        'path = "logs/a.jsonl"',
        'path = "logs/../logs/a.jsonl"',
        "path",
        "a different path: sources.first reads this file too",
    ),
    "a glob over it": ('path = "logs/a.jsonl"', 'path = "logs/*.jsonl"', "path", "sources.first reads this file too"),
    "a topic": (f'{KAFKA}topic = "t"', f'{KAFKA}topic = "t"', "topic", "a different topic: sources.first reads this topic too"),
    "a broker in common": (
        f'{KAFKA}topic = "t"',
        'type = "kafka"\nbrokers = "three:9092, two:9092"\ntopic = "t"\npartitions = [3]',
        "topic",
        "sources.first reads this topic too",
    ),
    "a partition": (
        f'{KAFKA}topic = "t"\npartitions = [0, 1, 2]',
        f'{KAFKA}topic = "t"\npartitions = [1, 2, 3]',
        "partitions",
        "other partitions: sources.first reads 1, 2 of this topic too",
    ),
    "two groups": (f'{GROUP}group = "a"', f'{GROUP}group = "b"', "topic", "sources.first reads this topic too"),
    "a prefix in a prefix": (
        f'{S3}url = "s3://bucket/logs/**/*.jsonl"',
        f'{S3}url = "s3://bucket/logs/2026/*.jsonl"',
        "url",
        "a different url: sources.first reads these objects too",
    ),
    "one object": (f'{S3}url = "s3://bucket/logs/*"', f'{S3}url = "s3://bucket/logs/a.jsonl"', "url", "reads these objects too"),
}
POSSIBLE = {
    "globs that cross": (
        'path = "logs/a*.jsonl"',
        'path = "logs/*b.jsonl"',
        "path: sources.first may read a file whose name both globs match too",
    ),
    "a rotated file": ('path = "logs/a.jsonl"', 'path = "logs/a.jsonl.1"', "path: sources.first may read a rotated file too"),
    "rotated files": ('path = "logs/a.jsonl"', 'path = "logs/a.jsonl.*"', "path: sources.first may read a rotated file too"),
    "a glob of rotated files": (
        'path = "logs/old-a.jsonl"',
        'path = "logs/a.jsonl"\nrotated = "logs/old-*"',
        "path: sources.first may read a rotated file too",
    ),
    "urls that cross": (
        f'{S3}url = "s3://bucket/2026/*.jsonl"',
        f'{S3}url = "s3://bucket/*/a.*"',
        "url: sources.first may read an object that both match too",
    ),
}
SEPARATE = {
    "files": ('path = "logs/a.jsonl"', 'path = "logs/b.jsonl"'),
    "a file whose name is no rotated one": ('path = "logs/a.jsonl"', 'path = "logs/a.jsonl.bak"'),
    "globs": ('path = "logs/a*.jsonl"', 'path = "logs/b*.jsonl"'),
    "topics": (f'{KAFKA}topic = "t"', f'{KAFKA}topic = "u"'),
    "clusters": (f'{KAFKA}topic = "t"', 'type = "kafka"\nbrokers = "three:9092"\ntopic = "t"'),
    "partitions": (f'{KAFKA}topic = "t"\npartitions = [0, 1]', f'{KAFKA}topic = "t"\npartitions = [2]'),
    "members of one group": (f'{GROUP}group = "a"', f'{GROUP}group = "a"'),
    "prefixes": (f'{S3}url = "s3://bucket/a/*"', f'{S3}url = "s3://bucket/b/*"'),
    "buckets": (f'{S3}url = "s3://bucket/a/*"', f'{S3}url = "s3://another/a/*"'),
    "services": (f'{S3}url = "s3://bucket/a/*"', f'{S3}url = "s3://bucket/a/*"\nendpoint = "http://127.0.0.1:9000"'),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)


def validated(
    first: str, second: str, capsys: pytest.CaptureFixture[str], rest: str = ""
) -> tuple[int, dict[str, str], list[str]]:
    """The exit code, the faults by key, and the remarks."""
    text = f"[sources.first]\n{first}\n[sources.second]\n{second}\n{rest}\n"
    Path("event-processor.toml").write_text(text, encoding="utf-8")
    code = run(["validate", "--json"], COMMANDS)
    said = json.loads(capsys.readouterr().out)
    return code, {fault["key"]: fault["wanted"] for fault in said["faults"]}, said.get("remarks", [])


ALL_COUNT = "[dedup]\nenabled = false"


@pytest.mark.parametrize("case", CERTAIN)
def test_sources_that_certainly_read_the_same_are_a_fault_if_events_would_count_twice(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, key, wanted = CERTAIN[case]
    code, faults, _ = validated(first, second, capsys, ALL_COUNT)
    assert (code, list(faults)) == (ExitCode.CONFIGURATION, [f"sources.second.{key}"])
    assert wanted in faults[f"sources.second.{key}"]


@pytest.mark.parametrize("case", CERTAIN)
def test_of_sources_that_certainly_read_the_same_only_files_are_a_fault_if_duplicates_are_found(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state that reads one topic twice goes on: without one of its sources it could only be replayed."""
    first, second, key, wanted = CERTAIN[case]
    code, faults, remarks = validated(first, second, capsys)
    if key == "path":
        assert (code, list(faults)) == (ExitCode.CONFIGURATION, ["sources.second.path"])
    else:
        reads = wanted.rpartition("reads ")[2]
        said = f"note: sources.second.{key}: sources.first reads {reads}; so its events are duplicates the second time"
        assert (code, faults) == (ExitCode.OK, {})
        assert said in remarks


@pytest.mark.parametrize("case", POSSIBLE)
def test_sources_that_may_read_the_same_are_a_note(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, said = POSSIBLE[case]
    code, _, remarks = validated(first, second, capsys)
    assert code == ExitCode.OK
    assert [each for each in remarks if "may read" in each] == [
        f"note: sources.second.{said}; then its events are duplicates the second time"
    ]


def test_the_note_says_if_events_would_count_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for rest in ("[dedup]\nenabled = false", '[event]\nid = "@position"'):
        _, _, remarks = validated('path = "a*"', 'path = "*b"', capsys, rest)
        assert remarks[0].endswith("; then its events count twice"), rest


@pytest.mark.parametrize("case", SEPARATE)
def test_sources_with_inputs_of_their_own_are_neither(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, faults, remarks = validated(*SEPARATE[case], capsys)
    assert (code, faults) == (ExitCode.OK, {})
    assert not [each for each in remarks if "may read" in each]


@pytest.mark.parametrize(
    "own",
    [
        "state/intake/*.jsonl",
        "state/outbox/*",
        "state/*.jsonl",
        "*/outbox/*.jsonl",
        "*/*/*.jsonl",
        "state/delivery/archive.failed.jsonl",
        "state/ids/segment-*",
    ],
)
def test_a_source_of_our_own_files_is_a_fault(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, faults, _ = validated('path = "a.jsonl"', f'path = "{own}"', capsys)
    assert (code, list(faults)) == (ExitCode.CONFIGURATION, ["sources.second.path"])
    assert "leaves out the state directory" in faults["sources.second.path"]


@pytest.mark.parametrize("path", ["*/*/events.jsonl", "*/*/access.log", "state/history/events.jsonl", "*/outbox/orders.jsonl"])
def test_a_path_that_none_of_our_own_files_has_is_no_fault(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Such a configuration was valid before the folders of a state were looked at."""
    assert validated('path = "a.jsonl"', f'path = "{path}"', capsys)[:2] == (ExitCode.OK, {})


def test_many_sources_whose_paths_plainly_differ_are_compared_without_following_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is compared with each: with three hundred sources a start took half a minute."""

    def followed(*_: object) -> list[tuple[str, object]]:
        raise AssertionError("a path was followed, character by character")

    monkeypatch.setattr("event_processor.model.globs._steps", followed)
    paths = [f"/var/log/{number}/{('events.jsonl', '*.csv', 'a*.log')[number % 3]}" for number in range(20)]
    sources = "".join(f'[sources.s{number}]\npath = "{path}"\n' for number, path in enumerate(paths))
    code, faults, _ = validated('path = "a.jsonl"', 'path = "b-*.jsonl"', capsys, sources)
    assert (code, faults) == (ExitCode.OK, {})
