"""What an operator can see: one method per event of the process. The core calls it, an exporter overrides it.

Owns: the list of everything that is reported. `Telemetry` itself does nothing. An exporter overrides the methods that it shows.
Always: a call returns at once and never raises.
Never: no call gets a record's content or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Telemetry"]


class Telemetry:
    """Every event that can be reported.

    All methods do nothing; exporters override them. `path` is a file's path; offsets are in bytes.
    """

    def started(self, *, version: str, state_directory: str, resumed: bool, records: int) -> None:
        """The processor is ready to read."""

    def stopped(self, *, reason: str, records: int, held_events: int) -> None:
        """The processor ended cleanly. `held_events` are still in the order buffer."""

    def left_out(self, *, outcome: str, count: int, what: str) -> None:
        """The results do not contain everything of `count` events; `what` says so for people. Reported at the end of the process."""

    def column_absent(self, *, sink: str, field: str, rows: int) -> None:
        """A column of a sink is null in all `rows` of this process, because no row had its field. Reported when the sink is closed."""

    def reading(self) -> None:
        """A long read goes on: the process works, although the loop does not make a round."""

    def progressed(self) -> None:
        """The loop finished a round. So it works, or it waits with a deadline."""

    def batch_committed(
        self, *, records: int, accepted: int, duplicate: int, rejected: int, released: int, content_bytes: int
    ) -> None:
        """A checkpoint is durable. The numbers are for this batch only."""

    def commit_timed(self, *, seconds: float) -> None:
        """A checkpoint is durable. `seconds`: from the first write of its commit to the end of it."""

    def http_listening(self, *, address: str) -> None:
        """The HTTP server answers at this address (a URL)."""

    def http_unavailable(self, *, address: str, reason: str, remedy: str) -> None:
        """The HTTP server cannot listen there. Everything else goes on, and it is tried again."""

    def http_failed(self, *, method: str, path: str, reason: str) -> None:
        """The HTTP server could not answer a request, and said so (500)."""

    def history_started_anew(self, *, path: str, reason: str) -> None:
        """A file with the figures of the past could not be used, or was removed, so an empty one took its place."""

    def history_unavailable(self, *, path: str, reason: str, remedy: str) -> None:
        """The figures of the past cannot be written. Everything else goes on, and it is tried again. Reported once."""

    def records_rejected(self, *, count: int, source: str, path: str, line: int, offset: int, reason: str) -> None:
        """A durable checkpoint counts rejected records. The place and the reason are those of the first of them."""

    def rejections_counted(self, *, count: int, source: str, path: str, line: int, offset: int, reason: str) -> None:
        """As `records_rejected`, for all commits since the last report of this kind: at most once a minute."""

    def file_opened(self, *, source: str, path: str, generation: int, offset: int) -> None:
        """Reading of a file starts at `offset`."""

    def file_missing(self, *, source: str, path: str) -> None:
        """A configured path has no file, either not yet or no longer."""

    def file_unreadable(self, *, source: str, path: str, reason: str) -> None:
        """The file at a path cannot be read (a folder, a named pipe, no permission). It is tried again."""

    def source_unreachable(self, *, source: str, path: str, reason: str, remedy: str) -> None:
        """A system that a source reads cannot be reached, or refuses us. It is tried again; `file_readable` ends it."""

    def file_readable(self, *, source: str, path: str) -> None:
        """A path that was reported as missing or unreadable can be read now, or nothing needs it any more."""

    def file_damaged(self, *, source: str, path: str, generation: int, offset: int, reason: str) -> None:
        """A compressed file can be decoded only up to `offset`. Everything before `offset` was read."""

    def file_rotated(self, *, source: str, path: str, new_path: str, generation: int) -> None:
        """A file that is being read was renamed. It is still followed."""

    def file_truncated(self, *, source: str, path: str, generation: int, offset: int, size_bytes: int) -> None:
        """A file is now shorter than the part already read. A new generation begins."""

    def file_replaced(self, *, source: str, path: str, generation: int) -> None:
        """A path that was read now has another file, or rewritten content. A new generation begins."""

    def file_left_out(self, *, source: str, path: str, size_bytes: int) -> None:
        """A rotated file is not read, because it was there before the first start."""

    def file_twice(self, *, source: str, path: str, same_as: str) -> None:
        """Two paths of a glob are one file (a link, or a file renamed within the glob). It is read once, as `same_as`."""

    def order_by_times(self, *, source: str, path: str, files: str) -> None:
        """Neither content nor names showed the order of these files, so their modification times decided, which may be wrong."""

    def file_uncertain(self, *, source: str, path: str, reason: str) -> None:
        """`path` is taken for the file that was read before, but nothing proves that it is it: `reason`."""

    def file_lost(
        self, *, source: str, path: str, generation: int, offset: int, size_bytes: int | None, reason: str, looked_at: str
    ) -> None:
        """Input from `offset` on cannot be read any more: `reason`.

        `generation` is 0 for a file that was never read; `size_bytes` is None if unknown. `looked_at`: the globs under which it was
        searched.
        """

    def losses_committed(self, *, count: int) -> None:
        """A durable checkpoint says how many losses were not acknowledged. Reported at the start too, if there are any."""

    def file_retired(self, *, source: str, path: str, generation: int, size_bytes: int) -> None:
        """A rotated file was read to its end and is closed."""

    def leading_nuls_skipped(self, *, source: str, path: str, offset: int, size_bytes: int) -> None:
        """A file starts with a run of NULs. It was truncated while a writer without O_APPEND had it open."""

    def watcher_unavailable(self, *, path: str, reason: str) -> None:
        """The watcher cannot watch this folder. Only polling finds changes."""

    def checkpoint_recovered(self, *, path: str, reason: str, kept_as: str) -> None:
        """The checkpoint could not be used, so its predecessor is used. The broken file was renamed to `kept_as`."""

    def journal_followed(self, *, path: str, entries: int) -> None:
        """After a fallback, the log was read again as the lost checkpoint had read it: in the order of `entries` of the journal."""

    def journal_left(self, *, path: str, entries: int, reason: str) -> None:
        """The same only for the first `entries`, since the log no longer gives what the next one says: `reason`.

        What follows is read as it comes. If a remote sink was sent other records, its lane notices it and stops.
        """

    def state_migrated(self, *, path: str, kept_as: str, unknown: str) -> None:
        """A state of version 1 goes on as one of version 2; the old checkpoint is kept. `unknown`: what version 1 did not keep."""

    def order_kept(self, *, by: str, implied_by: str) -> None:
        """The state continues in the order `by`, which made it. Its windows now imply `implied_by`, and no file sets either."""

    def orphan_removed(self, *, path: str) -> None:
        """One of our files was deleted, because no checkpoint names it."""

    def intake_files_removed(self, *, count: int, first: str, last: str, keep_days: int) -> None:
        """Files of the intake, from `first` to `last`, were removed: their records are counted, and they are older than `keep_days`."""

    def intake_files_kept(self, *, path: str, reason: str) -> None:
        """Old files of the intake at `path` could not be removed. It is tried again."""

    def worker_started(self, *, process_id: int) -> None:
        """A worker process was started. It decodes a part of a backlog."""

    def worker_unavailable(self, *, reason: str) -> None:
        """A worker process could not be started. The main process decodes everything."""

    def worker_lost(self, *, process_id: int) -> None:
        """A worker process ended unexpectedly. The main process decodes its chunks."""

    def segments_merged(self, *, inputs: int, ids: int, size_bytes: int) -> None:
        """The index merged segments in the background."""

    def order_idle_released(self, *, events: int) -> None:
        """The log was idle, so the order buffer was flushed."""

    def sorted_released(self, *, events: int, waiting: int) -> None:
        """Finished input was read and sorted; so many of its events are released in order, and `waiting` are not yet."""

    def reloaded(self, *, changed: str) -> None:
        """The configuration was reloaded. `changed`: the keys that changed; empty if it is the same as before."""

    def reload_refused(self, *, reason: str) -> None:
        """A reload was refused. The present configuration stays in effect."""

    def lanes_opened(self, *, sinks: Sequence[str]) -> None:
        """Delivery begins with these lanes, lanes of retried records among them. What an earlier process said of others is over."""

    def lane_checked(self, *, sink: str, is_sending: bool) -> None:
        """A lane has looked at itself. What an earlier process said of it, and this one did not, is over: the pause; all, if `is_sending`.

        `is_sending`: it delivered a record, or none waits. Reported once without, and once with it.
        """

    def lane_waiting(self, *, sink: str, reason: str) -> None:
        """The service of a remote sink is in outage: its records wait, and one at a time is tried."""

    def lane_stopped(self, *, sink: str, reason: str, remedy: str) -> None:
        """A remote sink can take nothing until an operator does something. Its records are kept, and one is tried once a minute."""

    def lane_flowing(self, *, sink: str) -> None:
        """A remote sink that was waiting or stopped takes records again."""

    def lane_paused(self, *, sink: str, remedy: str) -> None:
        """An operator paused a remote sink: it is sent nothing until it is resumed."""

    def lane_resumed(self, *, sink: str) -> None:
        """An operator resumed a remote sink."""

    def lane_detached(self, *, sink: str, sequence: int, remedy: str) -> None:
        """The outbox was full: the records from this one on are skipped at a remote sink, until an operator attaches it."""

    def lane_failed(self, *, sink: str, reason: str, remedy: str, exit_code: int) -> None:
        """A remote sink is sent nothing more in this process: its place in the outbox cannot be trusted."""

    def job_ended(self, *, job: str, pipeline: str, outcome: str, exit_code: int, reason: str) -> None:
        """A job over HTTP ended for good: `outcome` is done or failed."""

    def jobs_unavailable(self, *, path: str, reason: str) -> None:
        """A file of the jobs over HTTP cannot be read or written. It is tried again."""

    def jobs_checked(self, *, path: str, problem: str) -> None:
        """What an operator must know of the jobs over HTTP, whose folder is `path`, has changed. `problem`: empty if all can go on."""

    def lane_rewound(self, *, sink: str, records: int) -> None:
        """The receiver, which holds the cursor, is behind this state: so many records that were answered are sent again."""

    def snapshot_ahead(self, *, sink: str, as_of: int, records: int) -> None:
        """A table covers more records than this state, which is an older copy: it is written again when the state has read as far."""

    def delivery_failed(self, *, sink: str, sequence: int, status: str, reason: str) -> None:
        """A remote sink's receiver refused one record for good. It is kept as a failed record."""
