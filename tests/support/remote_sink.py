"""The configuration of a pipeline with one log and one HTTP sink, as tests of lanes need it."""

from __future__ import annotations

__all__ = ["remote_configuration"]

CONFIGURATION = """\
[sources.events]
path = "events.jsonl"
[order]
{order}
[services.api]
base_url = "{url}"
{service}
[sinks.{name}]
type = "http"
service = "api"
{sink}
"""


def remote_configuration(
    url: str, *, order: str = "buffer_events = 0", service: str = "", name: str = "remote", sink: str = "", more: str = ""
) -> str:
    """TOML. `order`, `service` and `sink` are lines of these sections; `more` are further sections."""
    return CONFIGURATION.format(url=url, order=order, service=service, name=name, sink=sink) + more
