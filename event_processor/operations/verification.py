"""Recomputes the state from the log and compares it with the committed one.

Owns: what `verify` compares, and in which order.
Always: works beside a running daemon: reads one checkpoint, and only those bytes of the log and of our files that it covers. The
pipeline itself recomputes everything in a temporary folder, fed in the order of the reading journal.
Never: changes or repairs anything. `verify_and_keep` writes down the result, beside the state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Final

from event_processor.assembly import Environment, check_config, committed_outputs, fresh_sink_paths, outside_p2
from event_processor.configuration.configuration import Configuration
from event_processor.deduplication.committed_index import CommittedIndex
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.state import Counts
from event_processor.model.connector import CommittedFile, CommittedOutput, Difference, SinkVerification
from event_processor.model.errors import InputGoneError, StateError, StorageError
from event_processor.model.losses import Loss
from event_processor.model.remote import RemoteSinkOptions
from event_processor.operations.comparison import compare_dead_letters, compare_states, conservation_faults, line_count
from event_processor.operations.last_verification import Verdict, keep_verification
from event_processor.operations.log_reader import Progress
from event_processor.operations.recomputation import Recomputation
from event_processor.operations.state_access import committed_length, require_checkpoint, scratch_directory
from event_processor.storage.durable import FileSystem, storage_call
from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["DIFFERENCES_MAX", "SinkVerification", "Verification", "committed", "compare_sink", "verify", "verify_and_keep"]

DIFFERENCES_MAX: Final = 100
"""The maximum number of differences in a list: a hundred are enough to show that the state is wrong."""
LOOKS_MAX: Final = 100
"""The maximum number of tries to read a checkpoint with its files, while a daemon replaces it."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was compared, and the differences; none if all is right. `lost`: what no person has acknowledged yet."""

    counts: Counts
    size_bytes: int
    dead_letters: int
    dead_letters_purged: int
    sinks: tuple[SinkVerification, ...]
    differences: tuple[Difference, ...]
    lost: tuple[Loss, ...]
    lost_unlisted: int

    @property
    def is_ok(self) -> bool:
        """Whether the committed state equals the one from the log, and nothing of the log is lost."""
        return not (self.differences or self.is_incomplete)

    @property
    def is_incomplete(self) -> bool:
        """Whether input was lost that no person has acknowledged: the log is not all that should be counted."""
        return bool(self.lost or self.lost_unlisted)


def verify_and_keep(configuration: Configuration, environment: Environment, *, progress: Progress) -> tuple[Verification, str]:
    """As `verify`, and keeps the result for `status` (`last_verification.py`), also if it is an error about the state or the log.

    Returns the result, and why it could not be kept; empty if it is kept. Raises as `verify` does.
    """
    compared: list[Checkpoint] = []
    keep = partial(_keep, configuration, environment, compared)
    try:
        verification = verify(configuration, environment, progress=progress, on_checkpoint=compared.append)
    except StateError as error:
        keep("differs", error.message)
        raise
    except InputGoneError as error:
        keep("cannot tell", error.message)
        raise
    if verification.differences:
        return verification, keep("differs", str(verification.differences[0]))
    if verification.is_incomplete:
        words = "; ".join(f"lost: {each}" for each in verification.lost) or f"{verification.lost_unlisted} losses"
        return verification, keep("cannot tell", words)
    return verification, keep("ok", "")


def _keep(
    configuration: Configuration, environment: Environment, compared: Sequence[Checkpoint], verdict: Verdict, words: str
) -> str:
    """Without a checkpoint that can be read, there is nothing that a result could be about."""
    return keep_verification(configuration, environment, compared[-1], verdict, words) if compared else ""


def verify(
    configuration: Configuration,
    environment: Environment,
    *,
    progress: Progress,
    on_checkpoint: Callable[[Checkpoint], None] = lambda _checkpoint: None,
) -> Verification:
    """Recomputes and compares. Needs space in $TMPDIR for the ids, the dead letters and the output of the sinks.

    `on_checkpoint` is told which checkpoint is compared. Raises `InputGoneError` if bytes of the log are gone, so that nothing can be compared; `ConfigurationError` if another
    configuration made the state; `StateError` if state, journal or index cannot be read, or if a block of the index is corrupt;
    `StorageError`.
    """
    with ExitStack() as opened:
        checkpoint, outputs, index = committed(configuration, environment, opened)
        configuration = check_config(configuration, checkpoint)
        on_checkpoint(checkpoint)
        index.check()
        folder = opened.enter_context(scratch_directory())
        # The records of the outbox are not written again: their chain says whether they are the same.
        series = {name: Rebuilding(each.first, each.first_chain) for name, each in checkpoint.state.outbox.items()}
        recomputation = Recomputation(configuration, environment, folder)
        size_bytes = recomputation.run(checkpoint, series, progress)
        comparison = _Comparison(configuration, environment.fs, checkpoint, recomputation)
        return comparison.verification(size_bytes, outputs, index)


def committed(
    configuration: Configuration, environment: Environment, opened: ExitStack
) -> tuple[Checkpoint, dict[str, CommittedOutput | None], CommittedIndex]:
    """The checkpoint, and the committed output of the sinks and the index of ids, which stay open until `opened` ends.

    A daemon may commit between reading the checkpoint and opening the files. Then there is another checkpoint, and we try again.
    Raises `InputGoneError` if there is no state, `StateError`, `StorageError`.
    """
    for _ in range(LOOKS_MAX):
        checkpoint = require_checkpoint(configuration, environment)
        with ExitStack() as found:
            try:
                index = _index(configuration, environment, checkpoint)
            except StateError:
                if require_checkpoint(configuration, environment) == checkpoint:
                    raise
                continue
            found.callback(index.close)
            outputs = committed_outputs(configuration, environment, checkpoint.state.appended)
            for each in outputs.values():
                if each is not None:
                    found.callback(each.close)
            is_whole = all(each is None or each.is_whole for each in outputs.values())
            if is_whole or require_checkpoint(configuration, environment) == checkpoint:
                opened.push(found.pop_all())
                return checkpoint, outputs, index
    raise StorageError("read", str(configuration.state.dir), 0, "a daemon replaced its files each time before they were open")


def _index(configuration: Configuration, environment: Environment, checkpoint: Checkpoint) -> CommittedIndex:
    directory, state = str(configuration.state.dir), checkpoint.state
    return CommittedIndex(environment.fs, os.path.join(directory, "ids"), state.ids, state.appended)


class _Comparison:
    """Compares one checkpoint with the recomputed one."""

    def __init__(self, configuration: Configuration, fs: FileSystem, checkpoint: Checkpoint, other: Recomputation) -> None:
        self._configuration: Final = configuration
        self._committed: Final = checkpoint
        self._recomputed: Final = other.checkpoint()
        self._other: Final = other
        letters_path = os.path.join(str(configuration.state.dir), DEAD_LETTERS_NAME)
        self._letters: Final = CommittedFile(fs, letters_path, committed_length(checkpoint, DEAD_LETTERS_NAME))
        self._recomputed_letters: Final = other.own_file(DEAD_LETTERS_NAME, self._recomputed)

    def verification(self, size_bytes: int, outputs: Mapping[str, CommittedOutput | None], index: CommittedIndex) -> Verification:
        """Compares everything. A file that is too short to compare is a difference like any other."""
        sinks = [compare_sink(self._configuration, name, output, self._other) for name, output in outputs.items()]
        of_sinks = [sink.difference for sink in sinks if sink.difference is not None]
        letters = self._letters_there()
        return Verification(
            counts=self._committed.state.counts,
            size_bytes=size_bytes,
            dead_letters=letters,
            dead_letters_purged=max(0, line_count(self._recomputed_letters) - letters),
            sinks=tuple(sinks),
            differences=tuple(islice(chain(self._differences(), self._of_index(index), of_sinks), DIFFERENCES_MAX)),
            lost=self._committed.state.lost.entries,
            lost_unlisted=self._committed.state.lost.unlisted,
        )

    def _differences(self) -> Iterator[Difference]:
        yield from conservation_faults(self._committed.state)
        yield from compare_states(self._committed.state, self._recomputed.state, outside_p2(self._configuration))
        if missing := _missing(DEAD_LETTERS_NAME, self._letters):
            yield missing
        elif found := compare_dead_letters(self._letters, self._recomputed_letters):
            yield found

    def _of_index(self, index: CommittedIndex) -> Iterator[Difference]:
        """The number of known ids. Each accepted event has one."""
        accepted = self._committed.state.counts.accepted
        if index.is_kept and index.ids != accepted:
            yield Difference("ids (number)", index.ids, accepted)

    def _letters_there(self) -> int:
        return 0 if _missing(DEAD_LETTERS_NAME, self._letters) else line_count(self._letters)


def compare_sink(
    configuration: Configuration, name: str, output: CommittedOutput | None, recomputed: Recomputation
) -> SinkVerification:
    """Compares the committed output of a sink with that of its replica. Raises `StateError`, `StorageError`."""
    if output is not None:
        return output.compare(recomputed.released(name))
    if fresh_sink_paths(configuration)[name]:
        return SinkVerification(name, not_compared="this checkpoint covers none of its output")
    options = configuration.sinks[name]
    if options.input in configuration.snapshot_inputs:
        return SinkVerification(name, not_compared="a snapshot: as_of in its table says which checkpoint it equals")
    if isinstance(options, RemoteSinkOptions) and options.holds_cursor:
        return SinkVerification(name, not_compared=f"event-processor verify --sink {name} compares its rows or objects")
    return SinkVerification(name, not_compared="it keeps no file to compare")


def _missing(name: str, file: CommittedFile) -> Difference | None:
    """The difference if some committed bytes of a file are missing; otherwise None."""
    with storage_call("stat", file.path):
        status = file.fs.status(file.path)
    there_bytes = status.size_bytes if status else 0
    if there_bytes >= file.length_bytes:
        return None
    return Difference(f"{name} ({file.path}, bytes that are there)", there_bytes, file.length_bytes)
