"""What fails for one job, so that it stops no other one.

Owns: `Troubles`: which job is left alone, until when, and that its trouble is reported once.
Always: what failed is tried again after a pause, however often. The same words about the same job are reported once.
Never: decides what is done for a job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from event_processor.assembly import Environment
from event_processor.model.errors import EventProcessorError
from event_processor.model.messages import in_one_line

__all__ = ["OPEN_RETRY_S", "Troubles", "words_of"]

OPEN_RETRY_S: Final = 1.0
STALE_S: Final = 15.0
"""What was not tried again for so long keeps nothing from going on: its job was cancelled, has ended, or waits for a place."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why nothing could be done for a job, and until when it is left alone, by the monotonic clock."""

    reason: str
    until_s: float


class Troubles:
    """Used by the thread of the runner."""

    def __init__(self, environment: Environment, path_of: Callable[[str], str]) -> None:
        """`path_of`: the folder of a job."""
        self._environment: Final = environment
        self._path_of: Final = path_of
        self._troubles: dict[tuple[str, str], _Trouble] = {}

    @property
    def jobs(self) -> set[str]:
        """The jobs for which something failed and was not done since."""
        return {job_id for job_id, _ in self._present()}

    @property
    def reasons(self) -> dict[str, str]:
        """Why nothing could be done for these jobs."""
        return {job_id: trouble.reason for (job_id, _), trouble in self._present().items()}

    def each(self, job_id: str, act: Callable[..., None], *arguments: object) -> None:
        """Does `act` for one job. What fails is reported and tried again after a pause; the other jobs do not wait for it."""
        key = (job_id, act.__name__)
        trouble, now_s = self._troubles.get(key), self._environment.clock.monotonic_s()
        if trouble is not None and now_s < trouble.until_s:
            return
        try:
            act(*arguments)
        except Exception as error:  # noqa: BLE001 - a fault of one job, even one of ours, must not stop the others
            reason = words_of(error)
            if trouble is None or trouble.reason != reason:
                self.tell(self._path_of(job_id), reason)
            self._troubles[key] = _Trouble(reason, now_s + OPEN_RETRY_S)
        else:
            self._troubles.pop(key, None)

    def _present(self) -> dict[tuple[str, str], _Trouble]:
        """The troubles without the stale ones."""
        latest_s = self._environment.clock.monotonic_s() - STALE_S
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if trouble.until_s >= latest_s}
        return self._troubles

    def tell(self, path: str, reason: str) -> None:
        """Reports that the files at `path` cannot be used."""
        self._environment.telemetry.jobs_unavailable(path=path, reason=in_one_line(reason))

    def forget(self, job_id: str) -> None:
        """The job is gone."""
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key[0] != job_id}


def words_of(error: Exception) -> str:
    """What to say about a fault."""
    if isinstance(error, EventProcessorError | OSError):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"
