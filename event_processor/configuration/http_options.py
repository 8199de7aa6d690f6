"""The keys of the HTTP server: where it listens, who may ask, how long a slow client is waited for, and whether events may be posted.

Owns: `HttpOptions`, the keys of `[http]`; `IntakeOptions`, the keys of `[intake]`; what a listen address is, and whether it is loopback.
Always: a server that other machines can reach has a token.
Never: opens a socket or reads the token (`service/web/` does).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from event_processor.model.options import SecretPath, Section

__all__ = ["HttpOptions", "IntakeOptions"]

_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})")
PORT_MAX: Final = 65_535
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}$")]


class HttpOptions(Section):
    """The HTTP server: health, the committed state as JSON, and metrics. Needs the extra `http`. `run --once` does not serve."""

    listen: str = Field(default="", examples=["127.0.0.1:8321"])
    """The address and the port: "127.0.0.1:8321", "[::1]:8321", "0.0.0.0:8321". "" = no server. Port 0: a free one, which the log
    names."""
    token_file: SecretPath | None = Field(default=None, examples=["secrets/http.token"])
    """The file with the token that a client must send (`Authorization: Bearer …`) for everything but /healthz: at least 16
    characters. Required if `listen` is not a loopback address. It is read again at a reload. `${NAME}` is an environment variable
    of the service, such as `${CREDENTIALS_DIRECTORY}`."""
    allowed_hosts: tuple[HostName, ...] = Field(default=(), examples=[["events.example.com"]])
    """Names under which browsers and proxies may address the server, besides IP addresses and "localhost"."""
    connections_max: int = Field(default=64, ge=1, le=10_000)
    """The maximum number of open connections. Another one is answered with 503."""
    body_bytes_max: int = Field(default=1_048_576, ge=1024, le=1 << 30)
    """The maximum bytes of a request's body. A longer one is answered with 413."""
    header_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """How long a client may take to send the header of a request, in seconds."""
    idle_timeout_s: float = Field(default=60.0, gt=0, le=86_400)
    """How long a connection may wait for its next request, in seconds."""
    stall_timeout_s: float = Field(default=20.0, gt=0, le=3600)
    """How long a client may send nothing of a body, or take nothing of an answer, in seconds."""
    body_rate_min: int = Field(default=1024, ge=1)
    """The minimum rate of a body in bytes a second, after the first `stall_timeout_s`. A slower one is answered with 408."""

    @field_validator("listen")
    @classmethod
    def _listen_is_an_address(cls, text: str) -> str:
        found = _ADDRESS.fullmatch(text)
        if text == "" or (found and int(found["port"]) <= PORT_MAX and (not found["six"] or _ip(found["six"]))):
            return text
        raise PydanticCustomError(
            "address", 'an address and a port, such as "127.0.0.1:8321" or "[::1]:8321", or "" for no server'
        )

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The parts of `listen`, which is not empty."""
        found = _ADDRESS.fullmatch(self.listen)
        assert found, "it was checked"
        return found["six"] or found["name"], int(found["port"])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `listen`."""
        host, _ = self.host_and_port
        address = _ip(host)
        return host == "localhost" if address is None else address.is_loopback


class IntakeOptions(Section):
    """Events that are posted to the HTTP server. They are counted like records of a log."""

    enabled: bool = False
    """Whether `POST /v1/events` takes events. Needs `http.listen`, and events that are counted once by their id."""
    wait_s_max: int = Field(default=30, ge=1, le=3600)
    """The maximum time for which an answer waits until its events are counted (`Prefer: wait=counted`), in seconds."""
    file_bytes_max: int = Field(default=67_108_864, ge=1024)
    """A file of the intake that has this size is set aside, and another one begins with the next event. Each is a generation."""
    keep_days: int = Field(default=0, ge=0, le=36_500)
    """A file that was set aside is removed so many days after its last event, if all of it is counted. Then `verify`, `replay` and
    `explain` cannot read it: they exit with 66. 0 = no file is removed."""
    free_bytes_min: int = Field(default=134_217_728, ge=0)
    """If the disk of the state has less free space than this, events are answered with 503, before the disk is full. 0 = no limit."""


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
