"""What an operator can see: one method per thing, called by the core, answered by an exporter.

Owns: the list of everything that is reported. `Telemetry` itself says nothing; an exporter overrides what it shows.
Always: a call returns at once and never raises.
Never: a record's content or a secret is not passed here.
"""

from __future__ import annotations

__all__ = ["Telemetry"]


class Telemetry:
    """Every thing that can be seen, and silence: exporters inherit and override. `path` is a file's path, offsets in bytes."""

    def started(self, *, version: str, state_directory: str, resumed: bool, records: int) -> None:
        """The processor is ready to read."""

    def stopped(self, *, reason: str, records: int, held_events: int) -> None:
        """The processor ended cleanly; `held_events` wait in the order stage."""

    def progressed(self) -> None:
        """The loop came round: it works, or waits with a deadline."""

    def batch_committed(
        self, *, records: int, accepted: int, duplicate: int, rejected: int, released: int, content_bytes: int
    ) -> None:
        """A checkpoint is durable; the numbers are this batch's own."""

    def file_opened(self, *, source: str, path: str, generation: int, offset: int) -> None:
        """A file is read, from `offset`."""

    def file_missing(self, *, source: str, path: str) -> None:
        """A path that is configured has no file (yet, or any more)."""

    def file_unreadable(self, *, source: str, path: str, reason: str) -> None:
        """What stands at a path cannot be read (a folder, a named pipe, no permission); it is tried again."""

    def file_damaged(self, *, source: str, path: str, generation: int, offset: int, reason: str) -> None:
        """A compressed file decodes only up to `offset`; what stands before it was read."""

    def file_rotated(self, *, source: str, path: str, new_path: str, generation: int) -> None:
        """A file that is read was renamed; it is followed."""

    def file_truncated(self, *, source: str, path: str, generation: int, offset: int, size_bytes: int) -> None:
        """A file is shorter than what was read of it; a new generation begins."""

    def file_replaced(self, *, source: str, path: str, generation: int) -> None:
        """Another file, or rewritten content, stands at a path that was read; a new generation begins."""

    def file_lost(self, *, source: str, path: str, generation: int, offset: int) -> None:
        """A file that was not read to its end can no longer be found, or a link in a chain of rotations is missing."""

    def file_retired(self, *, source: str, path: str, generation: int, size_bytes: int) -> None:
        """A rotated file was read to its end and is closed."""

    def leading_nuls_skipped(self, *, source: str, path: str, offset: int, size_bytes: int) -> None:
        """A run of NULs at a file's start, as a truncation under a writer without O_APPEND leaves it."""

    def watcher_unavailable(self, *, path: str, reason: str) -> None:
        """No notice of changes for this folder; polling alone sees them."""

    def checkpoint_recovered(self, *, path: str, reason: str, kept_as: str) -> None:
        """The checkpoint could not be used and its predecessor is; the broken one was renamed to `kept_as`."""

    def state_migrated(self, *, path: str, kept_as: str, unknown: str) -> None:
        """A state of version 1 goes on as one of version 2; the old checkpoint is kept. `unknown`: what version 1 did not keep."""

    def orphan_removed(self, *, path: str) -> None:
        """A file of ours that no checkpoint names was unlinked."""

    def worker_started(self, *, process_id: int) -> None:
        """A process was started that decodes a part of a backlog."""

    def worker_unavailable(self, *, reason: str) -> None:
        """A process that should decode a part of a backlog could not be started; everything is decoded here."""

    def worker_lost(self, *, process_id: int) -> None:
        """A worker process ended that should not have; what it had is decoded here."""

    def segments_merged(self, *, inputs: int, ids: int, size_bytes: int) -> None:
        """The index merged segments in the background."""

    def order_idle_released(self, *, events: int) -> None:
        """The log fell silent and what the order stage held was let go."""

    def reloaded(self) -> None:
        """Another configuration was taken up."""

    def reload_refused(self, *, reason: str) -> None:
        """Another configuration was asked for and cannot be taken up; the present one stays."""
