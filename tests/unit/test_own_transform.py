"""A transform of the user's own, held to its contract: each record has one outcome, whatever the class does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from event_processor.configuration.transforms import TransformOptions
from event_processor.model.contracts import Refusal
from event_processor.model.errors import ConfigurationError
from event_processor.records.transforms.tables import transform_factories

HERE = __name__


class Numbers:
    """Adds to `n`; other values of it make the class do what it should not."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.step = options.pop("step", 0)

    def transform(self, events: list[dict[str, Any]]) -> Sequence[Any]:
        numbers = [event.pop("n") for event in events]
        if "short" in numbers:
            return []
        if "emptied" in numbers:
            events.clear()
        return [self.event(number) for number in numbers]

    def event(self, number: Any) -> Any:
        strange: dict[str, Any] = {"said": "is not wanted", "list": [1], "none": None, "set": {"n": object()}, "long": "x" * 999}
        strange |= {"surrogate": {"n": "\ud800"}, "tuple": ("a", 1), "mapping": Frozen()}
        return strange[number] if number in strange else {"n": number + self.step}


class Frozen(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> int:
        return {"m": 1}[key]

    def __iter__(self) -> Any:
        return iter(["m"])

    def __len__(self) -> int:
        return 1


class Unwilling:
    def __init__(self, _options: dict[str, Any]) -> None:
        raise RuntimeError("no")


class Empty:
    def __init__(self, _options: dict[str, Any]) -> None: ...


def transformed(*records: str, options: dict[str, Any] | None = None, name: str = "Numbers") -> list[bytes | Refusal]:
    table = TransformOptions.model_validate({"class": f"{HERE}:{name}", "options": options or {}})
    (factory,) = transform_factories([table], "UTC")
    return list(factory().apply([record.encode() for record in records]))


def test_events_become_what_the_class_says_with_its_options() -> None:
    assert transformed('{"n":1}', '{"n":2.5}', options={"step": 10}) == [b'{"n":11}', b'{"n":12.5}']


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("said", Refusal("is not wanted", "")),
        ("list", Refusal("the transform returned list, not an object", "")),
        ("none", Refusal("the transform returned NoneType, not an object", "")),
        ("tuple", Refusal("the transform returned tuple, not an object", "")),
        ("set", Refusal("TypeError: Encoding objects of type object is unsupported", "")),
        ("long", Refusal("x" * 200, "")),
        ("short", Refusal("the transform returned 0 answers for 1 events", "")),
        ("other", Refusal('TypeError: can only concatenate str (not "int") to str', "")),
        ("mapping", b'{"m":1}'),
    ],
)
def test_what_the_class_does_wrong_with_one_event_spoils_no_other(said: str, answer: bytes | Refusal) -> None:
    assert transformed('{"n":1}', f'{{"n":"{said}"}}', '{"n":2}') == [b'{"n":1}', answer, b'{"n":2}']


def test_half_a_surrogate_pair_from_the_class_is_refused() -> None:
    ((refused),) = transformed('{"n":"surrogate"}')
    assert isinstance(refused, Refusal)
    assert "surrogates not allowed" in refused.reason


def test_a_class_that_changes_its_list_changes_no_answer() -> None:
    (_, answer) = transformed('{"n":1}', '{"n":"emptied"}')
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("TypeError")


def test_what_is_no_json_is_not_shown_to_the_class_and_stays_for_the_judge() -> None:
    assert transformed('{"n":1}', "{no}", '{"n":2}') == [b'{"n":1}', b"{no}", b'{"n":2}']


def test_a_number_that_the_class_could_not_hold_is_refused() -> None:
    (answer,) = transformed('{"n":1e999}')
    assert isinstance(answer, Refusal)
    assert answer.reason.startswith("cannot be parsed for a transform: Number out of range")


class Renames:
    """Gives `n` the name `m`, and half of it the name `half`."""

    def __init__(self, _options: dict[str, Any]) -> None: ...

    def transform(self, events: list[dict[str, Any]]) -> Sequence[Any]:
        return [{"m": event["n"], "half": event["n"] / 2, "exact": Decimal("0.10")} for event in events]


def test_a_number_that_the_class_does_not_change_keeps_its_digits() -> None:
    numbers = ["3.14159265358979323846", "1234567890123456789012", "1e-7", "0.5", "1.5e-400"]
    answers = transformed(*(f'{{"n":{number}}}' for number in numbers), name="Renames")
    halves = ["1.5707963267948966", "6.172839450617284e20", "5e-8", "0.25", "0.0"]
    kept = [*numbers[:2], "1e-7", "0.5", "1.5e-400"]
    assert answers == [f'{{"m":{m},"half":{half},"exact":0.10}}'.encode() for m, half in zip(kept, halves, strict=True)]


def test_no_records_ask_nothing() -> None:
    assert transformed() == []


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (f"{HERE}:Unwilling", "cannot be created: RuntimeError: no"),
        (f"{HERE}:Missing", "cannot be created: TypeError"),
        (f"{HERE}:Empty", "has no method transform"),
        ("no_such_module_here:Class", 'cannot import "no_such_module_here"'),
    ],
)
def test_a_class_that_cannot_be_used_is_a_fault_of_the_configuration_that_names_its_place(reference: str, fault: str) -> None:
    tables = [TransformOptions.model_validate({"drop": ("x",)}), TransformOptions.model_validate({"class": reference})]
    _, factory = transform_factories(tables, "UTC")
    with pytest.raises(ConfigurationError, match=fault) as caught:
        factory()
    assert caught.value.message.startswith("transforms[1].class: ")
    assert caught.value.hint


def test_tables_that_follow_one_another_are_one_transform() -> None:
    table, own = TransformOptions.model_validate({"drop": ("x",)}), TransformOptions.model_validate({"class": f"{HERE}:Numbers"})
    assert len(transform_factories([table, table, own, own, table], "UTC")) == 4
    assert transform_factories([], "UTC") == []
