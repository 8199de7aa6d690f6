"""Signals, answered by whoever runs a pipeline for as long as it runs.

Always: what answered before answers again afterwards. Never: nothing is decided here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final

__all__ = ["SignalHandlers"]


class SignalHandlers:
    """Each signal goes to its answer, which is told its number, while this is entered. Used by the main thread."""

    def __init__(self, answers: Mapping[signal.Signals, Callable[[int], None]]) -> None:
        self._answers: Final = answers
        self._earlier: dict[int, object] = {}

    def __enter__(self) -> None:
        for number, answer in self._answers.items():
            self._earlier[number] = signal.signal(number, _handler(answer))

    def __exit__(self, *_: object) -> None:
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)  # type: ignore[arg-type]  # what signal.signal gave


def _handler(answer: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        answer(number)

    return handle
