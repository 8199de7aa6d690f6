"""Where a topic is to be read next, on request of a person.

Owns: what a seek skips, repeats and counts as lost; the chunks that end the old generations and begin new ones.
Always: what is skipped is a `Loss` with the number of records. A seek ends the generation of a partition and begins another, so that offsets of
a generation only rise.
Never: moves anything: the caller commits the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.kafka.positions import PartitionPosition, read_position
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Bounds, Topic
from event_processor.model.connector import SeekPlan, SeekRequest
from event_processor.model.errors import NotAnsweredError, UsageError
from event_processor.model.event import Chunk
from event_processor.model.losses import Loss

__all__ = ["plan_of_seek"]

_OFFSETS: Final = re.compile(r"\d+=\d+(,\d+=\d+)*")
WORDS: Final = ("available", "beginning", "end")
FORMS: Final = 'write "available", "beginning", "end", or offsets such as 0=1200,1=980 (one number with --partition)'


@dataclass(frozen=True, slots=True)
class _Move:
    """One partition. `generation`, `known`: of the state; None if it does not know the partition. `offset`: None if it is gone."""

    number: int
    generation: int | None
    known: PartitionPosition | None
    bounds: Bounds | None
    offset: int | None
    is_new_topic: bool

    @property
    def skipped(self) -> int:
        """At most so many records are not read: of this topic, from where we were."""
        if self.offset is None:
            return 0
        begin = self.known.offset if self.known and not self.is_new_topic else self.bounds.begin if self.bounds else 0
        return max(0, self.offset - begin)

    @property
    def repeated(self) -> int:
        """At most so many records are read again."""
        if self.known is None or self.offset is None or self.is_new_topic:
            return 0
        return max(0, self.known.offset - max(self.offset, self.known.start))

    def words(self) -> str:
        """For a person."""
        before = f"offset {self.known.offset:,}" if self.known else "not read yet"
        if self.offset is None:
            return f"partition {self.number}: {before}, and the topic has no such partition any more: it ends"
        effects = [f"skips up to {self.skipped:,} records"] if self.skipped else []
        if self.skipped and self.known and self.bounds and not self.is_new_topic and self.bounds.begin > self.known.offset:
            effects.append(f"of which up to {min(self.offset, self.bounds.begin) - self.known.offset:,} were deleted")
        effects += [f"reads up to {self.repeated:,} records again"] if self.repeated else []
        new = " of the new topic" if self.is_new_topic else ""
        return f"partition {self.number}: {before} -> {self.offset:,}{new}{': ' if effects else ''}{', '.join(effects)}"


def plan_of_seek(source: str, options: KafkaSourceOptions, topic: Topic, request: SeekRequest) -> SeekPlan:
    """What must be committed. Raises `UsageError` for a place that is not there, `NotAnsweredError` if a partition has no leader."""
    known = {
        (position := read_position(each)).partition: (generation, position) for generation, each in request.positions.items()
    }
    if not known:
        raise UsageError(
            f"source {source!r} was not read yet", hint="set its key start; a seek moves a state that has a position"
        )
    is_new_topic = any(each.topic_id and topic.id and each.topic_id != topic.id for _, each in known.values())
    moves = [each for each in _moves(options, topic, request, known, is_new_topic=is_new_topic) if _is_needed(each)]
    script, next_generation = [], request.next_generation
    for move in moves:
        script += list(_ending(source, move))
    for move in moves:
        if move.offset is not None:
            script.append(_beginning(source, options, topic, move, next_generation))
            next_generation += 1
    words = tuple(move.words() for move in moves)
    return SeekPlan(tuple(script), words, sum(each.skipped for each in moves), sum(each.repeated for each in moves))


def _moves(
    options: KafkaSourceOptions,
    topic: Topic,
    request: SeekRequest,
    known: Mapping[int, tuple[int, PartitionPosition]],
    *,
    is_new_topic: bool,
) -> Iterator[_Move]:
    if is_new_topic and request.partition is not None:
        raise UsageError("the topic was made again, so all partitions must move", hint="leave --partition out")
    wanted = set(options.partitions or topic.partitions) if is_new_topic else set(known)
    offsets = _offsets(request)
    if offsets is not None and (unknown := sorted(set(offsets) - wanted)):
        raise UsageError(
            f"partition {unknown[0]} is not read by this source", hint=f"it reads {', '.join(map(str, sorted(wanted)))}"
        )
    for number in sorted(wanted | set(known)):
        if request.partition not in (None, number) or (offsets is not None and number not in offsets and not is_new_topic):
            continue
        generation, position = known.get(number, (None, None))
        if number not in topic.partitions:
            yield _Move(number, generation, position, None, None, is_new_topic)
            continue
        bounds = topic.bounds.get(number)
        if bounds is None:
            raise NotAnsweredError(f"partition {number} has no leader now", hint="look at the brokers, then repeat the command")
        if request.to == "available" and position is not None and not is_new_topic:
            offset = min(max(position.offset, bounds.begin), bounds.end)
        else:
            offset = _target(number, request.to, offsets, bounds)
        yield _Move(number, generation, position, bounds, offset, is_new_topic)


def _offsets(request: SeekRequest) -> dict[int, int] | None:
    """The offsets by partition, if they were written; None for a word."""
    if request.to in WORDS:
        return None
    if request.partition is not None and request.to.isdecimal():
        return {request.partition: int(request.to)}
    if _OFFSETS.fullmatch(request.to):
        return {int(number): int(offset) for number, _, offset in (each.partition("=") for each in request.to.split(","))}
    raise UsageError(f"{request.to!r} is no place", hint=FORMS)


def _target(number: int, to: str, offsets: Mapping[int, int] | None, bounds: Bounds) -> int:
    if offsets is None:
        return bounds.end if to == "end" else bounds.begin
    offset = offsets.get(number, bounds.begin)
    if bounds.begin <= offset <= bounds.end:
        return offset
    raise UsageError(
        f"partition {number} has no offset {offset:,}: its log goes from {bounds.begin:,} to {bounds.end:,}", hint=FORMS
    )


def _is_needed(move: _Move) -> bool:
    return move.known is None or move.is_new_topic or move.offset != move.known.offset


def _ending(source: str, move: _Move) -> Iterator[Chunk | Loss]:
    """What is lost, and the end of the old generation."""
    if move.known is None or move.generation is None:
        return
    known = move.known
    if move.is_new_topic or move.offset is None:
        reason = "the topic was deleted and made again; what it held after this offset is unknown"
        yield Loss(source, move.generation, known.path, known.offset, None, reason)
    elif move.skipped:
        reason = f"up to {move.skipped:,} records, skipped by 'kafka seek' to offset {move.offset}"
        yield Loss(source, move.generation, known.path, known.offset, None, reason, move.skipped)
    # If we die before the commit of all this, nothing has moved.
    yield Chunk(source, move.generation, known.offset, b"", known.to_json(), retired=True)


def _beginning(source: str, options: KafkaSourceOptions, topic: Topic, move: _Move, generation: int) -> Chunk:
    assert move.offset is not None
    position = PartitionPosition(options.path_of(move.number), move.number, move.offset, move.offset, topic.id)
    return Chunk(source, generation, move.offset, b"", position.to_json())
