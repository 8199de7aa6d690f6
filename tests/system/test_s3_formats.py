"""Every format as objects in a real S3 server: what the same bytes give as files, plain and compressed, resumed in the middle of each object."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
import pytest
import zstandard

from event_processor.connectors.s3 import source
from support.command_line import Shell
from support.numbered_events import CommittedEvents, succeeded
from support.processes import Pipeline
from support.s3_server import ACCESS_KEY, SECRET, FaultyRoad, S3Server, s3_of_tests

HALF: Final = 60
"""The records of one object; each format has two objects."""
RENAMES: Final = 12
"""A daemon is killed at so many renames: a commit has one or two."""
OWN_FORMAT: Final = """\
class Bars:
    def __init__(self, options):
        pass

    def read(self, records):
        names = ("id", "category", "value")
        for record in records:
            cells = record.decode().split("|")
            yield {**dict(zip(names, cells)), "value": int(cells[2])} if len(cells) == 3 else "is not three cells"
"""
CSV_KEYS: Final = """\
format = "csv"
csv_delimiter = ";"
csv_quote = "'"
csv_decimal = ","
csv_thousands = "."
csv_encoding = "latin-1"
csv_skip_lines = 1
csv_comment = "#"
csv_null = ["NA"]
csv_columns = ["id", "category", "value", "note"]
csv_types = { note = "number" }"""
PIPELINE: Final = """\
[[transforms]]
rename = { id = "remote_addr", category = "path", value = "bytes" }
[order]
buffer_events = 0
[batch]
bytes_max = 1024
[state]
dir = "state"
"""


@dataclass(frozen=True)
class Form:
    """A format. `keys`: of the source. `records`: of these numbers, as bytes. `before`, `between`, `after`: the bytes around records."""

    keys: str
    record: Callable[[int], bytes]
    pack: Callable[[bytes], bytes]
    before: bytes = b""
    between: bytes = b"\n"
    after: bytes = b"\n"
    bad: bytes = b""
    """A record that is none; empty if the form has none."""
    blank: int = 0
    """The blank records of one object."""

    def content(self, numbers: range) -> bytes:
        """An object. The bad record is in its middle."""
        records = [self.record(number) for number in numbers]
        if self.bad:
            records.insert(len(records) // 2, self.bad)
        return self.before + self.between.join(records) + self.after


def spelt(name: str, form: str) -> Callable[[int], bytes]:
    """Records with an id, a category and a value. Each format has ids and categories of its own."""
    return lambda number: form.format(id=f"{name}-{number}", category=f"{name}{number % 3}", value=number).encode("latin-1")


def thousands(number: int) -> bytes:
    """A row with every form of cell."""
    note = "NA" if number % 2 else "1.234,5"
    return f"csv-{number};'csv{number % 3}';{number // 1000}.{number % 1000:03},0;{note}".encode("latin-1")


JSON: Final = '{{"id": "{id}", "category": "{category}", "value": {value}}}'
FORMS: Final = {
    "jsonl": Form("", spelt("jsonl", JSON), gzip.compress, bad=b'{"id": '),
    "csv": Form(CSV_KEYS, thousands, zstandard.ZstdCompressor().compress,
                b"caf\xe9\n# a comment\nid;category;value;note\n", bad=b"one;cell", blank=3),
    "lines": Form('format = "csv"\ncsv_quoted_line_breaks = true', spelt("lines", '{id},{category},{value},"two\n""lines"""'),
                  bz2.compress, b"id,category,value,note\n", bad=b"one,cell", blank=1),
    "returns": Form('format = "csv"\ncsv_line_end = "cr"', spelt("returns", "{id},{category},{value}"), gzip.compress,
                    b"id,category,value\r", b"\r", b"\r", bad=b"one,cell", blank=1),
    "wide": Form('format = "csv"\ncsv_encoding = "utf-16-le"', lambda n: f"wide-{n},wide{n % 3},{n}".encode("utf-16-le"), gzip.compress,
                 "id,category,value\n".encode("utf-16-le"), b"\n\0", b"\n\0", bad="one,cell".encode("utf-16-le"), blank=1),
    "items": Form('format = "json"\njson_item_path = "value.item"', spelt("items", JSON), lzma.compress,
                  b'{"more": [1], "value": [', b",\n", b"]}", bad=b"7"),
    "documents": Form('format = "json"\njson_item_path = "@document"', spelt("documents", JSON), gzip.compress, bad=b"[7]"),
    "combined": Form('format = "combined"',
                     spelt("combined", '{id} - - [10/Oct/2026:13:55:36 +0200] "GET {category} HTTP/1.1" 200 {value} "-" "x"'),
                     zstandard.ZstdCompressor().compress, bad=b"no line"),
    "logfmt": Form('format = "logfmt"', spelt("logfmt", 'id={id} category="{category}" value={value}'), gzip.compress, bad=b'a="b'),
    "ltsv": Form('format = "ltsv"', spelt("ltsv", "id:{id}\tcategory:{category}\tvalue:{value}"), bz2.compress, bad=b"none"),
    "regex": Form('format = "regex"\nformat_pattern = \'(?P<id>\\S+) (?P<category>\\w+) (?P<value>\\d+)\'',
                  spelt("regex", "{id} {category} {value}"), lzma.compress, bad=b"none"),
    "own": Form('format = "own_lines:Bars"', spelt("own", "{id}|{category}|{value}"), gzip.compress, bad=b"none"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_of_tests() as server:
        yield server


@dataclass(frozen=True)
class Place(CommittedEvents):
    """A pipeline with a source for each format."""

    def prepare(self, place_of: Callable[[str], str], forms: Mapping[str, Form] = FORMS) -> Pipeline:
        """`place_of`: the keys of a source that say where its input is."""
        self.folder.mkdir()
        (self.folder / "secret").write_text(SECRET)
        (self.folder / "own_lines.py").write_text(OWN_FORMAT)
        sources = [f"[sources.{name}]\n{place_of(name)}\n{form.keys}\n" for name, form in forms.items()]
        (self.folder / "pipeline.toml").write_text("".join(sources) + PIPELINE)
        return Pipeline(self.folder, self.folder)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}

    def inside(self) -> set[str]:
        """The objects that are read in part."""
        sources = self.state["sources"].values() if self.records else ()
        opened = [each["position"] for source in sources for each in source["generations"]]
        return {str(each["path"]) for each in opened if each["offset"]}

    def holds(self) -> dict[str, Any]:
        """Fails unless all records were counted, each once. Returns what must not depend on where they come from."""
        state, numbers = self.state, range(1, 2 * HALF + 1)
        expected = {
            f"{'/' if name == 'combined' else ''}{name}{rest}": (len(own), sum(own))
            for name in FORMS
            for rest, own in ((rest, [number for number in numbers if number % 3 == rest]) for rest in range(3))
        }
        found = {name: (each["count"], each["sum"]) for name, each in state["categories"].items()}
        assert {**found} == {(name if name in found else name.lstrip("/")): each for name, each in expected.items()}
        for name, form in FORMS.items():
            counts = state["sources"][name]["counts"]
            accepted, bad = len(numbers), 2 * bool(form.bad)
            assert (counts["accepted"], counts["rejected"], counts["blank"]) == (accepted, bad, 2 * form.blank), name
        return {"categories": state["categories"], "counts": state["counts"]}


def put_all(server: S3Server, bucket: str, files: Path) -> None:
    """Two objects of each form, and the same as files: the first one compressed."""
    for name, form in FORMS.items():
        (files / name).mkdir(parents=True)
        halves = [form.pack(form.content(range(1, HALF + 1))), form.content(range(HALF + 1, 2 * HALF + 1))]
        for key, content in zip("ab", halves, strict=True):
            server.put(bucket, f"{name}/{key}", content)
            (files / name / key).write_bytes(content)


def of_service(bucket: str, address: str) -> Callable[[str], str]:
    """The keys of a source: its objects in a bucket."""
    client = f'endpoint = "{address}"\naccess_key_id = "{ACCESS_KEY}"\nsecret_access_key_file = "secret"\nrange_bytes = 65536'
    return lambda name: f'type = "s3"\nurl = "s3://{bucket}/{name}/*"\n{client}'


@pytest.mark.crash
def test_each_format_as_objects_gives_what_it_gives_as_files_and_resumes_in_the_middle(server: S3Server, tmp_path: Path) -> None:
    bucket, files = server.new_bucket(), tmp_path / "files"
    put_all(server, bucket, files)
    objects = Place(tmp_path / "objects")
    pipeline = objects.prepare(of_service(bucket, server.address))
    injection = ("-e", "trace=rename", "-e", f"inject=rename:signal=KILL:when={RENAMES}")
    strace = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), *injection)
    inside: set[str] = set()
    while (finished := pipeline.run("--once", prefix=strace, environment=objects.environment)).exit_code != 0:
        assert finished.exit_code == -signal.SIGKILL, finished.stderr
        inside |= objects.inside()
    # Which objects are read in part when it is killed depends on when their ranges come.
    assert len({path.split("/")[3] for path in inside}) > len(FORMS) // 2, "it was killed in the middle of objects"
    assert "ok: " in succeeded(pipeline.command_of("verify", environment=objects.environment))
    as_files = Place(tmp_path / "as-files")
    pipeline = as_files.prepare(lambda name: f'path = "{files}/{name}/*"')
    succeeded(pipeline.run("--once", "--drain", environment=as_files.environment))
    assert objects.holds() == as_files.holds()


def test_process_gives_the_same_of_each_format_as_objects_and_as_files(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket, files = server.new_bucket(), tmp_path / "files"
    put_all(server, bucket, files)
    place = Place(tmp_path / "objects")
    place.prepare(of_service(bucket, server.address))
    monkeypatch.syspath_prepend(str(place.folder))
    shell = Shell(place.folder, capsys)
    numbers = range(1, 2 * HALF + 1)
    for name in FORMS:
        results = []
        for base in (f"s3://{bucket}", str(files)):
            inputs = [f"{base}/{name}/{key}" for key in "ab"]
            assert shell.call("process", "--config", str(place.folder / "pipeline.toml"), "--source", name, *inputs) == 0, (
                shell.err
            )
            results.append(shell.out)
        assert results[0] == results[1], name
        rows = [json.loads(line) for line in results[0].splitlines()]
        assert [(each["count"], each["sum"]) for each in rows] == [
            (len(own), sum(own)) for own in ([number for number in numbers if number % 3 == rest] for rest in range(3))
        ]


@dataclass(frozen=True)
class Broken:
    """A source whose object ends in its middle. `fault`: of a request for its second range. `inside`: the records in what came before."""

    form: str
    content: bytes
    fault: int | str | None
    inside: int
    lost: str


def broken_sources() -> dict[str, Broken]:
    numbers, first = range(1, 4_001), 65_536
    record, head = FORMS["items"].record, FORMS["items"].before
    plain = b"".join(FORMS["jsonl"].record(number) + b"\n" for number in numbers)
    lines = FORMS["lines"].before + b"".join(FORMS["lines"].record(number) + b"\n" for number in numbers)
    items = head + b",".join(map(record, numbers)) + b"]}"
    packed = gzip.compress(plain, compresslevel=0)
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed[:first])
    place = items.index(b",{", 80_000)
    return {
        "plain": Broken("jsonl", plain, "404 NoSuchKey", plain[:first].count(b"}\n"), "it was deleted"),
        "replaced": Broken("lines", lines, 412, lines[:first].count(b'"""\n'), "it was replaced"),
        "document": Broken("items", items, "404 NoSuchKey", items[:first].count(b"}"), "it was deleted"),
        "packed": Broken("jsonl", packed, 412, unpacked.count(b"}\n"), "it was replaced"),
        "torn": Broken("items", items[:place] + b" torn " + items[place:], None, items[:place].count(b"}"), ""),
    }


def test_of_each_format_what_was_read_of_an_object_that_goes_half_way_stays_counted_and_the_rest_is_lost(
    server: S3Server, tmp_path: Path
) -> None:
    sources, bucket = broken_sources(), server.new_bucket()
    for name, each in sources.items():
        server.put(bucket, f"{name}/a", each.content)
    server.put(bucket, "whole/a", FORMS["logfmt"].content(range(1, 11)))

    def goes(_method: str, path: str, headers: dict[str, str]) -> int | str | None:
        name = path.split("/")[2].partition("?")[0] if path.count("/") > 2 else ""
        start = headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        return sources[name].fault if name in sources and int(start) >= 65_536 else None

    with FaultyRoad(server, goes) as road:
        place = Place(tmp_path / "objects")
        forms = {name: FORMS[each.form] for name, each in sources.items()} | {"whole": FORMS["logfmt"]}
        pipeline = place.prepare(of_service(bucket, road.address), forms)
        said = pipeline.run("--once")
        assert said.exit_code == 66, said.stderr
        state = place.state
        lost = {each["source"]: each for each in state["lost"]["entries"]}
        assert set(lost) == set(sources)
        for name, each in sources.items():
            assert lost[name]["reason"].startswith(each.lost), lost[name]
            counts = state["sources"][name]["counts"]
            assert counts["records"] - counts["blank"] == each.inside, name
            assert f"s3://{bucket}/{name}/a" in said.stderr
        assert lost["plain"]["size_bytes"] == len(sources["plain"].content) - lost["plain"]["offset"]
        assert state["sources"]["whole"]["counts"]["accepted"] == 10
        # The same objects are still listed: nothing is counted again.
        succeeded(pipeline.command_of("lost", "--acknowledge"))
        succeeded(pipeline.run("--once"))
        assert place.state["counts"] == state["counts"]


def test_a_run_whose_object_goes_half_way_ends_with_66_and_leaves_the_earlier_result(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket, half = server.new_bucket(), 8 << 20
    row = b'{"id": %d, "category": "a", "value": 1, "more": "' + b"x" * 8_192 + b'"}\n'
    server.put(bucket, "a", b"".join(row % number for number in range(half // 8_192 + 10)))
    server.put(bucket, "result", b"earlier")

    def goes(_method: str, _path: str, headers: dict[str, str]) -> int | str | None:
        return 412 if headers.get("range", "").startswith(f"bytes={half}-") else None

    with FaultyRoad(server, goes) as road:
        monkeypatch.setenv("AWS_ENDPOINT_URL", road.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.chdir(tmp_path)
        shell = Shell(tmp_path, capsys)
        assert shell.call("process", f"s3://{bucket}/a", "--output", f"s3://{bucket}/result") == 66
    assert f"s3://{bucket}/a: it was replaced while it was read" in shell.err
    assert bytes(obstore.get(server.store(bucket), "result").bytes()) == b"earlier"


@pytest.mark.parametrize(
    ("fault", "words", "remedy"),
    [
        (500, "500", "nothing is lost: reading goes on where it was"),
        ("RequestTimeTooSkewed", "403: RequestTimeTooSkewed", "set the clock of this machine"),
        ("AccessDenied", "403: AccessDenied", "give this user the right to list the bucket"),
    ],
)
def test_run_once_waits_for_a_service_and_then_ends_with_69_its_words_and_what_to_do(
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: int | str,
    words: str,
    remedy: str,
) -> None:
    monkeypatch.setattr(source, "ONCE_S_MAX", 0.3)
    bucket = server.new_bucket()
    server.put(bucket, "logfmt/a", FORMS["logfmt"].content(range(1, 11)))
    place = Place(tmp_path / "objects")
    monkeypatch.chdir(tmp_path)
    shell = Shell(place.folder, capsys)
    with FaultyRoad(server, lambda *_: fault) as road:
        place.prepare(of_service(bucket, road.address), {"logfmt": FORMS["logfmt"]})
        called = ("--config", str(place.folder / "pipeline.toml"))
        assert shell.call("run", "--once", *called) == 69
        assert f"{road.address}: {words}" in shell.err
        assert remedy in shell.err
        road.fault = lambda *_: None
        assert shell.call("run", "--once", *called) == 0, shell.err
    assert place.state["counts"]["accepted"] == 10
    assert "lost" not in place.state
