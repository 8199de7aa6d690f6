"""The application over a state of this process, without a socket."""

from __future__ import annotations

from starlette.types import ASGIApp

from event_processor.assembly import Environment, shared_intake
from event_processor.cli.context import Invocation, load
from event_processor.model.clock import SystemWakeup
from event_processor.service.web.intake_writer import IntakeWriter, OpenIntake
from event_processor.service.web.service import WebService
from event_processor.storage.file_system import OperatingSystem
from event_processor.storage.shared_log import SharedLog
from support.left_open import close_after_test

__all__ = ["application_here", "open_intake"]


def application_here(environment: Environment | None = None, intake: IntakeWriter | None = None) -> ASGIApp:
    """The application of the configuration in the working directory. It asks for no token."""
    configuration = load(Invocation()).configuration
    service = WebService({}, intake)
    close_after_test(service.close)
    prepared = service.prepare(configuration, environment or Environment())
    if prepared.jobs is not None:
        # Without the thread that runs them: jobs wait.
        prepared.jobs.jobs.store.open()
        close_after_test(prepared.jobs.jobs.store.close)
        prepared.jobs.jobs.uploads.open()
    return prepared.app


def open_intake(log: SharedLog | None = None, *, waiting_bytes: int = 0) -> IntakeWriter:
    """What appends posted events to the intake of the state in `state`, as if a pipeline were open that reads generation 1.

    `waiting_bytes`: in the outbox.
    """
    writer = IntakeWriter(log or shared_intake(OperatingSystem(), "state"), Environment().clock)
    writer.opened = OpenIntake(lambda: 1, SystemWakeup(), lambda: waiting_bytes, lambda: None)
    return writer
