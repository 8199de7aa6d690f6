"""The options of the objects of a bucket as a source.

Owns: the keys of `[sources.NAME]` with `type = "s3"`, and the rules between them; which keys match a url.
Always: where the service is, and who we are there, may change while a state goes on; bucket, keys and format may not.
Never: connects, or imports the client library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.model.event import Json
from event_processor.model.globs import may_share_names
from event_processor.model.options import SecretPath, Section, SharedInput
from event_processor.model.remote import TlsOptions
from event_processor.records.source_format import SourceFormat

__all__ = ["S3ClientOptions", "S3SourceOptions"]

_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")
_ENDPOINT: Final = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
_MAGIC: Final = re.compile(r"[*?\[]")
_PARTS: Final = re.compile(r"\*\*/|\*|\?|\[[!^]?[^]]+]|.", re.DOTALL)
RANGE_BYTES_MAX: Final = 16 << 20


class S3ClientOptions(Section):
    """How a client reaches the service. Without a key: the usual chain."""

    endpoint: str | None = Field(default=None, examples=["http://127.0.0.1:9000"])
    """The address of the service. By default the one of AWS for the region."""
    region: str | None = Field(default=None, examples=["eu-central-1"])
    """The region. By default the environment says it (`AWS_REGION`), or it is us-east-1."""
    access_key_id: str | None = Field(default=None, examples=["AKIAIOSFODNN7EXAMPLE"])
    """Who we are. Without it, the credentials are looked for in the environment (`AWS_ACCESS_KEY_ID` and so on), then as a web identity, of the
    container, and of the instance."""
    secret_access_key_env: str | None = Field(default=None, examples=["S3_SECRET"])
    """The environment variable with the secret of `access_key_id`."""
    secret_access_key_file: SecretPath | None = Field(default=None, examples=["secrets/s3.key"])
    """The file with the secret of `access_key_id`. `${NAME}` is an environment variable of the service."""
    tls: TlsOptions = TlsOptions()
    timeout_s: float = Field(default=60, ge=0.1, le=3600)
    """How long one request may take, from its start to its last byte, in seconds. After that it is made again."""

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_an_address(cls, text: str | None) -> str | None:
        if text is None or _ENDPOINT.fullmatch(text):
            return text
        raise PydanticCustomError("endpoint", "http:// or https://, a host, perhaps a port and a path")

    @model_validator(mode="after")
    def _secret_has_one_place(self) -> Self:
        places = [each for each in (self.secret_access_key_env, self.secret_access_key_file) if each is not None]
        if len(places) > 1:
            raise ValueError("secret_access_key_env or secret_access_key_file, not both")
        if bool(self.access_key_id) != bool(places):
            raise ValueError("access_key_id together with secret_access_key_env or secret_access_key_file")
        if self.tls.cert_file is not None:
            raise ValueError("of tls only ca_file: a client of S3 has no certificate of its own")
        return self


class S3SourceOptions(S3ClientOptions, SourceFormat):
    """The objects of a bucket whose keys match. Each is read once, to its end; objects that come later are found, whatever their keys."""

    type: Literal["s3"]
    """The kind of source: objects in S3, or in a service that speaks its protocol."""
    url: str = Field(examples=["s3://bucket/prefix/*.jsonl.gz"])
    """The bucket, and the keys of the objects: a glob (`*`, `?`, `[…]` within a name, `**/` for any number of folders), or one key."""
    poll_interval_ms: int = Field(default=10_000, ge=1, le=3_600_000)
    """The time between two listings of the bucket, in milliseconds. Each costs one request for 1,000 keys below the fixed part of `url`."""
    range_bytes: int = Field(default=8 << 20, ge=65_536, le=RANGE_BYTES_MAX)
    """How much of an object one request asks for; 8 to 16 MiB are best. The next range is on its way while one is read."""

    @field_validator("url")
    @classmethod
    def _url_names_objects(cls, text: str) -> str:
        found = _URL.fullmatch(text)
        key = found[2] if found else ""
        if not found or key.startswith("/") or key.endswith("/") or "//" in key:
            raise PydanticCustomError("url", 's3://bucket/keys, such as "s3://bucket/prefix/*.jsonl.gz"')
        if any("**" in part and part != "**" for part in key.split("/")) or key.endswith("**"):
            raise PydanticCustomError("url", '"**" only as a whole folder, as in "s3://bucket/**/*.jsonl"')
        return text

    def identity(self) -> Mapping[str, Json]:
        """What the state depends on. Where the service is, and who we are there, may change."""
        return {"type": self.type, "url": self.url, "record_bytes_max": self.record_bytes_max, **self.format_identity()}

    def shared_input(self, first: S3SourceOptions) -> SharedInput | None:
        """Objects of one bucket at one address. A url that the other one covers is certain to share them."""
        if (self.endpoint, self.bucket) != (first.endpoint, first.bucket) or not may_share_names(self._key, first._key):
            return None
        is_certain = bool(self.key_pattern().fullmatch(first._key) or first.key_pattern().fullmatch(self._key))
        reads = "these objects" if is_certain else "an object that both match"
        return SharedInput("url", "a different url", reads, is_certain, is_taken=True)

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self.url.split("/")[2]

    @property
    def _key(self) -> str:
        return self.url.split("/", 3)[3]

    @property
    def is_glob(self) -> bool:
        """Whether `url` may match any number of keys."""
        return bool(_MAGIC.search(self._key))

    @property
    def folder(self) -> str:
        """What every key that matches begins with, up to a slash; empty if that is not known. Without the slash."""
        return _MAGIC.split(self._key, maxsplit=1)[0].rpartition("/")[0]

    def key_pattern(self) -> re.Pattern[str]:
        """Matches the keys of the source's objects."""
        if not self.is_glob:
            return re.compile(re.escape(self._key))
        return re.compile("".join(map(_expression, _PARTS.findall(self._key))), re.DOTALL)

    def path_of(self, key: str) -> str:
        """What an object is called in positions and messages."""
        return f"s3://{self.bucket}/{key}"

    def key_of(self, path: str) -> str:
        """The key of an object that is called so."""
        return path.removeprefix(f"s3://{self.bucket}/")


def _expression(part: str) -> str:
    """The regular expression for one part of a glob."""
    if part == "**/":
        return "(?:[^/]+/)*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part.startswith("[") and len(part) > 1:
        inner = part[1:-1].replace("\\", "\\\\")
        return f"[^/{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    return re.escape(part)
