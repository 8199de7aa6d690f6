"""[http]: what an address is, which addresses are loopback, and what must be configured with the others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from event_processor.configuration.contradictions import contradictions
from event_processor.configuration.http_options import HttpOptions
from event_processor.configuration.jobs_options import JobsOptions
from event_processor.model.options import ConfiguredPath
from support.engine import configuration


@pytest.mark.parametrize(
    ("listen", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:8321", "127.0.0.1", 8321, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:65535", "::1", 65535, True),
        ("0.0.0.0:8321", "0.0.0.0", 8321, False),
        ("[::]:0", "::", 0, False),
        ("10.1.2.3:8321", "10.1.2.3", 8321, False),
        ("events.example.com:8321", "events.example.com", 8321, False),
        ("localhost.example.com:8321", "localhost.example.com", 8321, False),
    ],
)
def test_an_address_is_a_host_and_a_port(listen: str, host: str, port: int, is_loopback: bool) -> None:
    options = HttpOptions(listen=listen)
    assert options.host_and_port == (host, port)
    assert options.is_loopback == is_loopback


@pytest.mark.parametrize(
    "listen", ["8321", ":8321", "127.0.0.1", "127.0.0.1:65536", "[::1:80", "[zz]:80", "http://127.0.0.1:80", "a b:80"]
)
def test_what_is_no_address_is_a_fault(listen: str) -> None:
    with pytest.raises(ValidationError, match="an address and a port"):
        HttpOptions(listen=listen)


def test_an_address_that_others_reach_needs_a_token() -> None:
    def faults(**http: object) -> list[str]:
        return [key for key, _ in contradictions(configuration("/f", http=http))]

    assert faults(listen="0.0.0.0:8321") == ["http.token_file"]
    assert faults(listen="events.example.com:8321") == ["http.token_file"]
    assert faults(listen="0.0.0.0:8321", token_file="/f/token") == []
    assert faults(listen="127.0.0.1:8321") == []
    assert faults() == []


def test_jobs_need_a_server_and_give_away_no_key_that_reaches_outside_of_a_job() -> None:
    wanted = [key for key, _ in contradictions(configuration("/srv", jobs=JobsOptions(pipelines_dir=ConfiguredPath("/p"))))]
    assert wanted == ["http.listen"]
    JobsOptions(parameters=("aggregates.by_hour.window.size_s", "event.category", "order.by"))
    for key in ("state.dir", "event.model", "sinks.a.path", "sources.a.path", "transforms", "event", "event.", "event.a b"):
        with pytest.raises(ValidationError, match="dotted keys of aggregates"):
            JobsOptions(parameters=(key,))
    for url in ("s3://", "file:///etc/", "s3://bucket", "http://host/a"):
        with pytest.raises(ValidationError, match="with a bucket"):
            JobsOptions(input_urls=(url,))
