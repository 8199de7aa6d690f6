"""The options of an HTTP sink: what may be sent, and no secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from event_processor import load
from event_processor.configuration import ConfigurationFaultsError
from event_processor.configuration.parts import changed_keys
from event_processor.connectors.http.options import HttpSinkOptions

CONFIGURATION = """[sources.log]
path = "log.jsonl"
[services.api]
base_url = "http://127.0.0.1:9000"
[sinks.out]
type = "http"
service = "api"
"""


def sink(**keys: Any) -> HttpSinkOptions:
    return HttpSinkOptions.model_validate({"type": "http", "service": "api", **keys})


def loaded(folder: Path, text: str) -> Any:
    (folder / "pipeline.toml").write_text(text, encoding="utf-8")
    return load(str(folder / "pipeline.toml")).sinks["out"]


def fault_of(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationFaultsError) as caught:
        loaded(folder, text)
    (fault,) = caught.value.faults
    return str(fault).partition(": ")[2]


def test_a_sink_needs_only_its_service(tmp_path: Path) -> None:
    options = loaded(tmp_path, CONFIGURATION)
    assert isinstance(options, HttpSinkOptions)
    assert (options.path, options.method, options.body, options.body_fields, options.request_events_max) == (
        "/",
        "POST",
        "object",
        {},
        1,
    )


def test_the_target_is_the_service_the_method_and_the_path() -> None:
    target = sink(path="/records", method="PUT", headers={"X-Origin": "shop"}).target()
    assert target == {"type": "http", "service": "api", "method": "PUT", "path": "/records"}


def test_a_reload_names_the_keys_as_they_are_written(tmp_path: Path) -> None:
    configurations = []
    for fields in ('{ a = "id" }', '{ a = "value" }'):
        (tmp_path / "pipeline.toml").write_text(f"{CONFIGURATION}fields = {fields}\n", encoding="utf-8")
        configurations.append(load(str(tmp_path / "pipeline.toml")))
    assert changed_keys(*configurations) == ("sinks.out.fields.a",)


def test_fields_are_those_of_the_event_once_each() -> None:
    fields = {"a": "id", "b": "payload.size", "c": "=id", "d": "@now", "e": 5, "f": True, "g": {"h": "id", "i": {"j": "kind"}}}
    assert sink(fields=fields).fields() == ["id", "payload.size", "kind"]
    assert sink().fields() == []


def test_a_field_that_no_event_can_have_is_a_fault(tmp_path: Path) -> None:
    text = CONFIGURATION + 'fields = { a = "id", b = "size" }\n[[transforms]]\nkeep = ["id", "value"]\n'
    assert fault_of(tmp_path, text) == 'sinks.out.fields: wanted: fields of events (id, value); it has no "size"'


@pytest.mark.parametrize(
    ("keys", "key", "wanted"),
    [
        ('path = "records"', "path", "a path such as"),
        ('path = "/a b"', "path", "a path such as"),
        ('path = "/a#b"', "path", "a path such as"),
        ('path = "/ä"', "path", "a path such as"),
        ('path = "/a?api_key=5"', "path", "a path without a secret"),
        ('method = "GET"', "method", '"POST", "PUT" or "PATCH"'),
        ('fields = { a = "@then" }', "fields", "@now, @now_s, @elapsed_ms, @key, @sequence"),
        ('fields = { a = { b = "" } }', "fields", 'for "b"'),
        ("fields = { a = 2026-01-01 }", "fields", '"a" as a string'),
        ('fields = { a = ["id"] }', "fields", 'a constant or a table for "a"'),
        ("fields = { a = nan }", "fields", '"a" as a string'),
        ('headers = { Authorization = "Bearer 5" }', "headers", "token_file or token_env"),
        ('headers = { Cookie = "a=b" }', "headers", "token_file or token_env"),
        ('headers = { X-Api-Key = "5" }', "headers", "token_file or token_env"),
        ('headers = { idempotency-key = "5" }', "headers", "is set for each request"),
        ('headers = { Content-Length = "5" }', "headers", "is set for each request"),
        ('headers = { "X Y" = "5" }', "headers", "a name and a text"),
        ('headers = { X = "a\\nb" }', "headers", "a name and a text"),
        ('headers = { X = "a", x = "b" }', "headers", "only once"),
    ],
)
def test_what_cannot_be_sent_is_a_fault(tmp_path: Path, keys: str, key: str, wanted: str) -> None:
    said = fault_of(tmp_path, CONFIGURATION + keys)
    assert said.startswith(f"sinks.out.{key}")
    assert wanted in said


def test_no_fault_shows_a_secret(tmp_path: Path) -> None:
    assert "s3cret" not in fault_of(tmp_path, CONFIGURATION + 'headers = { Authorization = "Bearer s3cret" }')


def test_one_object_is_one_record(tmp_path: Path) -> None:
    assert 'body must be "array" or "ndjson"' in fault_of(tmp_path, CONFIGURATION + "request_events_max = 2")
    assert sink(body="array", request_events_max=2).request_events_max == 2


def test_a_sink_without_a_service_is_a_fault(tmp_path: Path) -> None:
    said = fault_of(tmp_path, CONFIGURATION.replace('service = "api"\n', ""))
    assert said == 'sinks.out.service = "": wanted: the name of a table [services.NAME] ("api")'


def test_a_service_without_an_address_is_a_fault_if_a_sink_sends_to_it(tmp_path: Path) -> None:
    said = fault_of(tmp_path, CONFIGURATION.replace('base_url = "http://127.0.0.1:9000"\n', ""))
    assert said == "services.api.base_url: wanted: the address of the service, since sinks.out sends to it"


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ('token_env = "A"\ntoken_file = "b"', "token_env or token_file, not both"),
        ('tls = { key_file = "b" }', "cert_file, the certificate of key_file"),
    ],
)
def test_a_token_has_one_place_and_a_key_has_a_certificate(tmp_path: Path, keys: str, wanted: str) -> None:
    with pytest.raises(ConfigurationFaultsError, match=wanted):
        loaded(tmp_path, CONFIGURATION.replace("[sinks.out]", f"{keys}\n[sinks.out]"))


def test_only_the_service_needs_the_variables_of_a_path_of_a_secret(tmp_path: Path) -> None:
    """Without the variables, every command reads the configuration. A path that begins with one is not joined to a folder."""
    keys = 'token_file = "${FOLDER_OF_SECRETS}/token"\n[services.api.tls]\nca_file = "tls/${HOST_OF_SECRETS}.pem"\n'
    text = CONFIGURATION.replace("[sinks.out]", f"{keys}[sinks.out]")
    (tmp_path / "pipeline.toml").write_text(text, encoding="utf-8")
    service = load(str(tmp_path / "pipeline.toml")).services["api"]
    assert service.token_file == "${FOLDER_OF_SECRETS}/token"
    assert service.tls.ca_file == f"{tmp_path}/tls/${{HOST_OF_SECRETS}}.pem"
    assert service.token_file.in_environment({"FOLDER_OF_SECRETS": "/run/secrets"}) == "/run/secrets/token"
