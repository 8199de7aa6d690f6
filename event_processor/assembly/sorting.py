"""How finished input is put in order.

Owns: whether a run sorts at once, only if it must, or not at all; and the change from the one to the other.
Always: the rows are those of the sorted input. Sorted input, or nearly sorted input, does not pay for it: the order buffer
suffices as long as no event is late, and then what was released is what a sort would release. At the first late event the run
starts again, and sorts.
Never: takes back what a reader may have seen. So with sinks, and with standard input, which cannot be read twice, a run sorts at
once.
"""

from __future__ import annotations

from typing import Literal

from event_processor.aggregation.measures import EventMeasurer
from event_processor.assembly.connectors import sink_path_of
from event_processor.assembly.environment import Environment
from event_processor.assembly.inputs import can_be_read_again, is_result_sink
from event_processor.assembly.state_configuration import check_config
from event_processor.configuration.configuration import EVENTS, Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint, StateDocument
from event_processor.engine.order import Sorting
from event_processor.engine.state import fresh_state
from event_processor.model.errors import ConfigurationError
from event_processor.storage.durable import storage_boundary

__all__ = ["must_start_sorting", "ordering_of", "sorting_of", "start_sorting"]


def ordering_of(configuration: Configuration) -> Literal["", "sort", "sort if late"]:
    """`Mode.puts_in_order` for a configuration of finished inputs, without the sinks for its results.

    `order.buffer_events = 0` switches the order of events for sinks off, but windows always need one.
    """
    has_ordered_sinks = bool(configuration.order.buffer_events) and any(
        sink.input == EVENTS for sink in configuration.sinks.values()
    )
    if not has_ordered_sinks and not configuration.has_windows:
        return ""
    return "sort if late" if can_be_read_again(configuration) and not configuration.sinks else "sort"


def sorting_of(configuration: Configuration) -> Sorting:
    """What a run that sorts keeps of the events: their lines too, if a sink or a measure reads more than the columns."""
    measurers = (EventMeasurer(each, configuration.event) for each in configuration.aggregates.values() if each.window)
    reads_lines = any(sink.input == EVENTS for sink in configuration.sinks.values()) or any(
        each.reads_lines for each in measurers
    )
    return "lines" if reads_lines else "columns"


def must_start_sorting(configuration: Configuration, present: Checkpoint) -> bool:
    """Whether a state is replaced by one that sorts before anything is read.

    Either it has late events: a stop came at the same time, or it was made when runs did not sort. Or sinks were added to a state
    that does not sort, and have no output yet.
    """
    ordering, state = ordering_of(configuration), present.state
    if not ordering or state.order.sorting:
        return False
    return bool(state.counts.late) or (ordering == "sort" and bool(state.counts.read) and not _outputs(state))


def start_sorting(configuration: Configuration, environment: Environment) -> None:
    """Replaces the state by an empty one that sorts. The caller holds the lock; nothing is open. Raises `StorageError`.

    The result files of the run are emptied too: they are part of its state. Raises `ConfigurationError` if there are sinks with
    output, which cannot be taken back: the state was made when runs did not sort.
    """
    with storage_boundary(str(configuration.state.dir)):
        store = CheckpointStore(environment.fs, str(configuration.state.dir), environment.telemetry)
        path_of = sink_path_of(configuration)
        present = store.load(path_of)
        assert present is not None, "a late event is found after the first checkpoint"
        check_config(configuration, present)
        if outputs := _outputs(present.state):
            raise ConfigurationError(
                f"{configuration.state.dir}: the state was made when runs did not sort their input, an event was late, and "
                f"{', '.join(outputs)} already has output in another order",
                hint="move this output aside, and start another state with --state",
            )
        empty = Checkpoint(_empty(present.state, sorting_of(configuration)), present.meta)
        # If we die before this, the next start reads on, finds the late event again, and comes here again. If we die after it,
        # the next start cuts our files to nothing, reads from the beginning, and sorts.
        store.save(empty)
        # Once more, so that the predecessor names no file that will be cut. If we die before it, the next commit does the same.
        store.save(empty)


def _outputs(present: StateDocument) -> list[str]:
    """The sinks, other than those for the results, that the state has written to."""
    names = (name.removeprefix("sinks.").partition(":")[0] for name in present.appended if name.startswith("sinks."))
    return sorted({f"sink {name!r}" for name in names if not is_result_sink(name)})


def _empty(present: StateDocument, sorting: Sorting) -> StateDocument:
    return StateDocument.of(
        fresh_state(0, sorting),
        state_id=present.state_id,
        config_hash=present.config_hash,
        appended=dict.fromkeys((name for name in present.appended if name.startswith("sinks.")), 0),
        ids={},
        aggregates={},
    )
