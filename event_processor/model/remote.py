"""The options of services and of remote sinks, as every connector shares them.

Owns: `ServiceOptions`, the keys of `[services.NAME]`, and `RemoteSinkOptions`, the keys of every sink with a lane.
Always: a secret comes from a file or from the environment. No key holds one.
Never: reads a secret, or connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.model.event import Json
from event_processor.model.options import SecretPath, Section, SinkOptions

__all__ = ["RemoteSinkOptions", "ServiceOptions", "TlsOptions"]

PER_S_MAX = 3600
FigureField = Annotated[str, StringConstraints(min_length=1)]


class TlsOptions(Section):
    """How a connection is protected. Without keys: the machine's certificates."""

    ca_file: SecretPath | None = Field(default=None, examples=["tls/ca.pem"])
    """The certificates (PEM) that sign the service's; by default the machine's. `${NAME}` is an environment variable of the service."""
    cert_file: SecretPath | None = Field(default=None, examples=["tls/cert.pem"])
    """Our own certificate (PEM), if the service asks for one. `${NAME}` is an environment variable of the service."""
    key_file: SecretPath | None = Field(default=None, examples=["tls/key.pem"])
    """The key (PEM) of `cert_file`; by default it is in the same file. `${NAME}` is an environment variable of the service."""

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("cert_file, the certificate of key_file")
        return self


class ServiceOptions(Section):
    """A remote service. All sinks and enrichers that name it share its limit and its connections."""

    base_url: str | None = Field(default=None, examples=["http://127.0.0.1:9000"])
    """The address: http:// or https://, a host, perhaps a port and a path. Without a user and a password: those are secrets."""
    requests_per_s: float | None = Field(default=None, examples=[15])
    """At most this many requests in any second, at the service, retries included; 0.5 is one in two seconds. Left out: no limit."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] | None = Field(default=None, examples=[4])
    """How many requests may run at once. "auto": found by the service's answers, from 1 to 200. Left out: as many as
    `requests_per_s` allows, or 4 without a limit."""
    timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """How long one request may take, in seconds."""
    retries_max: int = Field(default=10, ge=0, le=1000)
    """A record that fails this often while others pass becomes a dead letter. However long an outage lasts, it makes none."""
    token_env: str | None = Field(default=None, examples=["API_TOKEN"])
    """The environment variable with the token, which is sent as `Authorization: Bearer …`."""
    token_file: SecretPath | None = Field(default=None, examples=["secrets/api.token"])
    """The file with the token. It is read again if the service refuses the token. `${NAME}` is an environment variable of the
    service, such as `${CREDENTIALS_DIRECTORY}`."""
    tls: TlsOptions = TlsOptions()

    @model_validator(mode="after")
    def _token_has_one_place(self) -> Self:
        if self.token_env and self.token_file:
            raise ValueError("token_env or token_file, not both")
        return self

    @field_validator("base_url")
    @classmethod
    def _url_is_plain(cls, text: str | None) -> str | None:
        try:
            parts = urlsplit(text or "")
            is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_sound = False
        if text is None or (is_sound and not (parts.username or parts.password or parts.query or parts.fragment)):
            return text
        raise PydanticCustomError("url", 'an address such as "https://api.example.com", without a user, a password or a "?"')

    @field_validator("requests_per_s")
    @classmethod
    def _rate_is_countable(cls, number: float | None) -> float | None:
        if number is None or (number > 0 and any(_is_whole(number * per_s) for per_s in range(1, PER_S_MAX + 1))):
            return number
        raise PydanticCustomError("rate", "a number of requests in whole seconds, such as 15, or 0.5 for one in two seconds")


def _is_whole(number: float) -> bool:
    return number >= 1 and abs(number - round(number)) < 1e-9 * number


class RemoteSinkOptions(SinkOptions):
    """The keys of every sink with a lane. A connector's options add `type` (a Literal) and their own keys."""

    needs_address: ClassVar[bool] = False
    """Whether the sink needs a service with a `base_url`."""
    holds_cursor: ClassVar[bool] = False
    """Whether its receiver holds the lane's cursor (a `TransactionalReceiver`). Then only a running lane can skip records."""
    place_key: ClassVar[str] = "path"
    """The key that says where at the receiver it writes."""
    service: str = ""
    """The name of a table [services.NAME]."""
    request_events_max: int = Field(default=1, ge=1, le=100_000)
    """The maximum number of records in one request."""
    request_bytes_max: int = Field(default=1_048_576, ge=1, le=1 << 30)
    """The maximum bytes of records in one request. A larger record is sent alone."""
    order: Literal["none", "strict"] = "none"
    """ "none": a record that must wait delays no other. "strict": one request at a time, in order; a record that must wait delays all."""
    enrich: tuple[str, ...] = Field(default=(), examples=[["predict"]])
    """The names of tables [enrichers.NAME]: what each of them sets, in this order, is in the records that are sent."""
    start: Literal["now", "beginning"] = "now"
    """Where a sink that is added to a state with events starts: "now", after everything that was already released, or "beginning"."""

    figures_by: tuple[FigureField, ...] = Field(default=(), max_length=8, examples=[["priority"]])
    """Fields of the record by whose values the figures are shown too; at most 100 values each, the rest under "(other)"."""

    @property
    def request_age_s_max(self) -> float:
        """How long records wait for a full request, in seconds; 0: they are sent at once. Only if its receiver holds the cursor."""
        return 0.0

    @property
    def replaces(self) -> bool:
        """Whether it replaces what is at its target, so that no other sink may write there."""
        return False

    def target(self) -> Mapping[str, Json]:
        """What the receiver is, as JSON without secrets. A lane with pending records cannot go on with another target.

        Default: type and service.
        """
        return {"type": self.type, "service": self.service}
