"""The downstream API of the example of concurrent streams: its limit, its rules, its counts, its failures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.documents import ROOT
from support.modules import modules_of

EXAMPLE = ROOT / "examples" / "001-streams"
API, RULES = modules_of(EXAMPLE, "downstream_api", "downstream_rules")
SECOND_NS = 1_000_000_000
NOW_S = 1_760_000_000.25
SOUND: dict[str, Any] = {
    "source": "user_events",
    "timestamp": NOW_S,
    "priority": 2,
    "processed_at": NOW_S,
    "processing_time_ms": 0.5,
    "transformed_data": {"fields": 0},
}
STEADY: dict[str, Any] = {"fail": 0.0, "delay_ms": (0.0, 0.0)}


class Client:
    """One connection that is kept."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").partition(":")
        self.connection = HTTPConnection(host, int(port), timeout=60)

    def close(self) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: object = None, key: str = "") -> tuple[int, Any, str | None]:
        """The status, the document and `Retry-After`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, content, {"Idempotency-Key": key} if key else {})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers["Retry-After"]

    def send(self, key: str, **changes: Any) -> int:
        return self.ask("POST", "/records", SOUND | changes, key)[0]

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.ask("GET", "/figures")[1]
        return figures


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of an API without failures and delays, and with a limit that no test reaches by chance."""
    settings = RULES.Settings(requests_per_s=10_000, **STEADY)
    with API.RunningApi(settings) as running, closing(Client(running.address)) as made:
        yield made


def windows(arrivals: list[int]) -> list[int]:
    """For each arrival, how many came in the second that ends with it."""
    return [sum(arrivals[last] - SECOND_NS < other for other in arrivals[: last + 1]) for last in range(len(arrivals))]


@given(st.lists(st.integers(0, 400_000_000) | st.sampled_from([0, SECOND_NS, SECOND_NS - 1]), max_size=60))
def test_the_window_counts_as_a_count_of_all_arrivals_does(distances: list[int]) -> None:
    window = RULES.Window()
    arrivals = [sum(distances[: place + 1]) for place in range(len(distances))]
    assert [window.arrive(moment) for moment in arrivals] == windows(arrivals)
    assert window.worst == max(windows(arrivals), default=0)
    assert window.arrivals_ns == arrivals


def test_a_request_above_the_limit_is_refused_and_counted() -> None:
    with API.RunningApi(RULES.Settings(**STEADY)) as running:

        def several(caller: int) -> list[tuple[int, Any, str | None]]:
            with closing(Client(running.address)) as one:
                return [one.ask("POST", "/records", SOUND, f"{caller}-{number}") for number in range(10)]

        with ThreadPoolExecutor(4) as callers:
            answers = [answer for answers in callers.map(several, range(4)) for answer in answers]
        with closing(Client(running.address)) as one:
            figures, arrivals = one.figures(), one.ask("GET", "/arrivals")[1]
    counted = windows(arrivals)
    assert figures["requests"] == len(arrivals) == 40
    assert figures["worst_window"] == max(counted)
    refused = sum(number > 15 for number in counted)
    assert figures["limited_429"] == refused == sum(status == 429 for status, _, _ in answers)
    assert {after for status, _, after in answers if status == 429} <= {"1"}
    assert figures["distinct_keys"] == 40 - refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", ""),
        ("source", "weather"),
        ("source", None),
        ("source", ["user_events"]),
        ("timestamp", "now"),
        ("timestamp", None),
        ("timestamp", True),
        ("priority", 0),
        ("priority", 5),
        ("priority", "1"),
        ("priority", True),
        ("priority", 1.0),
        ("processed_at", NOW_S - 0.001),
        ("processed_at", "2026-01-01T00:00:00Z"),
        ("processing_time_ms", -0.001),
        ("processing_time_ms", 10_000),
        ("processing_time_ms", None),
        ("transformed_data", {}),
        ("transformed_data", [1]),
        ("transformed_data", None),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_with_the_field(field: str, value: Any, client: Client) -> None:
    status, document, _ = client.ask("POST", "/records", SOUND | {field: value}, "a")
    assert (status, document["error"].partition(":")[0]) == (422, field)
    missing = {name: held for name, held in SOUND.items() if name != field}
    status, document, _ = client.ask("POST", "/records", missing, "a")
    assert (status, document["error"].partition(":")[0]) == (422, field)
    figures = client.figures()
    assert (figures["refused_422"], figures["accepted"], figures["requests"]) == (2, 0, 2)


def test_a_key_is_counted_once_and_its_repeats_apart(client: Client) -> None:
    assert [client.send("a"), client.send("b", source="security_logs", priority=4)] == [201, 201]
    assert [client.send("a"), client.send("a"), client.send("b", priority=3)] == [200, 200, 200]
    figures = client.figures()
    assert (figures["accepted"], figures["distinct_keys"], figures["repeats"], figures["changed"]) == (5, 2, 3, 1)
    assert figures["by_source"] == {"security_logs": 1, "user_events": 1}
    assert figures["by_priority"] == {"2": 1, "4": 1}
    assert client.ask("GET", "/keys")[1] == {"a": 3, "b": 2}


def test_a_request_without_a_key_or_without_json_is_refused(client: Client) -> None:
    assert client.ask("POST", "/records", SOUND)[:2] == (400, {"error": "Idempotency-Key: missing"})
    assert client.ask("POST", "/records", b"{", "a")[:2] == (400, {"error": "the body is not JSON"})
    assert client.ask("POST", "/records", [SOUND], "a")[:2] == (422, {"error": "record: must be an object"})
    assert client.figures()["refused_400"] == 2


def test_failures_come_as_often_as_the_seed_says() -> None:
    statuses = []
    for _ in range(2):
        settings = RULES.Settings(requests_per_s=10_000, fail=0.15, delay_ms=(0.0, 0.0))
        with API.RunningApi(settings, seed=5) as running, closing(Client(running.address)) as one:
            statuses.append([one.send(str(number)) for number in range(300)])
            figures = one.figures()
    assert statuses[0] == statuses[1]
    assert set(statuses[0]) == {201, 500, 503}
    assert figures["failures"] == 300 - statuses[0].count(201) == 300 - figures["distinct_keys"]
    assert 25 <= figures["failures"] <= 65


def test_a_failure_after_the_record_was_kept_makes_a_repeat(client: Client) -> None:
    assert client.ask("POST", "/control", {"fail": 1, "fail_late": 1})[0] == 200
    assert client.send("a") in (500, 503)
    assert client.send("b", priority=9) == 422
    assert client.ask("POST", "/control", {"fail": 0})[0] == 200
    assert client.send("a") == 200
    figures = client.figures()
    assert (figures["distinct_keys"], figures["repeats"], figures["failures"]) == (1, 1, 1)


@pytest.mark.parametrize("asked", [3, "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_the_api_can_ask_to_wait(asked: object, client: Client) -> None:
    client.ask("POST", "/control", {"fail": 1, "retry_after": asked})
    assert client.ask("POST", "/records", SOUND, "a")[2] == str(asked)
    client.ask("POST", "/control", {"fail": 0, "requests_per_s": 0})
    assert client.ask("POST", "/records", SOUND, "a")[::2] == (429, str(asked))


def test_an_api_that_is_down_closes_connections_without_an_answer(client: Client) -> None:
    client.ask("POST", "/control", {"down": True})
    with pytest.raises(RemoteDisconnected):
        client.send("a")
    client.close()
    assert client.ask("GET", "/health")[1] == {"status": "down"}
    assert client.ask("POST", "/control", {"down": False})[0] == 200
    assert client.send("a") == 201
    assert (client.figures()["closed"], client.figures()["requests"]) == (1, 2)


@pytest.mark.parametrize("changes", [{"fial": 1}, {"fail": "often"}, {"down": 1}, {"fail": 0.5, "delay_ms": 3}, [], 7])
def test_a_setting_that_does_not_exist_changes_nothing(changes: object, client: Client) -> None:
    assert client.ask("POST", "/control", changes)[0] == 422
    assert client.send("a") == 201


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/records", 405), ("POST", "/figures", 405), ("GET", "/elsewhere", 404)]
)
def test_an_unknown_call_is_refused(method: str, path: str, status: int, client: Client) -> None:
    assert client.ask(method, path)[0] == status
    assert client.figures()["requests"] == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /records HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /records HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"POST /records HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /records HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(head: bytes, status: int, client: Client) -> None:
    client.connection.connect()
    client.connection.sock.sendall(head)
    answer = client.connection.sock.makefile("rb").read()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    client.close()
    assert client.figures()["requests"] == 0


def test_the_script_prints_its_address_and_ends_when_it_is_asked_to() -> None:
    command = [sys.executable, str(EXAMPLE / "downstream_api.py"), "--port", "0", "--fail", "0", "--delay-ms", "0", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with closing(Client(process.stdout.readline().strip())) as one:
            assert one.ask("GET", "/health")[1] == {"status": "up"}
            assert one.send("a") == 201
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, ("", ""))


def test_a_port_that_is_taken_is_said_in_words(client: Client) -> None:
    command = [sys.executable, str(EXAMPLE / "downstream_api.py"), "--port", str(client.connection.port)]
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"port {client.connection.port}: ")
    assert "Traceback" not in finished.stderr
