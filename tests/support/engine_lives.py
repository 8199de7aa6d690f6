"""Lives of the engine that end early, and pipelines over several logs: what the property tests need beside `engine.py`.

Never: no expected value comes from here.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.engine.loop import Processor
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem
from support.engine import configuration, environment

__all__ = ["live_for", "several_logs"]


class _StopAfter(Telemetry):
    """Stops the processor behind so many commits."""

    def __init__(self, commits: int) -> None:
        self.processor: Processor | None = None
        self._commits = commits

    def batch_committed(self, **facts: int) -> None:
        self._commits -= 1
        if self._commits <= 0 and self.processor:
            self.processor.stop()


def live_for(fs: FileSystem, settings: Configuration, *, commits: int, seed: int) -> None:
    """One life that ends after `commits` commits, or at the end of the log."""
    telemetry = _StopAfter(commits)
    surroundings = environment(fs, seed=seed, telemetry=telemetry)
    with ExitStack() as cleanup:
        lock = lock_state(settings, surroundings)
        cleanup.callback(lock.release)
        processor = open_pipeline(settings, surroundings, Mode(once=True)).processor
        cleanup.callback(processor.close)
        telemetry.processor = processor
        processor.run()


def several_logs(folder: str, *, batch_bytes: int, **sections: Any) -> Configuration:
    """A pipeline over the files `folder`/shop/*.log as one source, `folder`/audit.log as another, with an ordered sink."""
    one = configuration(folder, batch_bytes=batch_bytes, **sections)
    sources = {
        "shop": FileSourceOptions(path=ConfiguredPath(f"{folder}/shop/*.log", "shop/*.log"), record_bytes_max=4096),
        "audit": FileSourceOptions(path=ConfiguredPath(f"{folder}/audit.log", "audit.log"), record_bytes_max=4096),
    }
    return one.model_copy(update={"sources": sources})
