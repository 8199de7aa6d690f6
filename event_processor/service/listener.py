"""The HTTP server of a daemon: started before the pipeline is opened, follows each reload, tried again while its address is taken.

Owns: when the server starts, stops and gets another application; what is reported if it cannot listen.
Always: whatever happens to the server, records are counted. The server and its libraries are imported only if `[http]` is configured.
Never: answers a request (`service/web/` does, in threads of its own).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from event_processor.assembly import Environment, OpenPipeline
from event_processor.configuration.configuration import Configuration
from event_processor.configuration.http_options import HttpOptions
from event_processor.model.clock import SystemClock
from event_processor.model.contracts import Clock
from event_processor.model.errors import ConfigurationError
from event_processor.model.telemetry import Telemetry
from event_processor.storage.shared_log import SharedLog

__all__ = ["Listener"]

if TYPE_CHECKING:
    from event_processor.service.web.service import Prepared, WebService

RETRY_S: Final = 5.0
"""While the address is taken, it is tried again this often."""


class Listener(Telemetry):
    """The server of one daemon over all its reloads. Used by the loop's thread."""

    def __init__(self) -> None:
        self._clock: Clock = SystemClock()
        self._options = HttpOptions()
        self._web: WebService | None = None
        self._prepared: list[tuple[Configuration, Prepared]] = []
        """The last two, the present one last."""
        self._telemetry = Telemetry()
        self._reason = ""
        """Why the server does not listen, as it was reported last."""
        self._next_try_s = 0.0
        self._intake: SharedLog | None = None
        self._jobs_told: tuple[str, str] | None = None
        """What was reported last about the jobs; None: nothing since the last reload."""

    def share(self, intake: SharedLog) -> None:
        """Events that are posted from now on are appended to this intake. Called once, before `follow`."""
        self._intake = intake

    def opened(self, pipeline: OpenPipeline, environment: Environment, failed: Callable[[], None]) -> None:
        """The pipeline is open: events may be posted. `failed` is called, by any thread, if the intake cannot be written."""
        if self._web is not None:
            self._web.opened(pipeline, environment.wakeup, failed)

    def closed(self) -> None:
        """The pipeline is closed: posted events are refused until the next one is open."""
        if self._web is not None:
            self._web.closed()

    def follow(self, configuration: Configuration, environment: Environment, reports: Telemetry) -> None:
        """Serves this configuration from now on. Raises `ConfigurationError` if the extra is missing, or the token cannot be read.

        `environment` is the one for other threads: its telemetry may be called by them. `reports` is called by this thread alone.
        """
        options = configuration.http
        self._clock = environment.clock
        self._telemetry, self._reason, self._jobs_told = reports, "", None
        if not options.listen:
            self.stop()
            return
        web = self._web or _web_service(self._intake, environment.clock)
        # A reload that is refused goes back to the one before, whose token file may have become unreadable meanwhile.
        known = next((prepared for before, prepared in self._prepared if before is configuration), None)
        prepared = known or web.prepare(configuration, environment)
        self._prepared = [*self._prepared[-1:], (configuration, prepared)]
        web.use(prepared)
        self._web, self._options = web, options
        self._listen()

    def progressed(self) -> None:
        """Tries again, if the server does not listen. See `Telemetry`."""
        web = self._web
        if web is not None and not web.is_listening and self._clock.monotonic_s() >= self._next_try_s:
            self._listen()
        if web is not None and (health := web.jobs_health) != self._jobs_told:
            self._jobs_told = health
            self._telemetry.jobs_checked(path=health[0], problem=health[1])

    def batch_committed(self, *, content_bytes: int, **_facts: object) -> None:
        """Lets clients that follow the commits know. See `Telemetry`."""
        if self._web is not None:
            self._web.committed(content_bytes)

    def commit_timed(self, *, seconds: float) -> None:
        """See `Telemetry`."""
        if self._web is not None:
            self._web.commit_timed(seconds)

    def stop(self) -> None:
        """Ends the server, in bounded time."""
        web, self._web, self._prepared = self._web, None, []
        if web is not None:
            web.close()

    def _listen(self) -> None:
        assert self._web is not None, "only with a server"
        self._next_try_s = self._clock.monotonic_s() + RETRY_S
        try:
            url = self._web.listen()
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._reason:
                self._reason = reason
                remedy = f"stop what uses it, or set another http.listen; it is tried again every {RETRY_S:.0f} s"
                self._telemetry.http_unavailable(address=self._options.listen, reason=reason, remedy=remedy)
            return
        self._reason = ""
        self._telemetry.http_listening(address=url)


def _web_service(intake: SharedLog | None, clock: Clock) -> WebService:
    try:
        from event_processor.service.web.intake_writer import IntakeWriter  # noqa: PLC0415 - an extra
        from event_processor.service.web.service import WebService  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"http.listen needs the HTTP server, which cannot be imported: {error}",
            hint="install it: pip install 'event-processor[http]'",
        ) from error
    return WebService(dict(os.environ), IntakeWriter(intake, clock) if intake is not None else None)
