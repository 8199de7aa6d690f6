"""A transform of the user's own, held to its contract.

Always: whatever the class does, each record has one outcome. An exception, or an answer that is none, rejects the record that it was about,
and no other. The class gets objects that nobody else holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from event_processor.configuration.user_classes import make_own
from event_processor.model.contracts import Refusal, Transform
from event_processor.records.transforms.documents import unreadable

__all__ = ["OwnTransform"]

_SHOWN_CHARACTERS_MAX: Final = 200


class OwnTransform:
    """The `ObjectTransform` around a class that was named in the configuration."""

    def __init__(self, key: str, reference: str, options: Mapping[str, object]) -> None:
        """`key` is where the configuration names it. Raises `ConfigurationError` where there is no such class, or it cannot be made."""
        self._transform: Final[Transform] = make_own(
            f"{key}.class", reference, options, method="transform", page="docs/transforms.md"
        )
        self._decoder: Final = msgspec.json.Decoder(dict[str, Any])
        self._encoder: Final = msgspec.json.Encoder()

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
        """What the class says of each. Where it fails for many, each is asked about alone, decoded anew: it may have changed them."""
        try:
            answers = list(self._transform.transform(events)) if records else []
            if len(answers) == len(records):
                return [self._record(answer) for answer in answers]
            fault = f"the transform gave {len(answers)} answers for {len(records)} events"
        except Exception as error:  # noqa: BLE001 - whatever the user's class raises is about these events
            fault = f"{type(error).__name__}: {error}"
        if len(records) == 1:
            return [Refusal(fault[:_SHOWN_CHARACTERS_MAX], "")]
        return [answer for record in records for answer in self._answers([record], [self._decoder.decode(record)])]

    def _record(self, answer: Mapping[str, object] | str) -> bytes | Refusal:
        if isinstance(answer, str):
            return Refusal(answer[:_SHOWN_CHARACTERS_MAX], "")
        if not isinstance(answer, Mapping):
            return Refusal(f"the transform gave {type(answer).__name__}, and no object", "")
        return self._encoder.encode(dict(answer))
