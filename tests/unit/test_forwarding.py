"""A file system over another one: every call of the contract goes to the other one, and has its answer."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from event_processor.model.file_system import FileSystem
from event_processor.storage.forwarding import ForwardingFileSystem

CALLS = [name for name in vars(FileSystem) if not name.startswith("_") and name != "has_descriptors_of_the_system"]


class Below:
    """Remembers each call, and answers with its name."""

    has_descriptors_of_the_system = "answer"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: object) -> str:
            self.calls.append((name, arguments))
            return f"answer of {name}"

        return call


@pytest.mark.parametrize("name", CALLS)
def test_a_call_reaches_the_file_system_below_with_its_arguments(name: str) -> None:
    below = Below()
    call = getattr(ForwardingFileSystem(below), name)  # type: ignore[arg-type]
    arguments = tuple(object() for _ in signature(call).parameters)
    answered = call(*arguments)
    assert below.calls == [(name, arguments)]
    returns_nothing = signature(call).return_annotation in (None, "None")
    assert answered == (None if returns_nothing else f"answer of {name}")


def test_descriptors_are_of_the_system_if_they_are_below() -> None:
    assert ForwardingFileSystem(Below()).has_descriptors_of_the_system == "answer"  # type: ignore[arg-type,comparison-overlap]
