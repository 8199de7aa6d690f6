"""What a connector finds out before anything runs: whether its source or sink can be reached and used.

Owns: `Finding`, and `ProbeContext`.
Always: a probe changes nothing, and sends no record. No finding repeats a secret.
Never: probes anything (`connectors/` and `operations/doctor.py` do).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from event_processor.model.remote import ServiceOptions
from event_processor.model.world import World

__all__ = ["Finding", "ProbeContext"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `what`: its key in the configuration, such as "services.api".

    `state`: "ok"; "wrong": the configuration, or a file that it names, must be changed first; "unreachable": it may work later.
    `words` say what was found, `remedy` what to do; empty if it is ok.
    """

    what: str
    state: Literal["ok", "wrong", "unreachable"]
    words: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """The context of a probe. `key`: of the source, sink or enricher, such as "sinks.downstream". `service`: the table that its `service` names.

    `may_request`: whether a request may be made; if not, a daemon uses the service's limit at this moment. `probed` has the names of
    the services that were probed already, for others: each is probed once.
    """

    key: str
    world: World
    service: ServiceOptions | None = None
    environment: Mapping[str, str] | None = None
    """The environment variables, for secrets; None: the process's own."""
    may_request: bool = True
    probed: set[str] = field(default_factory=set)
    is_snapshot: bool = False
    """Whether it is a sink that writes a snapshot."""
