"""The messages of one batch, and which of its records are taken out of it because a topic refuses them.

Owns: `BatchWriting` and `Part`.
Always: each record is in the transaction once: as a message of the topic, or as a failed record with a dead letter.
Never: sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError

from event_processor.connectors.kafka.client import words_of
from event_processor.connectors.kafka.cursor_entries import FailedKey, LaneEntries, failed_entries
from event_processor.connectors.kafka.failures import failure_of, verdict_of
from event_processor.connectors.kafka.sink_messages import Message, MessageWriter, UnfitError
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import (
    DELIVER,
    Batch,
    BatchAnswers,
    CursorOwner,
    FailedRecord,
    Handed,
    Refusal,
    TransactionError,
)

__all__ = ["BatchWriting", "Part"]

_PURGED: Final = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})
"""The library gave these messages up after the error of another one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A message of the transaction. `record`, `letter`: the place in the batch of its record, or of the one whose dead letter it is.

    `failed`: the key, if it keeps a part of a failed record, or deletes one.
    """

    message: Message
    record: int | None = None
    letter: int | None = None
    failed: FailedKey | None = None


class BatchWriting:
    """What becomes of the records of one batch."""

    def __init__(
        self, batch: Batch, messages: MessageWriter, owner: CursorOwner, options: KafkaSinkOptions, entries: LaneEntries
    ) -> None:
        """Raises `TransactionError` if too many records cannot be written as messages."""
        self._batch: Final = batch
        self._writer: Final = messages
        self._owner: Final = owner
        self._options: Final = options
        self._entries: Final = entries
        self._answers: Final = BatchAnswers(batch)
        self._without_value: Final[set[int]] = set()
        """The records whose dead letters are too large for their topic."""
        self._messages: Final[dict[int, Message]] = {}
        for place, entry in enumerate(batch.entries):
            if entry.refusal is None:
                try:
                    self._messages[place] = messages.record(entry)
                except UnfitError as error:
                    self._answers.bad[place] = Answer(Verdict.BAD, str(error))
        self._answers.require_few()

    def answers(self) -> list[Answer]:
        """The answer for each record, if the transaction is committed."""
        return self._answers.answers()

    def parts(self, answers: Sequence[Answer]) -> Iterator[Part]:
        """Everything but the cursor."""
        for place, message in self._messages.items():
            if place not in self._answers.bad:
                yield Part(message, record=place)
        places = {id(entry): place for place, entry in enumerate(self._batch.entries)}
        for entry, answer in self._answers.failed(answers):
            yield from self._failed(places[id(entry)], entry, answer)
        for key in self._entries.excess():
            yield Part(Message(self._options.cursor_topic, None, key.encoded, (), 0), failed=key)

    def _failed(self, place: int, entry: Handed, answer: Answer) -> Iterator[Part]:
        refusal = entry.refusal or Refusal(DELIVER, answer, self._batch.tries + 1)
        record = FailedRecord.of(self._owner.sink, entry.record, entry.key, refusal, self._batch.wall_ns)
        if self._options.dead_letter_topic:
            yield Part(self._writer.dead_letter(record, with_value=place not in self._without_value), letter=place)
        for key, content in failed_entries(self._owner, record):
            yield Part(Message(self._options.cursor_topic, content, key.encoded, (), 0), failed=key)

    def take_out(self, parts: Sequence[Part], refused: Mapping[int, KafkaError], *, is_alone: bool) -> bool:
        """Takes out what is at fault. Returns whether each message must be sent alone to find it out.

        `refused`: by the index of their parts. `is_alone`: they were sent alone. Raises `TransactionError` if no record is at fault.
        """
        bad = {index: error for index, error in refused.items() if verdict_of(error) is Verdict.BAD}
        if not bad:
            causes = [error for error in refused.values() if error.name() not in _PURGED]
            raise failure_of(next(iter(causes or refused.values())), "write")
        if len(bad) > 1 and not is_alone:
            # Messages that were sent together are refused together.
            return True
        for index, error in sorted(bad.items()):
            self._take_out(parts[index], error)
        return is_alone

    def _take_out(self, part: Part, error: KafkaError) -> None:
        if part.record is not None:
            self._answers.refuse(part.record, Answer(Verdict.BAD, words_of(error), error.name()))
        elif part.letter is not None and part.letter not in self._without_value:
            self._without_value.add(part.letter)
        else:
            words = f"the topic {part.message.topic} does not take what must be written there: {words_of(error)}"
            raise TransactionError(
                Answer(Verdict.STOP, words), remedy="look at the settings of the topic; then: event-processor reload"
            )
