"""A user's own transform: calls the user's class, and checks its answers.

Owns: `OwnTransform`.
Always: whatever the class does, each record has one outcome. An exception or a wrong answer rejects its own record and no other.
A number that the class does not change keeps its digits.
Only the class holds the objects that it gets.
Never: an exception of the class's `transform` does not leave this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from event_processor.columns.number_texts import WrittenNumber, written_number
from event_processor.configuration.user_classes import make_own
from event_processor.model.contracts import Refusal, Transform
from event_processor.records.transforms.documents import unreadable

__all__ = ["OwnTransform"]

_SHOWN_CHARACTERS_MAX: Final = 200


class OwnTransform:
    """The `ObjectTransform` that calls a class named in the configuration."""

    def __init__(self, key: str, reference: str, options: Mapping[str, object]) -> None:
        """`key` is the key that names the class.

        Raises `ConfigurationError` if it is not found, or if no object can be created.
        """
        self._transform: Final[Transform] = make_own(
            f"{key}.class", reference, options, method="transform", page="docs/transforms.md"
        )
        self._decoder: Final = msgspec.json.Decoder(dict[str, Any], float_hook=written_number)
        self._encoder: Final = msgspec.json.Encoder(enc_hook=_as_written, decimal_format="number")

    def apply(self, records: Sequence[bytes]) -> list[bytes | Refusal]:
        """See `ObjectTransform.apply`."""
        answers: list[bytes | Refusal | None] = []
        events: list[dict[str, object]] = []
        for record in records:
            try:
                events.append(self._decoder.decode(record))
                answers.append(None)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                answers.append(unreadable(record, error))
        readable = [record for record, answer in zip(records, answers, strict=True) if answer is None]
        found = iter(self._answers(readable, events))
        return [next(found) if answer is None else answer for answer in answers]

    def _answers(self, records: Sequence[bytes], events: list[dict[str, object]]) -> list[bytes | Refusal]:
        """The class's answer for each record.

        If a call for several records fails, each record is decoded again and asked about alone.

        It is decoded again because the class may have changed the objects.
        """
        try:
            answers = list(self._transform.transform(events)) if records else []
            if len(answers) == len(records):
                return [self._record(answer) for answer in answers]
            fault = f"the transform returned {len(answers)} answers for {len(records)} events"
        except Exception as error:  # noqa: BLE001 - any error of the user's class is about these events
            fault = f"{type(error).__name__}: {error}"
        if len(records) == 1:
            return [Refusal(fault[:_SHOWN_CHARACTERS_MAX], "")]
        return [answer for record in records for answer in self._answers([record], [self._decoder.decode(record)])]

    def _record(self, answer: Mapping[str, object] | str) -> bytes | Refusal:
        if isinstance(answer, str):
            return Refusal(answer[:_SHOWN_CHARACTERS_MAX], "")
        if not isinstance(answer, Mapping):
            return Refusal(f"the transform returned {type(answer).__name__}, not an object", "")
        return self._encoder.encode(dict(answer))


def _as_written(value: object) -> msgspec.Raw:
    """A number with more digits than a double keeps. Raises `TypeError` for a value that JSON does not have."""
    if isinstance(value, WrittenNumber):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
