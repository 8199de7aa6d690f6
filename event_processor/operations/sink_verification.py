"""Compares what some sinks have with the log: the file of a sink, the rows of a table in its database, or the objects that its manifest names.

Owns: `verify_sinks`, and which of the named sinks are compared how.
Always: works beside a running daemon. The snapshot of a database, or the manifest, is taken before the checkpoint is read: a lane only sends what a
checkpoint covers, so the checkpoint covers every record that the snapshot has.
Never: changes or repairs anything; takes a lane's cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches

from event_processor.assembly import Environment, check_config, committed_rows, remote_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.committed_rows import ReleasedRecord
from event_processor.model.connector import Difference, SinkVerification
from event_processor.model.errors import UsageError
from event_processor.model.losses import Loss
from event_processor.operations.compared_table import ComparedTable, TableVerification
from event_processor.operations.log_reader import Progress
from event_processor.operations.recomputation import Recomputation
from event_processor.operations.state_access import scratch_directory
from event_processor.operations.verification import DIFFERENCES_MAX, committed, compare_sink
from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["SinksVerification", "verify_sinks"]

Watch = Callable[[Sequence[ReleasedRecord]], None]


@dataclass(frozen=True, slots=True)
class SinksVerification:
    """What was compared of the named sinks: `sinks` with files, `tables` of remote ones. `size_bytes`: of the log, that were read.

    `differences`: the first ones, at most `DIFFERENCES_MAX`; `differing`: how many there are. `lost`: as in `Verification`.
    """

    size_bytes: int
    sinks: tuple[SinkVerification, ...]
    tables: tuple[TableVerification, ...]
    differing: int
    differences: tuple[Difference, ...]
    lost: tuple[Loss, ...]
    lost_unlisted: int

    @property
    def is_ok(self) -> bool:
        """Whether every named sink was compared, and equals the log, of which nothing is lost."""
        is_whole = not any(
            [*(each.not_compared for each in self.sinks), *(each.not_compared or each.gone for each in self.tables)]
        )
        return is_whole and not (self.differences or self.is_incomplete)

    @property
    def is_incomplete(self) -> bool:
        """Whether input was lost that no person has acknowledged: the log is not all that should be counted."""
        return bool(self.lost or self.lost_unlisted)


def verify_sinks(
    configuration: Configuration, environment: Environment, names: Sequence[str], *, progress: Progress
) -> SinksVerification:
    """Recomputes what these sinks should have, and compares. Needs space in $TMPDIR for the ids, and the output of sinks with files.

    Raises `UsageError` if there is no such sink; `NotAnsweredError` if a database does not answer; and as `verify` does.
    """
    _require_sinks(configuration, names)
    remote = remote_sinks(configuration)
    files = {name: options for name, options in configuration.sinks.items() if name in names and name not in remote}
    with ExitStack() as opened:
        rows = {name: committed_rows(configuration, environment, name) for name in remote if name in names}
        for each in rows.values():
            if each is not None:
                opened.callback(each.close)
        checkpoint, outputs, _ = committed(configuration.model_copy(update={"sinks": files}), environment, opened)
        checked = check_config(configuration, checkpoint)
        tables = [
            ComparedTable(checked, environment, checkpoint, name, each, differences_max=DIFFERENCES_MAX)
            for name, each in rows.items()
        ]
        folder = opened.enter_context(scratch_directory())
        # The journal says when the order stage was used. Other sinks are not written again.
        recomputation = Recomputation(checked.model_copy(update={"sinks": files}), environment, folder)
        size_bytes = 0
        if files or any(each.is_compared for each in tables):
            size_bytes = recomputation.run(checkpoint, _series(checkpoint, tables), progress)
        sinks = [compare_sink(checked, name, output, recomputation) for name, output in outputs.items()]
        return _verification(checkpoint, size_bytes, sinks, tables, recomputation)


def _require_sinks(configuration: Configuration, names: Sequence[str]) -> None:
    """Raises `UsageError` if one of the names is none of a configured sink."""
    known = list(configuration.sinks)
    for name in names:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"the sinks are: {', '.join(known) or 'none'}"
            raise UsageError(f"{name}: no such sink is configured", hint=hint)


def _series(checkpoint: Checkpoint, tables: Sequence[ComparedTable]) -> dict[str, Rebuilding]:
    """The series of the outbox whose records the tables get, by input."""
    found = {}
    for name, series in checkpoint.state.outbox.items():
        if watches := [each.compare for each in tables if each.is_compared and each.input == name]:
            found[name] = Rebuilding(series.first, series.first_chain, watch=_all_of(watches))
    return found


def _all_of(watches: Sequence[Watch]) -> Watch:
    """Shows each record to all of them."""

    def watch(records: Sequence[ReleasedRecord]) -> None:
        for each in watches:
            each(records)

    return watch


def _verification(
    checkpoint: Checkpoint,
    size_bytes: int,
    sinks: Sequence[SinkVerification],
    tables: Sequence[ComparedTable],
    recomputation: Recomputation,
) -> SinksVerification:
    names: Mapping[tuple[str, int], str] = recomputation.names
    finished = [each.finish(names) for each in tables]
    of_files = [each.difference for each in sinks if each.difference is not None]
    differences: list[Difference] = [*of_files, *(each for _, found in finished for each in found)]
    return SinksVerification(
        size_bytes=size_bytes,
        sinks=tuple(sinks),
        tables=tuple(table for table, _ in finished),
        differing=len(of_files) + sum(table.differing for table, _ in finished),
        differences=tuple(differences[:DIFFERENCES_MAX]),
        lost=checkpoint.state.lost.entries,
        lost_unlisted=checkpoint.state.lost.unlisted,
    )
