"""How a pipeline is opened: how far it runs, and whether it is a replica.

Owns: `Mode` and `Replica`, and what their fields mean.
Always: a value; nothing is opened here.
Never: comes from a configuration file. Commands choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from event_processor.model.event import Json

if TYPE_CHECKING:
    from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["Mode", "Replica"]


@dataclass(frozen=True, slots=True)
class Mode:
    """How far to run: `once` ends at the end of the input; `drain` treats the input as finished and flushes the order buffer.

    `follows_journal`: the reading journal that is replayed decides when the order stage is used, not the configuration.
    `start`, `read_before` (by source): how sources that the state does not know start; see `SourceContext`.
    `puts_in_order`: the rows must be those of the sorted input. A new state sorts at once with "sort". A state that does not sort
    ends with `StopReason.LATE` at the first event that would be late; then `start_sorting` makes it one that sorts. A state that
    sorts continues to sort, whatever the mode.
    """

    once: bool = False
    drain: bool = False
    follows_journal: bool = False
    start: str = ""
    read_before: Mapping[str, Sequence[Mapping[str, Json]]] = field(default_factory=dict)
    puts_in_order: Literal["", "sort", "sort if late"] = ""


@dataclass(frozen=True, slots=True)
class Replica:
    """The same pipeline with another state directory, to recompute a state.

    Its sinks' replacements write where `sink_path` says, if at all.
    `sink_path` returns the path for a sink's name and its path in `fresh_sink_paths` ("" if it has none). The intake is still the
    one of the configured state. It has no lanes; `outbox`: the series that it makes again, by input.
    """

    directory: str
    sink_path: Callable[[str, str], str]
    outbox: Mapping[str, Rebuilding] = field(default_factory=dict)
