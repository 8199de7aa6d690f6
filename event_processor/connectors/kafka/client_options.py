"""The keys that every client of Kafka shares, and the settings of librdkafka that they become.

Owns: `KafkaClientOptions`: brokers, TLS, credentials and `client.*`; which names of `client.*` are refused, and why.
Always: no key holds a secret. A setting that could break a promise is a fault with words, never silently overruled.
Never: imports the client library, or connects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.transforms import plain_table
from event_processor.model.errors import ConfigurationError
from event_processor.model.file_system import FileSystem
from event_processor.model.options import SecretPath, Section
from event_processor.model.remote import TlsOptions
from event_processor.storage.durable import read_file

__all__ = ["ClientSetting", "KafkaClientOptions", "client_settings"]

ClientSetting = str | int | float | bool
_BROKER: Final = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_NAME: Final = re.compile(r"[a-z][a-z0-9.]*")
_SECRET: Final = re.compile(r"password|secret|\.pem$|token|sasl\.username|sasl\.oauthbearer\.config")
_OURS: Final[Mapping[str, str]] = {
    "bootstrap.servers": "the key brokers",
    "metadata.broker.list": "the key brokers",
    "ssl.ca.location": "the key tls.ca_file",
    "ssl.certificate.location": "the key tls.cert_file",
    "ssl.key.location": "the key tls.key_file",
    "group.id": "the key group; positions are in the checkpoint",
    "group.instance.id": "the state: one process owns it",
    "enable.auto.commit": "the checkpoint, which is the only commit",
    "auto.commit.enable": "the checkpoint, which is the only commit",
    "auto.commit.interval.ms": "the checkpoint, which is the only commit",
    "enable.auto.offset.store": "the checkpoint, which is the only commit",
    "offset.store.method": "the checkpoint, which is the only commit",
    "auto.offset.reset": "event-processor kafka seek, which counts what it skips: an offset is never reset in silence",
    "isolation.level": "read_committed: a record of an aborted transaction is never counted",
    "enable.partition.eof": "the source, which must know the end of a partition",
    "check.crcs": "the source, which checks every record",
    "transactional.id": "the sink: it is made from the state's id",
    "enable.idempotence": "the sink: exactly once needs it",
    "enable.gapless.guarantee": "the sink: exactly once needs it",
    "acks": "the sink: a record counts when all replicas have it",
    "request.required.acks": "the sink: a record counts when all replicas have it",
    "message.send.max.retries": "the sink, which retries by itself",
    "retries": "the sink, which retries by itself",
    "max.in.flight": "the sink: exactly once needs it",
    "max.in.flight.requests.per.connection": "the sink: exactly once needs it",
    "log_level": "the process: its log has a level of its own",
}
"""Settings of librdkafka that are not the user's, and what decides instead."""


def _flat(table: object) -> object:
    """`client.fetch.max.bytes = 1` is nested tables in TOML; librdkafka's names are dotted."""
    if not isinstance(table, Mapping):
        return table
    return dict(_leaves(table, ""))


def _leaves(table: Mapping[object, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class KafkaClientOptions(Section):
    """How a client reaches the brokers. A source's or a sink's options extend it."""

    brokers: str = Field(examples=["127.0.0.1:9092"])
    """The first brokers to ask, with commas between them: "kafka-1:9092,kafka-2:9092"."""
    tls: TlsOptions = TlsOptions()
    user: str | None = Field(default=None, examples=["reader"])
    """The user (SASL). The mechanism is PLAIN unless `client."sasl.mechanism"` names another, such as "SCRAM-SHA-512"."""
    password_env: str | None = Field(default=None, examples=["KAFKA_PASSWORD"])
    """The environment variable with the password of `user`."""
    password_file: SecretPath | None = Field(default=None, examples=["secrets/kafka.password"])
    """The file with the password of `user`. `${NAME}` is an environment variable of the service."""
    client: Annotated[Mapping[str, ClientSetting], BeforeValidator(lambda table: plain_table(_flat(table)))] = Field(
        default={}, examples=[{"fetch.max.bytes": 1_048_576}]
    )
    """More settings, as librdkafka names them. With "security.protocol" = "SSL" or "SASL_SSL", the machine's certificates are used.
    Settings that would break a promise are refused."""

    @field_validator("brokers")
    @classmethod
    def _brokers_are_addresses(cls, text: str) -> str:
        if all(_BROKER.fullmatch(each.strip()) for each in text.split(",")):
            return text
        raise PydanticCustomError("brokers", 'addresses such as "kafka-1:9092,kafka-2:9092"')

    @field_validator("client")
    @classmethod
    def _client_is_the_users(cls, settings: Mapping[str, ClientSetting]) -> Mapping[str, ClientSetting]:
        for name in settings:
            if name in _OURS:
                wanted = 'no "{name}" in client: this is decided by {by}'
                raise PydanticCustomError("client", wanted, {"name": name, "by": _OURS[name]})
            if _SECRET.search(name):
                wanted = 'no secrets in client: instead of "{name}", set user and password_file or password_env, or tls.key_file'
                raise PydanticCustomError("client", wanted, {"name": name})
            if not _NAME.fullmatch(name):
                raise PydanticCustomError(
                    "client", 'a setting of librdkafka, such as "fetch.max.bytes", not "{name}"', {"name": name}
                )
        return settings

    @model_validator(mode="after")
    def _password_has_one_place(self) -> Self:
        places = [each for each in (self.password_env, self.password_file) if each is not None]
        if len(places) > 1:
            raise ValueError("password_env or password_file, not both")
        if bool(self.user) != bool(places):
            raise ValueError("user together with password_env or password_file")
        return self


def client_settings(
    options: KafkaClientOptions, fs: FileSystem, environment: Mapping[str, str] | None = None
) -> dict[str, ClientSetting]:
    """The settings of a client of librdkafka. They hold secrets: never show them.

    `environment`: None for that of the process. Raises `ConfigurationError` if a secret cannot be read, with its place;
    `StorageError`.
    """
    variables = os.environ if environment is None else environment
    tls = options.tls
    files = {
        "ssl.ca.location": ("tls.ca_file", tls.ca_file),
        "ssl.certificate.location": ("tls.cert_file", tls.cert_file),
        # The key is in the certificate's file if it has no file of its own.
        "ssl.key.location": ("tls.key_file", tls.key_file or tls.cert_file),
    }
    settings: dict[str, ClientSetting] = {"bootstrap.servers": options.brokers}
    for name, (key, path) in files.items():
        if path is not None:
            settings[name] = _path(key, path, variables)
    settings["security.protocol"] = ("SASL_" if options.user else "") + ("SSL" if len(settings) > 1 else "PLAINTEXT")
    if options.user:
        settings |= {"sasl.mechanism": "PLAIN", "sasl.username": options.user, "sasl.password": _password(options, fs, variables)}
    return {**settings, "log_level": 0, **options.client}


def _password(options: KafkaClientOptions, fs: FileSystem, variables: Mapping[str, str]) -> str:
    if options.password_env is not None:
        where, text = f"${options.password_env}", variables.get(options.password_env)
        if text is None:
            raise ConfigurationError(f"password_env: the environment has no variable {options.password_env}", hint="set it")
    else:
        assert options.password_file is not None, "a user has a password"
        where = _path("password_file", options.password_file, variables)
        content = read_file(fs, where)
        if content is None:
            raise ConfigurationError(f"password_file: {where} does not exist", hint="write the password there")
        text = content.decode("utf-8", "replace")
    text = text.strip()
    if not text:
        raise ConfigurationError(f"the password in {where} is empty", hint="write the password there")
    return text


def _path(key: str, path: SecretPath, variables: Mapping[str, str]) -> str:
    try:
        return path.in_environment(variables)
    except KeyError as error:
        raise ConfigurationError(
            f"{key}: {path}: the environment has no variable {error.args[0]}", hint="set it, or name another file"
        ) from error
