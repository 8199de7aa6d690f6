"""Bodies of HTTP requests, against Python's own json, and the words of refusals, which repeat nothing that was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.connectors.http.body import BodyWriter, UnencodableError
from event_processor.connectors.http.refusal import refusal_words
from support.delivery_requests import request

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4)


def body(kind: Any, fields: Any, *contents: bytes) -> bytes:
    sent = request(*contents)
    return BodyWriter(kind, fields).body(sent.records, sent.keys)


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.booleans())
def test_whole_records_are_sent_as_they_are(objects: list[dict[str, Any]], ascii_: bool) -> None:
    contents = [json.dumps(each, ensure_ascii=ascii_).encode() for each in objects]
    assert json.loads(body("array", {}, *contents)) == objects
    assert [json.loads(line) for line in body("ndjson", {}, *contents).split(b"\n")[:-1]] == objects
    assert body("object", {}, contents[0]) == contents[0]


def test_the_bytes_of_a_whole_record_are_not_changed() -> None:
    odd = b'{"n":1.0e2, "big":123456789012345678901234567890,"n":"\\u00e9"}'
    assert body("object", {}, odd) == odd
    assert body("array", {}, odd, b"{}") == b"[" + odd + b",{}]"
    assert body("ndjson", {}, odd, b"{}") == odd + b"\n{}\n"


@given(OBJECTS, st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_fields_are_read_at_their_names_and_a_missing_one_is_null(event: dict[str, Any], name: str, constant: str) -> None:
    wanted = {
        **{f"%{key}": f'"{key}"' for key in event if key and '"' not in key},
        "none": "nowhere at all",
        name: f"={constant}",
    }
    expected = {key: event.get(field.strip('"')) for key, field in wanted.items()} | {name: constant}
    assert json.loads(body("object", wanted, json.dumps(event).encode())) == expected


def test_fields_reach_inside_and_come_in_their_order() -> None:
    event = b'{"a":{"b":{"c":1.50}},"x.y":[1, 2],"x":{"y":0},"n":null}'
    fields = {"c": "a.b.c", "dotted": "x.y", "inside": 'x."y"', "null": "n.m", "no": "a.q", "not": "a.b.c.d"}
    assert body("object", fields, event) == b'{"c":1.50,"dotted":[1, 2],"inside":0,"null":null,"no":null,"not":null}'


def test_a_body_has_constants_tables_and_the_record_s_own_values() -> None:
    fields = {
        "origin": "=shop", "equals": "==", "n": 5, "share": 12.5, "live": True,
        "meta": {"now": "@now", "now_s": "@now_s", "took": "@elapsed_ms", "key": "@key", "number": "@sequence", "100%": "=100 %"},
        "empty": {},
    }  # fmt: skip
    assert json.loads(body("array", fields, b"{}", b"{}"))[1] == {
        "origin": "shop", "equals": "=", "n": 5, "share": 12.5, "live": True,
        "meta": {"now": "2026-11-29T12:00:00.000Z", "now_s": 1795953600.0, "took": 1.5, "key": "k2", "number": 2, "100%": "100 %"},
        "empty": {},
    }  # fmt: skip


def test_a_big_number_keeps_every_digit() -> None:
    assert body("object", {"n": "n"}, b'{"n":123456789012345678901234567890}') == b'{"n":123456789012345678901234567890}'


@pytest.mark.parametrize("content", [b"[1]", b'"secret"', b"", b'{"a":1}\n{"b":2}'])
@pytest.mark.parametrize("fields", [{}, {"a": "a"}])
def test_a_record_that_is_no_object_is_bad_and_not_repeated(content: bytes, fields: dict[str, str]) -> None:
    with pytest.raises(UnencodableError, match="record 2 ") as caught:
        body("array", fields, b"{}", content)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b'{"a":tru}', b'{"a":{"b":1', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_a_record_that_cannot_be_read_is_bad(content: bytes) -> None:
    with pytest.raises(UnencodableError, match="record 1 cannot be read"):
        body("object", {"a": "a.b"}, content)


def test_an_object_holds_one_record() -> None:
    with pytest.raises(UnencodableError, match="cannot hold 2 records"):
        body("object", {}, b"{}", b"{}")


def test_the_type_of_the_content_is_that_of_the_body() -> None:
    types = {kind: BodyWriter(kind, {}).content_type for kind in ("object", "array", "ndjson")}
    assert types == {"object": "application/json", "array": "application/json", "ndjson": "application/x-ndjson"}


SENT = b'{"id":7,"name":"Ada \\"the\\" L\\u00f6velace","card":4111111111111111,"amount":-12.5,"kind":"order"}\n{"name":"<b>Hopper</b>"}'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"amount must not be negative", "amount must not be negative"),
        (b'{"error": "unknown kind",\n\t "field": "kind"}', '{"error": "unknown kind", "field": "kind"}'),
        ('no Ada "the" Lövelace here'.encode(), "no *** here"),
        (b'{"input": "Ada \\"the\\" L\\u00f6velace"}', '{"input": "***"}'),
        ('{"input": "Ada \\"the\\" Lövelace"}'.encode(), '{"input": "***"}'),
        (b"<p>&lt;b&gt;Hopper&lt;/b&gt; is wrong</p>", "<p>*** is wrong</p>"),
        (b"card 4111111111111111 refused: ...11111111111", "card *** refused: ...***"),
        (b"-12.5 is negative, order 7", "*** is negative, *** 7"),
        (b"token t0ken is old", "token *** is old"),
        (b"\xff\x1b[31m\x00", "\ufffd\\u001b[31m\\u0000"),
        (b"", ""),
        (b"x" * 500, "x" * 199 + "…"),
    ],
)  # fmt: skip
def test_the_words_of_a_refusal_repeat_nothing_that_was_sent(answer: bytes, words: str) -> None:
    assert refusal_words(answer, SENT, ["t0ken", ""]) == words


@given(
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=60), st.text(max_size=300), st.text(max_size=300), st.booleans()
)
def test_no_longer_piece_of_a_value_is_in_the_words(value: str, before: str, after: str, escaped: bool) -> None:
    sent = json.dumps({"v": value}).encode()
    said = json.dumps(value)[1:-1] if escaped else value
    words = refusal_words(f"{before}{said}{after}".encode("utf-8", "replace"), sent, [])
    hidden = " ".join(value.split())
    assert hidden not in words or len(hidden) < 8 or hidden in "***"


def test_the_beginning_of_a_value_at_the_cut_is_not_shown() -> None:
    long = "".join(f"{number:04}." for number in range(79))
    assert refusal_words(f"{long} s3cret and more".encode(), json.dumps([long, "s3cret and more"]).encode(), []) == "***"


def test_an_answer_to_a_very_large_body_has_no_words() -> None:
    assert refusal_words(b"wrong", b'"' + b"x" * 5_000_000 + b'"', []) == ""


def test_what_is_no_json_is_hidden_as_a_whole() -> None:
    assert refusal_words(b"got: not really JSON!", b"not really JSON!", []) == "got: ***"
