"""A class of the user's as a remote sink, held to its contract: every request has one answer, whatever the class does."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import event_processor
from event_processor import Bad, Wait, load
from event_processor.configuration import ConfigurationFaultsError
from event_processor.connectors.python.connector import PythonConnector
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.connectors.python.receiver import _answer_of
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import Receiver
from event_processor.model.errors import ConfigurationError
from support.delivery_requests import answers_of, context, request

EXAMPLES = Path(__file__).parents[2] / "examples" / "connectors"
SEEN: list[Any] = []


class OfItsOwn(Bad):
    """Does not call the constructor of `Bad`."""

    def __init__(self) -> None:
        """Keeps nothing."""

    def __str__(self) -> str:
        return "of its own"


class Own:
    """Does what the first record's `do` says."""

    def __init__(self, options: dict[str, Any]) -> None:
        SEEN.clear()
        SEEN.append(options)

    async def deliver(self, records: list[dict[str, Any]]) -> object:
        SEEN.append([dict(each) for each in records])
        match records[0].pop("do", "return"):
            case "wait":
                raise Wait("the shop\nis closed", after_s=records[0].get("after_s", 0.0), status=records[0].get("status", ""))
            case "bad":
                raise Bad("no such shop", status=records[0].get("status", ""))
            case "plain":
                raise OfItsOwn
            case "wordless":
                raise Bad
            case "fail":
                raise KeyError("shop")
            case "fail without words":
                raise RuntimeError
            case "time out":
                raise TimeoutError("of its own")
            case "cancel":
                raise asyncio.CancelledError
            case "hang":
                await asyncio.Event().wait()
            case "long":
                raise RuntimeError("x" * 999)
        return False

    async def close(self) -> None:
        SEEN.append("closed")


class WithKeys:
    def __init__(self, options: dict[str, Any]) -> None:
        SEEN.clear()

    async def deliver(self, records: Sequence[dict[str, Any]], *, keys: Sequence[str]) -> None:
        SEEN.append((records, keys))

    def close(self) -> None:
        raise RuntimeError("too late to matter")


class Silent:
    """Has no `close`."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Keeps nothing."""

    async def deliver(self, records: Sequence[dict[str, Any]]) -> None:
        """Delivers to nowhere."""


class Blocking:
    def __init__(self, options: dict[str, Any]) -> None:
        """Keeps nothing."""

    def deliver(self, records: Sequence[dict[str, Any]]) -> None:
        """Is not `async def`."""


class Broken:
    def __init__(self, options: dict[str, Any]) -> None:
        raise ValueError("no currency")

    async def deliver(self, records: Sequence[dict[str, Any]]) -> None:
        """Is never called."""


def receiver(name: str = "Own", *, options: Any = None, **service: Any) -> Receiver:
    keys = {"type": "python", "class": f"{__name__}:{name}", "options": options or {}}
    return PythonConnector().receiver(PythonSinkOptions.model_validate(keys), context(**service))


def test_returning_means_delivered_and_the_records_are_objects_in_order() -> None:
    (answer,) = answers_of(receiver(options={"currency": "EUR"}), request(b'{"id":1,"a":{"b":[1.5,null]}}', b'{"id":2}'))
    assert answer == Answer(Verdict.DELIVERED)
    assert SEEN == [{"currency": "EUR"}, [{"id": 1, "a": {"b": [1.5, None]}}, {"id": 2}], "closed"]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b'{"do":"wait"}', Answer(Verdict.WAIT, "the shop is closed")),
        (b'{"do":"wait","after_s":2.5}', Answer(Verdict.WAIT, "the shop is closed", wait_s=2.5)),
        (b'{"do":"wait","after_s":-1}', Answer(Verdict.WAIT, "the shop is closed")),
        (b'{"do":"wait","after_s":"soon"}', Answer(Verdict.WAIT, "the shop is closed")),
        (b'{"do":"wait","status":"429"}', Answer(Verdict.WAIT, "the shop is closed", "429")),
        (b'{"do":"wait","status":"too\\nmany"}', Answer(Verdict.WAIT, "the shop is closed", "too many")),
        (b'{"do":"bad"}', Answer(Verdict.BAD, "no such shop")),
        (b'{"do":"bad","status":422}', Answer(Verdict.BAD, "no such shop", "422")),
        (b'{"do":"plain"}', Answer(Verdict.BAD, "of its own")),
        (b'{"do":"wordless"}', Answer(Verdict.BAD, "Bad")),
        (b'{"do":"fail"}', Answer(Verdict.WAIT, "KeyError: 'shop'")),
        (b'{"do":"fail without words"}', Answer(Verdict.WAIT, "RuntimeError")),
        (b'{"do":"time out"}', Answer(Verdict.WAIT, "TimeoutError: of its own")),
        (b'{"do":"cancel"}', Answer(Verdict.WAIT, "CancelledError")),
        (b'{"do":"long"}', Answer(Verdict.WAIT, "RuntimeError: " + "x" * 185 + "…")),
    ],
)
def test_what_the_class_raises_has_its_verdict(content: bytes, answer: Answer) -> None:
    assert answers_of(receiver(), request(content)) == [answer]


@pytest.mark.parametrize("after_s", [math.inf, math.nan, -math.inf])
def test_a_wait_that_never_ends_is_not_believed(after_s: float) -> None:
    assert _answer_of(Wait("later", after_s=after_s)) == Answer(Verdict.WAIT, "later")


def test_a_call_that_takes_too_long_means_to_wait() -> None:
    answers = answers_of(receiver(timeout_s=0.05), request(b'{"do":"hang"}'), request(b"{}"))
    assert answers == [Answer(Verdict.WAIT, "no answer within 0.05 s"), Answer(Verdict.DELIVERED)]


def test_every_try_gets_fresh_records() -> None:
    again = request(b'{"do":"bad","id":1}')
    answers_of(receiver(), again, again)
    assert SEEN[1] == SEEN[2] == [{"do": "bad", "id": 1}]


def test_a_cancelled_call_is_cancelled() -> None:
    async def cancelled(sink: Receiver) -> None:
        running = asyncio.create_task(sink.deliver(request(b'{"do":"hang"}')))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled(receiver()))


def test_a_class_that_asks_for_keys_gets_one_for_each_record() -> None:
    answers_of(receiver("WithKeys"), request(b'{"id":1}', b'{"id":2}'))
    assert SEEN == [([{"id": 1}, {"id": 2}], ["k1", "k2"])]


def test_a_class_needs_no_close() -> None:
    assert answers_of(receiver("Silent"), request(b"{}")) == [Answer(Verdict.DELIVERED)]


@pytest.mark.parametrize("content", [b"[1]", b'{"a":s3cret}', b'{"a":"\xff"}', b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_a_record_that_is_no_object_is_bad_and_the_class_is_not_called(content: bytes) -> None:
    (answer,) = answers_of(receiver("WithKeys"), request(b"{}", content))
    assert (answer.verdict, answer.words[:24]) == (Verdict.BAD, "record 2 cannot be read ")
    assert "s3cret" not in answer.words
    assert SEEN == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Missing", "cannot be created"),
        ("Broken", "cannot be created: ValueError: no currency"),
        ("Blocking", "is not a coroutine"),
        ("SEEN", "cannot be created"),
    ],
)
def test_a_class_that_cannot_be_used_is_a_fault_of_the_configuration(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sinks\.out\.class") as caught:
        receiver(name)
    assert words in str(caught.value)
    assert "docs/delivery.md" in str(caught.value)


def sink(folder: Path, keys: str) -> PythonSinkOptions:
    (folder / "pipeline.toml").write_text(f'[sources.log]\npath = "a"\n[sinks.out]\ntype = "python"\n{keys}\n', encoding="utf-8")
    options = load(str(folder / "pipeline.toml")).sinks["out"]
    assert isinstance(options, PythonSinkOptions)
    return options


def test_the_target_is_the_class(tmp_path: Path) -> None:
    options = sink(tmp_path, 'class = "shop.sinks:Orders"\noptions = { currency = "EUR", rates = [1, 2.5], deep = { a = true } }')
    assert options.target() == {"type": "python", "service": "", "class": "shop.sinks:Orders"}
    assert options.options == {"currency": "EUR", "rates": [1, 2.5], "deep": {"a": True}}
    assert type(options.options["currency"]) is str


@pytest.mark.parametrize(
    ("keys", "wanted"), [("", "a value"), ('class = "shop"', "package.module:Class"), ('class = "a:B"\noptions = 5', "a table")]
)
def test_a_class_must_be_named(tmp_path: Path, keys: str, wanted: str) -> None:
    with pytest.raises(ConfigurationFaultsError, match=wanted):
        sink(tmp_path, keys)


def test_the_two_exceptions_are_public() -> None:
    assert {"Bad", "Wait"} <= set(event_processor.__all__)


# The example of the page.


def example(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Receiver:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    keys = {"type": "python", "class": "ticket_folder:TicketFolder", "options": {"folder": str(folder)}}
    return PythonConnector().receiver(PythonSinkOptions.model_validate(keys), context())


def test_the_example_keeps_each_record_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    twice = request(b'{"id":1,"text":"caf\\u00e9"}', b'{"id":2}')
    answers = answers_of(example(monkeypatch, tmp_path), twice, twice)
    assert [answer.verdict for answer in answers] == [Verdict.DELIVERED] * 2
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()]
    assert sorted(kept, key=lambda each: int(each["id"])) == [{"id": 1, "text": "café"}, {"id": 2}]


def test_the_example_waits_for_its_folder_and_refuses_a_ticket_without_an_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tickets"
    waits, refuses = answers_of(example(monkeypatch, folder), request(b'{"id":1}'), request(b'{"n":1}'))
    assert waits == Answer(Verdict.WAIT, f"{folder}: No such file or directory", wait_s=5.0)
    assert refuses == Answer(Verdict.BAD, "a ticket needs an id")
