"""The keys that every client of Kafka shares: what they become, what is refused, and where secrets come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from pydantic import ValidationError

from event_processor.connectors.kafka.client import made
from event_processor.connectors.kafka.client_options import KafkaClientOptions, client_settings
from event_processor.model.errors import ConfigurationError
from event_processor.storage.durable import OperatingSystem

BROKERS = {"brokers": "127.0.0.1:9092"}


def options(**keys: Any) -> KafkaClientOptions:
    return KafkaClientOptions.model_validate({**BROKERS, **keys})


def settings(environment: dict[str, str] | None = None, **keys: Any) -> dict[str, Any]:
    found = client_settings(options(**keys), OperatingSystem(), environment or {})
    assert found.pop("log_level") == 0
    assert found.pop("bootstrap.servers") == "127.0.0.1:9092"
    return dict(found)


def test_without_keys_a_connection_is_plain() -> None:
    assert settings() == {"security.protocol": "PLAINTEXT"}


def test_tls_and_a_user_choose_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame\n")
    tls = {"ca_file": "/tls/ca.pem", "cert_file": "${FOLDER}/cert.pem"}
    assert settings({"FOLDER": "/run"}, tls=tls, user="reader", password_file=str(tmp_path / "password")) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "reader",
        "sasl.password": "sesame",
        "ssl.ca.location": "/tls/ca.pem",
        "ssl.certificate.location": "/run/cert.pem",
        "ssl.key.location": "/run/cert.pem",
    }


def test_a_setting_of_the_user_is_taken_nested_or_dotted() -> None:
    keys = {"security.protocol": "SASL_SSL", "fetch": {"max": {"bytes": 1}}, "socket": {"timeout.ms": 5}}
    found = settings({"PASSWORD": "sesame"}, client=keys, user="reader", password_env="PASSWORD")
    assert (found["security.protocol"], found["fetch.max.bytes"], found["socket.timeout.ms"]) == ("SASL_SSL", 1, 5)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"client": {"enable.auto.commit": True}}, 'no "enable.auto.commit" in client: this is decided by the checkpoint'),
        ({"client": {"auto": {"offset": {"reset": "earliest"}}}}, "event-processor kafka seek"),
        ({"client": {"isolation.level": "read_uncommitted"}}, "read_committed"),
        ({"client": {"group.id": "mine"}}, "the key group"),
        ({"client": {"sasl.password": "sesame"}}, "no secrets in client"),
        ({"client": {"ssl.key.pem": "sesame"}}, "no secrets in client"),
        ({"client": {"Fetch": 1}}, 'not "Fetch"'),
        ({"brokers": "kafka://host"}, 'addresses such as "kafka-1:9092,kafka-2:9092"'),
        ({"brokers": "user:sesame@host:9092"}, "addresses"),
        ({"user": "reader"}, "user together with password_env or password_file"),
        ({"password_env": "PASSWORD"}, "user together with"),
        ({"user": "reader", "password_env": "PASSWORD", "password_file": "file"}, "not both"),
    ],
)
def test_what_would_break_a_promise_or_show_a_secret_is_a_fault(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**keys)
    said = "\n".join(str(each["msg"]) for each in caught.value.errors())
    assert words in said
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("environment", "words"),
    [({}, "the environment has no variable PASSWORD"), ({"PASSWORD": " "}, "the password in $PASSWORD is empty")],
)
def test_a_password_that_cannot_be_read_is_named_by_its_place(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("$", r"\$")):
        settings(environment, user="reader", password_env="PASSWORD")


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path}/none does not exist"):
        settings(user="reader", password_file=str(tmp_path / "none"))


def test_a_setting_that_the_library_does_not_know_is_a_fault_with_its_place() -> None:
    known = client_settings(options(client={"no.such.setting": 1}), OperatingSystem(), {})
    with pytest.raises(ConfigurationError, match=r"sources\.live: .*no\.such\.setting"):
        made(Consumer, {**known, "group.id": "group"}, "sources.live")
