"""Every format as objects in a real S3 server: what the same bytes give as files, plain and compressed, resumed in the middle of each object."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard

from support.numbered_events import CommittedEvents, succeeded
from support.processes import Pipeline, wait_until
from support.s3_server import ACCESS_KEY, SECRET, S3Server, s3_of_tests

HALF: Final = 150
"""The records of one object; each format has two objects."""
STEP: Final = 400
"""A daemon is killed after so many records of all formats."""
KILLS_MAX: Final = 30
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

    def prepare(self, place_of: Callable[[str], str]) -> Pipeline:
        """`place_of`: the keys of a source that say where its input is."""
        self.folder.mkdir()
        (self.folder / "secret").write_text(SECRET)
        (self.folder / "own_lines.py").write_text(OWN_FORMAT)
        keys = {name: 'format = "csv"\n' + form.keys if name == "csv" else form.keys for name, form in FORMS.items()}
        sources = [f"[sources.{name}]\n{place_of(name)}\n{keys[name]}\n" for name in FORMS]
        (self.folder / "pipeline.toml").write_text("".join(sources) + PIPELINE)
        return Pipeline(self.folder, self.folder)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}

    def inside(self) -> set[str]:
        """The objects that are read in part."""
        found: set[str] = set()
        for source in self.state["sources"].values():
            found |= {each["position"]["path"] for each in source["generations"] if each["position"]["offset"]}
        return found

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


@pytest.mark.crash
def test_each_format_as_objects_gives_what_it_gives_as_files_and_resumes_in_the_middle(server: S3Server, tmp_path: Path) -> None:
    bucket, files = server.new_bucket(), tmp_path / "files"
    for name, form in FORMS.items():
        (files / name).mkdir(parents=True)
        halves = [form.pack(form.content(range(1, HALF + 1))), form.content(range(HALF + 1, 2 * HALF + 1))]
        for key, content in zip("ab", halves, strict=True):
            server.put(bucket, f"{name}/{key}", content)
            (files / name / key).write_bytes(content)
    client = (
        f'endpoint = "{server.address}"\naccess_key_id = "{ACCESS_KEY}"\nsecret_access_key_file = "secret"\nrange_bytes = 65536'
    )
    objects = Place(tmp_path / "objects")
    pipeline = objects.prepare(lambda name: f'type = "s3"\nurl = "s3://{bucket}/{name}/*"\n{client}')
    inside: set[str] = set()
    for _ in range(KILLS_MAX):
        before = objects.records
        daemon = pipeline.start(environment=objects.environment)
        wait_until(lambda: objects.records > before + STEP or not daemon.alive, "records")  # noqa: B023 - called at once
        said = daemon.kill().stderr
        assert objects.records > before, said
        inside |= objects.inside()
        if len(inside) == 2 * len(FORMS):
            break
    every = chain.from_iterable(zip(repeat(name), "ab") for name in FORMS)
    assert inside == {f"s3://{bucket}/{name}/{key}" for name, key in every}, "each was killed in its middle"
    succeeded(pipeline.run("--once", environment=objects.environment))
    assert "ok: " in succeeded(pipeline.command_of("verify", environment=objects.environment))
    as_files = Place(tmp_path / "as-files")
    pipeline = as_files.prepare(lambda name: f'path = "{files}/{name}/*"')
    succeeded(pipeline.run("--once", "--drain", environment=as_files.environment))
    assert objects.holds() == as_files.holds()
