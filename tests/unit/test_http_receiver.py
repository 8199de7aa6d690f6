"""The HTTP receiver against a real server: what it sends, and what each answer and each failure means."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from event_processor.connectors.http.client import HttpClient, _failed
from event_processor.connectors.http.connector import HttpConnector
from event_processor.connectors.http.credentials import Credentials
from event_processor.connectors.http.options import HttpSinkOptions
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import Receiver
from event_processor.model.errors import ConfigurationError
from event_processor.model.options import ConfiguredPath
from support.delivery_requests import ReceiverWorld, answers_of, context, request
from support.http_service import Answers, HttpService, Reply, make_certificate, server_tls

EVENT = b'{"id":1,"name":"Grace Hopper"}'
TOKEN = "t0ken-that-is-s3cret"
TRIES_MAX = 100


def receiver(
    base_url: str, environment: dict[str, str] | None = None, service: dict[str, Any] | None = None, **sink: Any
) -> Receiver:
    options = HttpSinkOptions.model_validate({"type": "http", "service": "api", **sink})
    return HttpConnector().receiver(options, context(environment, base_url=base_url, **(service or {})))


@contextlib.contextmanager
def serving(*replies: Reply, answers: Answers | None = None, tls: ssl.SSLContext | None = None) -> Iterator[HttpService]:
    with HttpService(answers or replies or (Reply(),), tls) as service:
        yield service


def answer_to(*replies: Reply, content: bytes = EVENT, **options: Any) -> Answer:
    """The one answer to one request."""
    with serving(*replies) as service:
        (answer,) = answers_of(receiver(service.base_url, **options), request(content))
        assert len(service.received) == 1, "a receiver sends a request once"
    return answer


# What is sent.


def test_a_request_has_its_key_its_attempt_and_its_body() -> None:
    with serving() as service:
        sink = receiver(f"{service.base_url}/v1/", path="/records", method="PUT", headers={"X-Origin": "shop"})
        (answer,) = answers_of(sink, request(EVENT, tries=4))
    (got,) = service.received
    assert answer == Answer(Verdict.DELIVERED, status="200")
    assert (got.method, got.path, got.body) == ("PUT", "/v1/records", EVENT)
    ours = {name: got.headers.get(name) for name in ("idempotency-key", "event-processor-attempt", "content-type", "x-origin")}
    assert ours == {
        "idempotency-key": "k",
        "event-processor-attempt": "5",
        "content-type": "application/json",
        "x-origin": "shop",
    }
    assert "authorization" not in got.headers


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("s1:out:log:1:4711", "s1:out:log:1:4711"),
        ("café au lait\r\nX: 1 50%", "caf%C3%A9%20au%20lait%0D%0AX:%201%2050%25"),
        ("\ud800", "%ED%A0%80"),
        ("x" * 256, hashlib.sha256(b"x" * 256).hexdigest()),
    ],
)
def test_a_key_is_one_header_whatever_it_holds(key: str, sent: str) -> None:
    with serving() as service:
        (answer,) = answers_of(receiver(service.base_url), replace(request(EVENT), key=key))
    assert (answer.verdict, service.received[0].headers["idempotency-key"]) == (Verdict.DELIVERED, sent)
    assert "x" not in service.received[0].headers


def test_several_records_are_one_body_and_their_type_may_be_named() -> None:
    with serving() as service:
        answers_of(receiver(service.base_url, body="ndjson", request_events_max=9), request(EVENT, b"{}"))
        answers_of(receiver(service.base_url, body="array", request_events_max=9, fields={"n": "id"}), request(EVENT, b"{}"))
        answers_of(receiver(service.base_url, headers={"CONTENT-TYPE": "application/cloudevents+json"}), request(EVENT))
    sent = [(got.body, got.headers["content-type"]) for got in service.received]
    assert sent == [
        (EVENT + b"\n{}\n", "application/x-ndjson"),
        (b'[{"n":1},{"n":null}]', "application/json"),
        (EVENT, "application/cloudevents+json"),
    ]


def test_a_record_that_cannot_be_encoded_is_bad_and_nothing_is_sent() -> None:
    with serving() as service:
        answers = answers_of(receiver(service.base_url, fields={"n": "id"}), request(b'{"id":tru}'))
    assert [answer.verdict for answer in answers] == [Verdict.BAD]
    assert service.received == []


def test_connections_are_kept_and_used_again() -> None:
    with serving(Reply(), Reply(204), Reply(503, b"busy"), Reply(422, b"no"), Reply(200, b"x" * 60_000)) as service:
        answers = answers_of(receiver(service.base_url), *[request(EVENT)] * 6)
    assert [answer.status for answer in answers] == ["200", "204", "503", "422", "200", "200"]
    assert service.connections == 1


def test_no_cookie_is_kept_and_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with serving(Reply(headers=[("Set-Cookie", "session=1; Path=/")])) as service:
        answers = answers_of(receiver(service.base_url), request(EVENT), request(EVENT))
    assert [answer.verdict for answer in answers] == [Verdict.DELIVERED] * 2
    assert all("cookie" not in got.headers for got in service.received)


def test_a_redirect_is_not_followed() -> None:
    for status in (301, 302, 303, 307, 308):
        answer = answer_to(Reply(status, headers=[("Location", "/elsewhere")]))
        assert (answer.verdict, answer.status) == (Verdict.STOP, str(status))
        assert "redirect" in answer.words


# What an answer means.


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED), (201, Verdict.DELIVERED), (204, Verdict.DELIVERED),
        (400, Verdict.BAD), (422, Verdict.BAD), (413, Verdict.BAD), (418, Verdict.BAD), (451, Verdict.BAD),
        (408, Verdict.WAIT), (409, Verdict.WAIT), (425, Verdict.WAIT), (429, Verdict.WAIT),
        (500, Verdict.WAIT), (503, Verdict.WAIT), (599, Verdict.WAIT),
        (401, Verdict.STOP), (403, Verdict.STOP), (404, Verdict.STOP), (415, Verdict.STOP),
    ],
)  # fmt: skip
def test_a_status_has_the_verdict_of_the_classifier(status: int, verdict: Verdict) -> None:
    answer = answer_to(Reply(status))
    assert (answer.verdict, answer.status) == (verdict, str(status))
    assert answer.is_too_large == (status == 413)
    assert bool(answer.words) == (verdict is not Verdict.DELIVERED)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("3", 3.0), ("Mon, 12 Jan 1970 13:47:10 GMT", 30.0), ("soon", 0.0), ("9" * 400, 0.0)],
)
def test_the_wait_that_is_asked_for_is_read_by_our_clock(header: str, wait_s: float) -> None:
    # The clock of the test stands at 1,000,000 s: 12 January 1970, 13:46:40.
    answer = answer_to(Reply(429, headers=[("Retry-After", header)]))
    assert (answer.verdict, answer.wait_s) == (Verdict.WAIT, wait_s)


def test_a_refusal_has_the_first_words_of_the_service_in_one_line() -> None:
    answer = answer_to(Reply(422, b'{"error":\n  "amount \x1b[31m must be positive"}' + b"!" * 1000))
    assert answer.words.startswith('{"error": "amount \\u001b[31m must be positive"}!!!')
    assert len(answer.words) <= 210


def test_words_repeat_neither_the_token_nor_what_was_sent() -> None:
    with serving(answers=lambda got: Reply(422, got.headers["authorization"].encode() + b" sent " + got.body)) as service:
        sink = receiver(service.base_url, {"API_TOKEN": TOKEN}, {"token_env": "API_TOKEN"})
        (answer,) = answers_of(sink, request(EVENT))
    assert answer.words == 'Bearer *** sent {"id":1,"name":"***"}'


def test_a_compressed_refusal_is_not_shown() -> None:
    assert answer_to(Reply(422, b"\x1f\x8b", headers=[("Content-Encoding", "gzip")])).words == "Unprocessable Entity"


@pytest.mark.parametrize("status", [200, 503])
def test_of_a_huge_answer_only_the_beginning_is_read(status: int) -> None:
    with serving(Reply(status, b"x" * 3_000_000), Reply()) as service:
        answers = answers_of(receiver(service.base_url), request(EVENT), request(EVENT))
    assert [answer.status for answer in answers] == [str(status), "200"]
    assert service.connections == 2, "the rest of the answer is on the first one"


# What a failure means.


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(raw=b""), "the connection was closed without an answer"),
        (Reply(raw=b"SSH-2.0-s3cret\r\n\r\n"), "the answer is not HTTP"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le"), "the connection was closed without an answer"),
        (Reply(body=b"x" * 100, cut_at=10), "the answer ended early"),
        (Reply(422, b"x" * 100, cut_at=10), "the answer ended early"),
    ],
)
def test_an_answer_that_is_none_means_to_wait(reply: Reply, words: str) -> None:
    assert answer_to(reply) == Answer(Verdict.WAIT, words)


def test_a_reset_means_to_wait() -> None:
    answer = answer_to(Reply(resets=True))
    assert (answer.verdict, answer.status) == (Verdict.WAIT, "")
    assert "connection" in answer.words


@pytest.mark.parametrize(
    "reply", [Reply(is_held=True), Reply(body=b"x" * 1000, drip_s=0.02), Reply(422, b"x" * 1000, drip_s=0.02)]
)
def test_a_slow_answer_means_to_wait(reply: Reply) -> None:
    with serving(reply) as service:
        (answer,) = answers_of(receiver(service.base_url, service={"timeout_s": 0.2}), request(EVENT))
        # On a busy machine the time may be over before it is sent.
        assert len(service.received) <= 1
    assert answer == Answer(Verdict.WAIT, "no answer within 0.2 s")


def test_after_slow_answers_the_connections_are_there_for_others() -> None:
    async def played(sink: Receiver) -> list[Verdict]:
        await sink.open()
        verdicts: list[Verdict] = []
        while Verdict.DELIVERED not in verdicts and len(verdicts) < TRIES_MAX:
            verdicts.append((await sink.deliver(request(EVENT))).verdict)
        await sink.close()
        return verdicts

    with serving(*[Reply(is_held=True)] * 3, Reply()) as service:
        verdicts = asyncio.run(played(receiver(service.base_url, service={"timeout_s": 0.2, "concurrency": 1})))
    # On a busy machine even an answer that is not held may be late, but not every time.
    assert verdicts[:3] == [Verdict.WAIT] * 3
    assert verdicts[-1] is Verdict.DELIVERED


def test_a_refused_connection_means_to_wait() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but not listening
        (answer,) = answers_of(receiver(f"http://127.0.0.1:{closed.getsockname()[1]}"), request(EVENT))
    assert answer == Answer(Verdict.WAIT, "no connection: Connection refused")


def test_a_name_that_is_not_found_means_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    (answer,) = answers_of(receiver("http://service.invalid"), request(EVENT))
    assert answer == Answer(Verdict.WAIT, "no connection: the name of the service is not found: Name or service not known")


def test_a_cancelled_request_is_cancelled() -> None:
    async def cancelled(sink: Receiver, service: HttpService) -> None:
        await sink.open()
        running = asyncio.create_task(sink.deliver(request(EVENT)))
        await asyncio.to_thread(service.wait_for, 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await sink.close()

    with serving(Reply(is_held=True)) as service:
        asyncio.run(cancelled(receiver(service.base_url), service))


def test_several_requests_run_at_once() -> None:
    async def played(sink: Receiver, service: HttpService) -> list[Answer]:
        await sink.open()
        running = [asyncio.create_task(sink.deliver(request(EVENT))) for _ in range(8)]
        await asyncio.to_thread(service.wait_for, 8)
        service.release()
        answers = await asyncio.gather(*running)
        await sink.close()
        return answers

    with serving(Reply(is_held=True)) as service:
        answers = asyncio.run(played(receiver(service.base_url, service={"concurrency": 2}), service))
    assert [answer.verdict for answer in answers] == [Verdict.DELIVERED] * 8


# Tokens.


def test_the_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"  {TOKEN}\n", encoding="utf-8")
    with serving() as service:
        answers_of(receiver(service.base_url, {"API_TOKEN": f"{TOKEN}\n"}, {"token_env": "API_TOKEN"}), request(EVENT))
        answers_of(receiver(service.base_url, None, {"token_file": str(tmp_path / "token")}), request(EVENT))
    assert [got.headers["authorization"] for got in service.received] == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("two words", "holds a space"),
        ("a\nb", "holds a space"),
        ("ä", "holds"),
    ],
)
def test_without_its_token_nothing_is_sent_until_the_file_is_repaired(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with serving() as service:
        sink = receiver(service.base_url, None, {"token_file": str(file)})
        stopped, delivered = answers_of(sink, request(EVENT), request(EVENT), between=lambda: file.write_text(TOKEN))
    assert (stopped.verdict, delivered.verdict, len(service.received)) == (Verdict.STOP, Verdict.DELIVERED, 1)
    assert f"token_file: {file}" in stopped.words
    assert words in stopped.words
    assert not (content and content.strip() and content.strip() in stopped.words)


def test_a_token_that_is_gone_is_not_sent_any_more(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    with serving() as service:
        sink = receiver(service.base_url, None, {"token_file": str(file)})
        delivered, stopped = answers_of(sink, request(EVENT), request(EVENT), between=lambda: file.unlink(missing_ok=True))
    assert (delivered.verdict, stopped.verdict, len(service.received)) == (Verdict.DELIVERED, Verdict.STOP, 1)


@pytest.mark.parametrize(
    ("environment", "words"), [({}, "has no variable API_TOKEN"), ({"API_TOKEN": " "}, "API_TOKEN is empty")]
)
def test_a_token_that_the_environment_does_not_have_stops_the_lane(environment: dict[str, str], words: str) -> None:
    with serving() as service:
        (answer,) = answers_of(receiver(service.base_url, environment, {"token_env": "API_TOKEN"}), request(EVENT))
    assert (answer.verdict, service.received) == (Verdict.STOP, [])
    assert words in answer.words


def test_the_path_of_a_token_may_have_variables_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "api-token").write_text(TOKEN, encoding="utf-8")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "NAME": "api"}
    keys = {"token_file": "${CREDENTIALS_DIRECTORY}/${NAME}-token"}
    with serving() as service:
        (delivered,) = answers_of(receiver(service.base_url, environment, keys), request(EVENT))
        (stopped,) = answers_of(receiver(service.base_url, {"NAME": "api"}, keys), request(EVENT))
    assert (delivered.verdict, stopped.verdict) == (Verdict.DELIVERED, Verdict.STOP)
    assert f"{keys['token_file']}: the environment has no variable CREDENTIALS_DIRECTORY" in stopped.words
    assert [got.headers["authorization"] for got in service.received] == [f"Bearer {TOKEN}"]


def test_a_token_that_is_refused_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old", encoding="utf-8")
    with serving(answers=lambda got: Reply(200 if got.headers["authorization"] == f"Bearer {TOKEN}" else 401)) as service:
        sink = receiver(service.base_url, None, {"token_file": str(file)})
        refused, accepted = answers_of(sink, request(EVENT), request(EVENT), between=lambda: file.write_text(TOKEN))
    assert refused == Answer(Verdict.STOP, f"the service refuses the token of {file}", "401")
    assert accepted.verdict is Verdict.DELIVERED


def test_a_refusal_without_a_token_says_what_to_set() -> None:
    assert answer_to(Reply(403)).words == "the service wants a token: set token_file or token_env"


# TLS.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder)
    make_certificate(folder, "client")
    return folder


def tls_answer(certificates: Path, tls: dict[str, str], *, client_ca: str = "", highest: ssl.TLSVersion | None = None) -> Answer:
    ca = certificates / client_ca if client_ca else None
    protected = server_tls(certificates / "service.pem", certificates / "service.key", client_ca=ca)
    if highest is not None:
        protected.maximum_version = highest
    with serving(tls=protected) as service:
        paths = {key: ConfiguredPath(str(certificates / name)) for key, name in tls.items()}
        (answer,) = answers_of(receiver(service.base_url, service={"tls": paths}), request(EVENT))
    return answer


def test_a_certificate_that_the_ca_file_signs_is_trusted(certificates: Path) -> None:
    assert tls_answer(certificates, {"ca_file": "service.pem"}).verdict is Verdict.DELIVERED


def test_a_certificate_that_is_not_trusted_stops_the_lane(certificates: Path) -> None:
    answer = tls_answer(certificates, {})
    assert answer.verdict is Verdict.STOP
    assert answer.words.startswith("the certificate of the service is not trusted: ")


def test_our_certificate_is_shown_if_the_service_asks_for_one(certificates: Path) -> None:
    tls = {"ca_file": "service.pem", "cert_file": "client.pem", "key_file": "client.key"}
    assert tls_answer(certificates, tls, client_ca="client.pem").verdict is Verdict.DELIVERED


@pytest.mark.parametrize("reason", ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE"])
def test_a_service_that_refuses_our_certificate_stops_the_lane(reason: str) -> None:
    alert = ssl.SSLError(1, reason)
    alert.reason = reason
    answer = _failed(alert)
    assert (answer.verdict, answer.words) == (Verdict.STOP, f"the service refuses our certificate: {reason}; see tls.cert_file")


def test_a_service_that_speaks_no_tls_means_to_wait() -> None:
    wrong = ssl.SSLError(1, "WRONG_VERSION_NUMBER")
    wrong.reason = "WRONG_VERSION_NUMBER"
    assert _failed(wrong) == Answer(Verdict.WAIT, "no TLS connection: WRONG_VERSION_NUMBER")


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"ca_file": "none.pem"}, "tls.ca_file"),
        ({"ca_file": "service.key"}, "tls.ca_file"),
        ({"cert_file": "client.pem", "key_file": "service.key"}, "tls.cert_file"),
        ({"cert_file": "none.pem"}, "tls.cert_file"),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_stops_the_lane(certificates: Path, tls: dict[str, str], words: str) -> None:
    answer = tls_answer(certificates, tls)
    assert answer.verdict is Verdict.STOP
    assert answer.words.startswith(f"nothing can be sent: {words}: {certificates}/")


def test_a_key_with_a_password_does_not_ask_for_it(certificates: Path) -> None:
    command = ["openssl", "pkey", "-in", "client.key", "-aes256", "-passout", "pass:s3cret", "-out", "locked.key"]
    subprocess.run(command, check=True, capture_output=True, cwd=certificates)
    answer = tls_answer(certificates, {"cert_file": "client.pem", "key_file": "locked.key"})
    assert (answer.verdict, "tls.cert_file" in answer.words) == (Verdict.STOP, True)


def test_files_of_tls_are_read_again_before_a_probe(certificates: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes((certificates / "client.pem").read_bytes())
    with serving(tls=server_tls(certificates / "service.pem", certificates / "service.key")) as service:
        sink = receiver(service.base_url, service={"tls": {"ca_file": str(ca)}})
        repaired = (certificates / "service.pem").read_bytes()
        answers = answers_of(sink, request(EVENT), request(EVENT), between=lambda: ca.write_bytes(repaired))
    assert [answer.verdict for answer in answers] == [Verdict.STOP, Verdict.DELIVERED]


# The receiver and its client.


def test_the_client_returns_the_body_of_an_answer_cut_at_its_limit() -> None:
    async def exchanged(client: HttpClient) -> list[tuple[Answer, bytes]]:
        await client.open()
        try:
            return [await client.exchange("POST", "/predict", b"[]", {"content-type": "application/json"}) for _ in range(2)]
        finally:
            await client.close()

    with serving(Reply(200, b'{"category": 5}'), Reply(200, b"x" * 200)) as service:
        world = ReceiverWorld()
        options = context(base_url=service.base_url).service
        assert options is not None
        client = HttpClient(Credentials(options, world.fs, {}), world.clock, answer_bytes_max=100)
        found = asyncio.run(exchanged(client))
    assert [body for _, body in found] == [b'{"category": 5}', b"x" * 100]


def test_before_it_is_opened_and_after_it_is_closed_nothing_is_sent() -> None:
    async def played(sink: Receiver) -> list[Answer]:
        first = await sink.deliver(request(EVENT))
        await sink.open()
        await sink.close()
        return [first, await sink.deliver(request(EVENT))]

    with serving() as service:
        answers = asyncio.run(played(receiver(service.base_url)))
    assert [answer.verdict for answer in answers] == [Verdict.STOP] * 2
    assert service.received == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    monkeypatch.delitem(sys.modules, "event_processor.connectors.http.client", raising=False)
    monkeypatch.delitem(sys.modules, "event_processor.connectors.http.receiver", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'event-processor\[http\]'"):
        receiver("http://127.0.0.1:9000")


def test_without_an_address_there_is_no_receiver() -> None:
    options = HttpSinkOptions.model_validate({"type": "http", "service": "api"})
    with pytest.raises(ConfigurationError, match="no address"):
        HttpConnector().receiver(options, context())
