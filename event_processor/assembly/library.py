"""The package as a library: a configuration, a pipeline for it, and a run to the end of its log.

Owns: `load`, `build`, `run`, and `post`, which gives a pipeline records without a log. The commands that do more are in `cli/` and `operations/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from event_processor.assembly import (
    CONNECTOR_OPTIONS,
    Environment,
    Mode,
    append_to_intake,
    lock_state,
    open_pipeline,
    this_process,
)
from event_processor.configuration import ConfigurationRequest, load_configuration
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.reports import LaneReport, SnapshotReport
from event_processor.engine.loop import Processor, StopReason
from event_processor.engine.state import State
from event_processor.model.clock import SystemWakeup
from event_processor.storage.durable import prepare_directory

if TYPE_CHECKING:
    from event_processor.assembly.delivery import PipelineDelivery

__all__ = ["Pipeline", "build", "load", "post", "run"]

LOOK_S: Final = 0.05


def load(*paths: str, overrides: Mapping[str, str] | None = None) -> Configuration:
    """The effective configuration from these files; a later file overrides. Without files, from the usual places.

    `overrides` are values by dotted key (`{"state.dir": "…"}`); they override every file. Raises `ConfigurationError` with every
    fault.
    """
    given = {key: (value, "argument") for key, value in (overrides or {}).items()}
    request = ConfigurationRequest(
        working_directory=os.getcwd(), environment=os.environ, config_paths=tuple(paths), overrides=given
    )
    return load_configuration(request, CONNECTOR_OPTIONS).configuration


class Pipeline:
    """A pipeline that owns its state directory. One thread runs it; any thread may call the other methods."""

    def __init__(self, processor: Processor, delivery: PipelineDelivery | None, wait: Callable[[], None]) -> None:
        """`wait` waits until the lanes have sent what they can, as `run --once` does."""
        self._processor: Final = processor
        self._delivery: Final = delivery
        self._wait: Final = wait

    def run(self) -> StopReason:
        """Reads and commits until the end of the log, or until stopped. With `once`, it then waits for the remote sinks.

        Raises `StorageError`, `StateError`.
        """
        reason = self._processor.run()
        if self._delivery is not None:
            self._delivery.require()
            if reason is StopReason.END:
                self._wait()
        return reason

    def stop(self) -> None:
        """Ends `run` after a commit."""
        self._processor.stop()

    @property
    def state(self) -> State:
        """The last committed state."""
        return self._processor.state

    def lanes(self) -> Sequence[LaneReport]:
        """The remote sinks at this moment, and after the end of `build`'s block as they were then; empty if there are none."""
        return self._delivery.reports() if self._delivery is not None else ()

    def snapshots(self) -> Sequence[SnapshotReport]:
        """The tables of totals and groups at this moment, or as they were at the end; empty if there are none."""
        return self._delivery.snapshots() if self._delivery is not None else ()


@contextmanager
def build(
    configuration: Configuration, *, once: bool = True, drain: bool = False, environment: Environment | None = None
) -> Iterator[Pipeline]:
    """A pipeline for the configuration. It owns the state directory, and its remote sinks send, until the block ends.

    `once`: its `run` ends at the end of the log. Otherwise it follows the log until another thread calls `stop`. `drain`: the log
    is finished. Raises `LockedError`, `StateError`, `ConfigurationError`, `StorageError`.
    """
    surroundings = environment or Environment()
    with ExitStack() as cleanup:
        cleanup.callback(lock_state(configuration, surroundings).release)
        opened = open_pipeline(configuration, surroundings, Mode(once=once, drain=drain))
        cleanup.callback(opened.processor.close)
        if not opened.has_delivery:
            yield Pipeline(opened.processor, None, _nothing)
            return
        # Imported only with a remote sink: a program without one starts faster.
        from event_processor.assembly.delivery import PipelineDelivery, Sending  # noqa: PLC0415

        sending = Sending()
        delivery = PipelineDelivery(opened, surroundings, sending, this_process())
        cleanup.callback(sending.end)
        cleanup.callback(delivery.stop, _nothing)
        delivery.start()
        yield Pipeline(opened.processor, delivery, lambda: _wait(delivery, configuration, surroundings))
        delivery.tell(surroundings.telemetry)


def run(configuration: Configuration, *, drain: bool = False) -> State:
    """Reads to the end of the log, commits, waits for the remote sinks, and returns the committed state. Raises as `build` does."""
    with build(configuration, drain=drain) as pipeline:
        pipeline.run()
        return pipeline.state


def post(configuration: Configuration, records: Iterable[Mapping[str, object]]) -> int:
    """Gives records to the pipeline, durably, all or none: they are read like those of a log, by the process that owns the state.

    Returns how many they were. They are records of the source `intake`. A record that is posted again is a duplicate. Raises
    `LockedError` if other processes append without a pause, `StorageError`, `TypeError` if a record is no JSON.
    """
    lines = [msgspec.json.encode(record) for record in records]
    directory = str(configuration.state.dir)
    surroundings = Environment()
    if lines:
        prepare_directory(surroundings.fs, directory)
        append_to_intake(surroundings.fs, surroundings.clock, directory, lines)
    return len(lines)


def _nothing() -> None:
    """Nothing is to be done."""


def _wait(delivery: PipelineDelivery, configuration: Configuration, environment: Environment) -> None:
    deadline_s = environment.clock.monotonic_s() + configuration.outbox.once_wait_s
    delivery.hurry()
    while delivery.pending() and environment.clock.monotonic_s() < deadline_s:
        delivery.tell(environment.telemetry)
        environment.clock.wait(SystemWakeup(), LOOK_S)
