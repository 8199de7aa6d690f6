"""Who may ask: the token, the sessions of browsers, and the names under which the server may be addressed.

Owns: `Gate`: what a request's Host, Origin, Authorization and Cookie must be; reading the token.
Always: a secret is compared in constant time. A session ends with its token, with the process, or after `SESSION_S`. Nothing is kept
for a session, so no number of them costs memory.
Never: a message or a log holds a secret.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from event_processor.configuration.http_options import HttpOptions
from event_processor.model.contracts import Clock
from event_processor.model.errors import ConfigurationError, StorageError
from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import read_file

__all__ = ["SESSION_COOKIE", "SESSION_S", "Gate", "read_token"]

SESSION_COOKIE: Final = "event_processor_session"
SESSION_S: Final = 12 * 3600
TOKEN_CHARACTERS_MIN: Final = 16
_TOKEN: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")
_SESSION: Final = re.compile(r"(\d{1,12})\.([0-9a-f]{64})")
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


def read_token(options: HttpOptions, fs: FileSystem, variables: Mapping[str, str]) -> str:
    """The token; empty if none is configured. Raises `ConfigurationError`, whose words do not have it."""
    if options.token_file is None:
        return ""
    try:
        path = options.token_file.in_environment(variables)
    except KeyError as error:
        words = f"http.token_file: {options.token_file}: the environment has no variable {error.args[0]}"
        raise ConfigurationError(words, hint="set it for the service, or name the file without it") from error
    try:
        content = read_file(fs, path)
    except StorageError as error:
        raise ConfigurationError(f"http.token_file: {error.message}", hint="let the user of the service read it") from error
    if content is None:
        raise ConfigurationError(f"http.token_file: {path} does not exist", hint="write a random token of at least 16 characters")
    token = content.decode("utf-8", "replace").strip()
    if len(token) < TOKEN_CHARACTERS_MIN or not _TOKEN.fullmatch(token):
        wanted = f"one line of at least {TOKEN_CHARACTERS_MIN} characters without spaces"
        raise ConfigurationError(
            f"http.token_file: {path} does not hold {wanted}", hint="write such a token, for example 32 random letters"
        )
    return token


class Gate:
    """Decides about requests by their header fields. Used by the server's loop."""

    def __init__(self, token: str, allowed_hosts: tuple[str, ...], secret: bytes, clock: Clock) -> None:
        """`token`: empty if everybody may ask. `secret`: random bytes of this process, which sign sessions."""
        self._token: Final = token.encode()
        self._hosts: Final = frozenset(each.lower() for each in allowed_hosts) | {"localhost"}
        self._key: Final = hashlib.blake2b(self._token, key=secret).digest()
        self._clock: Final = clock

    @property
    def is_open(self) -> bool:
        """Whether no token is asked for."""
        return not self._token

    def knows_host(self, host: str) -> bool:
        """Whether the server may be addressed so (a Host field): by an IP address, or by a name that is allowed.

        A page of another site can make a browser resolve that site's name to our address, but not ask under our own name.
        """
        found = _HOST.fullmatch(host)
        return found is not None and self._is_allowed(found["name"])

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a browser's request comes from a page of this server, or of one behind a proxy that is allowed."""
        try:
            parts = urlsplit(origin)
            name, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return False
        if not name or parts.scheme not in _PORTS:
            return False
        if name in self._hosts - {"localhost"}:
            return True
        asked = urlsplit(f"{parts.scheme}://{host}")
        return (name, port) == (asked.hostname, asked.port or _PORTS[parts.scheme])

    def admits(self, authorization: str, cookie: str) -> bool:
        """Whether a request with these fields may see everything."""
        return self.is_open or self.knows_token(_bearer(authorization)) or self._knows_session(cookie)

    def knows_token(self, token: str) -> bool:
        """Whether `token` is the one of the configuration. Takes as long for any text."""
        return not self.is_open and hmac.compare_digest(_digest(token.encode("utf-8", "replace")), _digest(self._token))

    def session(self) -> str:
        """The value of a cookie for a new session."""
        ends_s = self._now_s() + SESSION_S
        return f"{ends_s}.{self._signature(ends_s)}"

    def _knows_session(self, cookie: str) -> bool:
        for each in cookie.split(";"):
            name, _, value = each.strip().partition("=")
            found = _SESSION.fullmatch(value) if name == SESSION_COOKIE else None
            if found and hmac.compare_digest(found[2], self._signature(int(found[1]))) and int(found[1]) > self._now_s():
                return True
        return False

    def _signature(self, ends_s: int) -> str:
        return hmac.new(self._key, str(ends_s).encode(), hashlib.sha256).hexdigest()

    def _now_s(self) -> int:
        return self._clock.wall_ns() // 10**9

    def _is_allowed(self, name: str) -> bool:
        return _is_ip(name) or name.lower() in self._hosts


@lru_cache(maxsize=64)
def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(content: bytes) -> bytes:
    """Of equal length for any content, so that a comparison says nothing about the token's length."""
    return hashlib.sha256(content).digest()
