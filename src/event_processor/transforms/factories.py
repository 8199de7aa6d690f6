"""From `[[transforms]]` to what makes them, here or in another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from event_processor.contracts import ObjectTransform
from event_processor.transform_options import TransformOptions
from event_processor.transforms.own import OwnTransform
from event_processor.transforms.tables import TableTransform

__all__ = ["transform_factories"]


def transform_factories(options: Sequence[TransformOptions], timestamp_zone: str) -> list[Callable[[], ObjectTransform]]:
    """What makes the transforms, in their order; each can be pickled. Tables that follow one another are one: they share the decoding."""
    factories: list[Callable[[], ObjectTransform]] = []
    numbered = [(f"transforms[{number}]", table) for number, table in enumerate(options)]
    for is_own, group in groupby(numbered, key=lambda pair: pair[1].class_ is not None):
        if is_own:
            factories += [partial(OwnTransform, key, str(table.class_), dict(table.options)) for key, table in group]
        else:
            factories.append(partial(TableTransform, tuple(table for _, table in group), timestamp_zone))
    return factories
