"""The parts of the S3 source that need no server: which keys match, which objects are known, and the words of failures."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from itertools import product
from typing import Any, cast

import pytest
from pydantic import ValidationError

from event_processor.assembly import Environment
from event_processor.connectors.s3 import known_objects, past_generation
from event_processor.connectors.s3.client import Bucket, Listed, ObjectGoneError, refusal_of_404, request_error
from event_processor.connectors.s3.known_objects import KnownObjects
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.past_generation import ObjectGeneration
from event_processor.connectors.s3.positions import ObjectPosition, read_position
from event_processor.connectors.s3.reader import BucketReader, Ended, Failed, ListedAll, Opened, Start, listed_keys
from event_processor.connectors.s3.requests import Requests
from event_processor.model.errors import ConfigurationError, StateError
from event_processor.storage.durable import OperatingSystem
from support.processes import wait_until


def options(url: str = "s3://bucket/*", **keys: Any) -> S3SourceOptions:
    return S3SourceOptions.model_validate({"type": "s3", "url": url, **keys})


@pytest.mark.parametrize(
    ("keys", "folder", "matching", "others"),
    [
        ("a/b.jsonl", "a", ["a/b.jsonl"], ["a/bxjsonl", "b.jsonl"]),
        ("*.jsonl", "", ["a.jsonl", ".jsonl"], ["a/b.jsonl", "a.jsonl.gz"]),
        ("a/b*/c?.gz", "a", ["a/b/c1.gz", "a/bb/c2.gz"], ["a/b/c.gz", "a/b/x/c1.gz", "a/b/c/.gz"]),
        ("a/**/x.[jc]*", "a", ["a/x.json", "a/b/x.csv", "a/b/c/x.j"], ["a/y/b.json", "x.json", "a/bx.json"]),
        ("year=2026/[!t]*", "year=2026", ["year=2026/a"], ["year=2026/t", "year=2026//"]),
    ],
)
def test_a_glob_matches_within_a_name_and_folders_only_where_it_says_so(
    keys: str, folder: str, matching: list[str], others: list[str]
) -> None:
    made = options(f"s3://bucket/{keys}")
    assert made.folder == folder
    pattern = made.key_pattern()
    assert [key for key in [*matching, *others] if pattern.fullmatch(key)] == matching


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "bucket/x"}, "s3://bucket/keys"),
        ({"url": "s3://bucket/a//b"}, "s3://bucket/keys"),
        ({"url": "s3://bucket/"}, "s3://bucket/keys"),
        ({"url": "s3://bucket/a**"}, "only as a whole folder"),
        ({"access_key_id": "me"}, "access_key_id together with"),
        ({"access_key_id": "me", "secret_access_key_env": "A", "secret_access_key_file": "b"}, "not both"),
        ({"endpoint": "http://user:password@host"}, "http:// or https://"),
        ({"tls": {"cert_file": "cert.pem"}}, "only ca_file"),
        ({"csv_delimiter": ";"}, "csv_delimiter applies only"),
        ({"range_bytes": 1}, "65536"),
    ],
)
def test_a_fault_of_the_options_says_what_is_wanted(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        options(**keys)


def test_a_secret_that_cannot_be_read_is_a_fault_with_its_place() -> None:
    for place, words in (
        ({"secret_access_key_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE"),
        ({"secret_access_key_file": "/no/such/file"}, "/no/such/file does not exist"),
        ({"secret_access_key_file": "${NO_SUCH_VARIABLE}/x"}, "NO_SUCH_VARIABLE"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Bucket(options(access_key_id="me", **place), OperatingSystem())


def test_the_state_depends_on_the_bucket_the_keys_and_the_format_alone() -> None:
    first = options(endpoint="http://a", range_bytes=65_536, timeout_s=1, poll_interval_ms=5)
    assert first.identity() == options().identity()
    assert options(format="csv").identity() != options().identity()
    assert options("s3://bucket/**/*").identity() != options().identity()


@pytest.mark.parametrize("recent_max", [1, 3, 1_000])
def test_an_object_is_known_by_its_key_and_its_etag(monkeypatch: pytest.MonkeyPatch, recent_max: int) -> None:
    monkeypatch.setattr(known_objects, "RECENT_MAX", recent_max)
    known = KnownObjects()
    pairs = [(key, etag) for key, etag in product("abcdefgh", "1234")]
    added = [pair for pair in pairs if pair not in (("c", "2"), ("h", "4")) and pair[0] != "d"]
    assert known.unknown(pairs) == list(range(len(pairs)))
    for pair in added:
        known.add(*pair)
    assert len(known) == len(added)
    assert [pairs[index] for index in known.unknown(pairs)] == [pair for pair in pairs if pair not in added]
    assert [key for key in "abcdefghi" if known.knows_key(key)] == list("abcefgh")


class Pages:
    """A service with these keys, and answers of a thousand."""

    def __init__(self, count: int) -> None:
        self.keys = [f"a/{number:05}" for number in range(count)]

    def page(self, folder: str, after: str) -> list[Listed]:
        assert folder == "a"
        return [Listed(key, "e", 1) for key in self.keys if key > after][:1_000]


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_500])
def test_a_listing_of_many_answers_has_each_key_once_and_says_where_it_ends(count: int) -> None:
    service = Pages(count)
    found = list(listed_keys(cast("Requests", service), options("s3://bucket/a/*")))
    assert [each.key for page, _ in found for each in page] == service.keys
    assert [is_last for _, is_last in found] == [False] * (len(found) - 1) + [True]


class NoEtags(Pages):
    """A service that shows no ETags."""

    def page(self, folder: str, after: str) -> list[Listed]:
        return [Listed(each.key, "", 1) for each in super().page(folder, after)]

    def close(self) -> None: ...


def test_a_service_without_etags_is_refused_with_the_key() -> None:
    reader = BucketReader(options("s3://bucket/a/*"), cast("Bucket", NoEtags(1)), Environment(fs=OperatingSystem()))
    with closing(reader):
        reader.start(KnownObjects(), [])
        wait_until(lambda: not reader.is_empty, "the reader says something")
        failed = reader.take()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ConfigurationError)
    assert failed.error.message.startswith("s3://bucket/a/00000: the service shows no ETag")


class GoneAfterItsFirstBytes(Pages):
    """A bucket in which the object is deleted after its first bytes were fetched."""

    def ask(self, _key: str, _etag: str, start: int, end: int) -> Future[bytes]:
        asked: Future[bytes] = Future()
        if start:
            asked.set_exception(ObjectGoneError("it was deleted"))
        else:
            asked.set_result(b"x" * end)
        return asked

    def answer(self, asked: Future[bytes]) -> bytes:
        return asked.result()

    def close(self) -> None: ...


def test_an_object_that_goes_while_its_long_header_is_read_again_is_opened_before_it_ends() -> None:
    bucket = cast("Bucket", GoneAfterItsFirstBytes(0))
    reader = BucketReader(options("s3://bucket/a/*", format="csv"), bucket, Environment(fs=OperatingSystem()))
    found: list[object] = []
    with closing(reader):
        reader.start(KnownObjects(), [Start(Listed("a/b.csv", "e", 100_000), 90_000, 7, is_plain=True)])

        def is_listed() -> bool:
            found.append(reader.take())
            return isinstance(found[-1], ListedAll | Failed)

        wait_until(is_listed, "the bucket was listed")
    opened, ended, _ = filter(None, found)
    assert isinstance(opened, Opened)
    assert (opened.start.generation, opened.is_plain) == (7, True)
    assert ended == Ended("it was deleted")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("keys", "text", "content"),
    [
        ({}, "id,a\n1,2\n", b"id,a\n1,2\n"),
        ({"csv_encoding": "utf-16"}, "id,é\n1,2\n", "id,é\n1,2\n".encode("utf-16")),
        ({"csv_line_end": "cr"}, "id,a\n1,2\n", b"id,a\r1,2\r"),
        ({"csv_quoted_line_breaks": True}, 'id,"a  b"\n1,2\n', b'id,"a\n\nb"\n1,2\n'),
        ({"csv_encoding": "utf-16-le"}, "id,a\n", "id,a\n".encode("utf-16-le") + b"x"),
    ],
)
def test_the_head_of_an_object_that_is_read_again_is_that_of_the_text_that_was_read(
    keys: dict[str, Any], text: str, content: bytes, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = pack(content)

    class Kept(GoneAfterItsFirstBytes):
        def ask(self, _key: str, _etag: str, start: int, end: int) -> Future[bytes]:
            asked: Future[bytes] = Future()
            asked.set_result(stored[start:end])
            return asked

    monkeypatch.setattr(past_generation, "Bucket", lambda *_: Kept(0))
    position = ObjectPosition("s3://bucket/a/b.csv", "e", len(stored), 0, plain=False)
    made = options("s3://bucket/a/*", format="csv", **keys)
    with closing(ObjectGeneration(made, position, Environment(fs=OperatingSystem()))) as generation:
        assert generation.head.decode() == text


def test_the_words_of_arequest_error_have_the_code_and_nothing_of_our_request() -> None:
    body = "<Error><Code>SignatureDoesNotMatch</Code><StringToSign>AKIA secret</StringToSign></Error>"
    refused = request_error(
        ValueError(f"Error performing GET http://x in 1ms - Server returned non-2xx status code: 403 Forbidden: {body}")
    )
    assert (refused.words, refused.is_refused) == ("403: SignatureDoesNotMatch", True)
    busy = request_error(ValueError("... status code: 503 Slow Down: <Error><Code>SlowDown</Code>"))
    assert (busy.words, busy.is_refused) == ("503: SlowDown", False)
    away = request_error(
        OSError("Generic S3 error: Error performing GET http://x in 2ms - HTTP error: error sending request\n\nDebug source: x")
    )
    assert (away.words, away.is_refused) == ("HTTP error: error sending request", False)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", ""),
        ("<Error><Code>NoSuchKey</Code>", ""),
        ("<Error><Code>NoSuchBucket</Code>", "404: NoSuchBucket"),
        ("<Error><Code>XAdminUserNotFound</Code>", "404: XAdminUserNotFound"),
    ],
)
def test_a_404_about_something_else_than_the_object_does_not_say_that_the_object_is_gone(body: str, words: str) -> None:
    error = FileNotFoundError(f"Object at location a not found: ... status code: 404 Not Found: {body}")
    refusal = refusal_of_404(error)
    assert (refusal.words if refusal else "") == words
    assert refusal is None or refusal.is_refused


def test_a_position_of_another_connector_is_refused() -> None:
    with pytest.raises(StateError, match="none of an object"):
        read_position({"path": "a", "offset": 3, "inode": 1})
