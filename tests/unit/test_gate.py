"""Who may ask: the token, sessions, the names of the server, and pages of other sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_processor.configuration.http_options import HttpOptions
from event_processor.model.errors import ConfigurationError
from event_processor.model.options import SecretPath
from event_processor.service.web.gate import SESSION_COOKIE, SESSION_S, Gate, read_token
from event_processor.storage.durable import OperatingSystem
from support.engine import FakeClock

TOKEN = "a-token-of-some-length"
SECRET = b"s" * 32


def gate(token: str = TOKEN, *hosts: str, clock: FakeClock | None = None, secret: bytes = SECRET) -> Gate:
    return Gate(token, hosts, secret, clock or FakeClock())


def test_without_a_token_everybody_may_ask() -> None:
    assert gate("").admits("", "")


@pytest.mark.parametrize(
    ("authorization", "is_admitted"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer ", False),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("", False),
    ],
)
def test_only_the_whole_token_opens(authorization: str, is_admitted: bool) -> None:
    assert gate().admits(authorization, "") == is_admitted


def test_a_session_opens_until_it_ends() -> None:
    clock = FakeClock()
    session = gate(clock=clock).session()
    cookie = f"other=1; {SESSION_COOKIE}={session}"
    assert gate(clock=clock).admits("", cookie)
    clock.now_s += SESSION_S - 1
    assert gate(clock=clock).admits("", cookie)
    clock.now_s += 1
    assert not gate(clock=clock).admits("", cookie)


def test_a_session_of_another_token_or_of_another_process_or_a_forged_one_does_not_open() -> None:
    session = gate().session()
    ends, signature = session.split(".")
    assert not gate("another-token-of-length").admits("", f"{SESSION_COOKIE}={session}")
    assert not gate(secret=b"t" * 32).admits("", f"{SESSION_COOKIE}={session}")
    assert not gate().admits("", f"{SESSION_COOKIE}={int(ends) + 1}.{signature}")
    assert not gate().admits("", f"{SESSION_COOKIE}={ends}.{'0' * 64}")
    assert not gate().admits("", f"{SESSION_COOKIE}=")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8321", "10.0.0.7:1", "[::1]:8321", "localhost", "LOCALHOST:8321", "events.example.com"]
)
def test_an_ip_address_and_an_allowed_name_are_ours(host: str) -> None:
    assert gate(TOKEN, "events.example.com").knows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.com",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "127.0.0.1@evil.com",
        "127.0.0.1, evil.com",
        "a b",
        "[::1]evil.com",
        "1.2.3.4:x",
    ],
)
def test_any_other_name_is_not_ours_because_a_page_can_make_it_lead_here(host: str) -> None:
    assert not gate().knows_host(host)


@pytest.mark.parametrize(
    ("origin", "host", "is_ours"),
    [
        ("http://127.0.0.1:8321", "127.0.0.1:8321", True),
        ("http://localhost:8321", "localhost:8321", True),
        ("http://127.0.0.1", "127.0.0.1:80", True),
        ("http://[::1]:8321", "[::1]:8321", True),
        ("https://events.example.com", "127.0.0.1:8321", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8321", False),
        ("http://evil.com", "127.0.0.1:8321", False),
        ("http://localhost:9000", "127.0.0.1:8321", False),
        ("null", "127.0.0.1:8321", False),
        ("file://", "127.0.0.1:8321", False),
        ("http://127.0.0.1:8321:x", "127.0.0.1:8321", False),
        ("", "127.0.0.1:8321", False),
    ],
)
def test_a_page_of_the_same_server_may_ask_and_no_other(origin: str, host: str, is_ours: bool) -> None:
    assert gate(TOKEN, "events.example.com").knows_origin(origin, host) == is_ours


def options(path: str) -> HttpOptions:
    return HttpOptions(token_file=SecretPath(path))


def test_a_token_is_read_from_its_file_also_below_a_folder_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(options("${FOLDER}/token"), OperatingSystem(), {"FOLDER": str(tmp_path)}) == TOKEN
    assert read_token(HttpOptions(), OperatingSystem(), {}) == ""


@pytest.mark.parametrize("content", [b"", b"short", b"a token with spaces in it", b"\xff" * 20])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"http\.token_file") as refused:
        read_token(options(str(tmp_path / "token")), OperatingSystem(), {})
    assert not content.strip() or content.decode("utf-8", "replace") not in str(refused.value)


def test_a_missing_file_and_a_missing_variable_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_token(options(str(tmp_path / "token")), OperatingSystem(), {})
    with pytest.raises(ConfigurationError, match="no variable FOLDER"):
        read_token(options("${FOLDER}/token"), OperatingSystem(), {})
    with pytest.raises(ConfigurationError, match=r"(read|open) failed"):
        read_token(options(str(tmp_path)), OperatingSystem(), {})
