"""Runs the main job with something altered: `altered_job.py ALTERATION[,ALTERATION…] N ARGUMENTS…`.

`names 0`: what is random is a count instead, so that another run makes files of the same names; and one thread does everything,
so that whoever counts calls a thread at a time counts every one.
`small-index 0`: the index of seen ids seals and merges after a few ids, and merges at once instead of in a thread.
`short N`: no write takes more than N bytes.
`torn N`: half of the Nth write is done, then the process kills itself, as a crash in the middle of a write leaves it; a run
that ends before its Nth write ends as ever.
"""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, TypeAlias
from unittest import mock

from event_processor.assembly.environment import Environment
from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.merge import Inline
from event_processor.engine.commit import InlineCommits

Write: TypeAlias = Callable[[int, bytes | memoryview], int]

write: Final = os.write


def counted_bytes() -> Callable[[int], bytes]:
    """1, 2, 3, …, each in as many bytes as asked for, in the place of random ones."""
    numbers = itertools.count(1)
    return lambda size_bytes: next(numbers).to_bytes(size_bytes, "big")


def short(bytes_max: int) -> Write:
    """A write that takes at most `bytes_max` bytes."""
    return lambda descriptor, content: write(descriptor, memoryview(content)[:bytes_max])


def torn(when: int) -> Write:
    """A write that is whole until the `when`th, of which half is done before the process dies."""
    numbers = itertools.count(1)

    def write_or_die(descriptor: int, content: bytes | memoryview) -> int:
        if next(numbers) < when:
            return write(descriptor, content)
        write(descriptor, memoryview(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")

    return write_or_die


def altered_world(kinds: Sequence[str]) -> Callable[..., Environment]:
    """What the job is given as its environment: the real one, but for what `kinds` name."""
    world: Callable[..., Environment] = Environment
    if "names" in kinds:
        world = partial(world, random_bytes=counted_bytes(), committing=InlineCommits)
    if "small-index" in kinds:
        world = partial(world, background=Inline, index_limits=IndexLimits(seal_ids=8, merge_segments=2, merge_segments_above=2))
    return world


def main() -> None:
    """Runs the package as `python -m` does, with what is left of the arguments."""
    kinds, number = sys.argv[1].split(","), int(sys.argv[2])
    del sys.argv[1:3]
    with ExitStack() as altered:
        # Who imports it later takes it from its room; who has it already holds the name itself.
        for name, module in list(sys.modules.items()):
            if name.startswith("event_processor.") and getattr(module, "Environment", None) is Environment:
                altered.enter_context(mock.patch.object(module, "Environment", altered_world(kinds)))
        for kind in {"short", "torn"}.intersection(kinds):
            altered.enter_context(mock.patch.object(os, "write", short(number) if kind == "short" else torn(number)))
        runpy.run_module("event_processor", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
