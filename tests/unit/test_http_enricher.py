"""The enricher over HTTP against a real server: what it asks, how rows find their records, and what a wrong answer means."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from event_processor.connectors.http.connector import HttpConnector
from event_processor.model.answers import Answer, Verdict
from event_processor.model.enriching import EnricherOptions
from support.delivery_requests import context, request
from support.http_service import HttpService, Received, Reply

BY_KEY = {"answer": "transaction_id", "event": "id"}


def enriched(service: HttpService, *contents: bytes, **options: Any) -> tuple[Answer, list[Any]]:
    """The answer to one request, and the objects that it gives."""
    table = {"service": "api", "path": "/predict", "set": {"category": "category"}, "join": BY_KEY, **options}
    made = HttpConnector().enricher(EnricherOptions.model_validate(table), context(base_url=service.base_url))

    async def played() -> tuple[Answer, list[Any]]:
        await made.open()
        try:
            answer, objects = await made.enrich(request(*contents))
            return answer, [json.loads(bytes(each)) for each in objects]
        finally:
            await made.close()

    return asyncio.run(played())


def rows(content: Any) -> HttpService:
    return HttpService([Reply(200, content if isinstance(content, bytes) else json.dumps(content).encode())])


def test_rows_are_joined_by_a_key_in_any_order_and_set_in_their_records() -> None:
    def answers(got: Received) -> Reply:
        asked = got.json()
        assert asked == [{"id": 1, "amount": 2.5}, {"id": 2, "amount": None}, {"id": "1", "amount": 3}]
        found = [{"transaction_id": each["id"], "category": f"c{each['id']!r}"} for each in reversed(asked)]
        return Reply(200, json.dumps(found).encode())

    with HttpService(answers) as service:
        answer, objects = enriched(
            service,
            b'{"id":1,"amount":2.5,"x":"y"}',
            b'{"id":2}',
            b'{"id":"1","amount":3}',
            fields={"id": "id", "amount": "amount"},
        )
    assert answer.verdict is Verdict.DELIVERED
    assert objects == [
        {"id": 1, "amount": 2.5, "x": "y", "category": "c1"},
        {"id": 2, "category": "c2"},
        {"id": "1", "amount": 3, "category": "c'1'"},
    ]
    (got,) = service.received
    assert (got.method, got.path, got.headers["idempotency-key"]) == ("POST", "/predict", "k")


def test_rows_are_joined_by_position_and_set_inside() -> None:
    with rows([{"a": {"b": [1]}}, {"a": {"b": None}}]) as service:
        answer, objects = enriched(service, b'{"p":{"q":1}}', b'{"p":7}', join="position", set={"p.r": "a.b"})
    assert answer.verdict is Verdict.DELIVERED
    assert objects == [{"p": {"q": 1, "r": [1]}}, {"p": {"r": None}}]


def test_a_record_without_a_row_makes_the_request_bad() -> None:
    with rows([{"transaction_id": 1, "category": "x"}]) as service:
        answer, objects = enriched(service, b'{"id":1}', b'{"id":2}')
    assert (answer.verdict, answer.words, objects) == (Verdict.BAD, "the answer has no row for this record", [])


@pytest.mark.parametrize(
    ("content", "join", "words"),
    [
        (b"<html>secret", BY_KEY, "no array of JSON objects"),
        (b"{}", BY_KEY, "no array of JSON objects"),
        (b"[1]", BY_KEY, "no array of JSON objects"),
        (b"[]", "position", "has 0 rows for 1 records"),
        (b'[{"category":"x"}]', BY_KEY, "lacks the field that joins it"),
        (b'[{"transaction_id":1}]', BY_KEY, 'has no "category"'),
    ],
)
def test_an_answer_that_fits_no_record_is_a_stop(content: bytes, join: Any, words: str) -> None:
    with rows(content) as service:
        answer, objects = enriched(service, b'{"id":1}', join=join)
    assert answer.verdict is Verdict.STOP
    assert words in answer.words
    assert "secret" not in answer.words
    assert objects == []


@pytest.mark.parametrize(("status", "verdict"), [(422, Verdict.BAD), (503, Verdict.WAIT), (401, Verdict.STOP)])
def test_a_refusal_is_judged_as_any_other(status: int, verdict: Verdict) -> None:
    with HttpService([Reply(status, b"no")]) as service:
        answer, objects = enriched(service, b'{"id":1}')
    assert (answer.verdict, objects) == (verdict, [])


def test_a_record_that_cannot_be_read_is_bad_and_nothing_is_asked() -> None:
    with rows([]) as service:
        answer, objects = enriched(service, b"[1]")
        assert service.received == []
    assert (answer.verdict, objects) == (Verdict.BAD, [])
