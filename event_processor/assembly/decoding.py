"""How the chunks of a pipeline are decoded: here, or by workers too.

Owns: the choice between decoding in the loop, in threads and in processes.
Always: the columns do not depend on the choice.
Never: starts a worker: a backlog does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from event_processor.assembly.formats import format_factory
from event_processor.configuration.configuration import Configuration
from event_processor.deduplication.fingerprints import Fingerprinter
from event_processor.deduplication.shards import Shard
from event_processor.engine.decoding.decoder import DecoderSpec, InlineDecoding
from event_processor.engine.decoding.sharding import ShardFormat
from event_processor.model.contracts import Decoding
from event_processor.model.options import SourceOptions
from event_processor.model.telemetry import Telemetry

if TYPE_CHECKING:
    from event_processor.engine.decoding.pool import Worker

__all__ = ["open_decoding"]

SLOT_BATCHES: Final = 4
"""The shared memory that a batch's bytes and its columns may need, in batches. Larger columns travel in the message."""


def open_decoding(
    configuration: Configuration,
    sources: Mapping[str, SourceOptions],
    fingerprinter: Fingerprinter | None,
    *,
    telemetry: Telemetry,
    opened: ExitStack,
) -> Decoding:
    """Decodes here alone, or with workers that a backlog starts: threads if they can run in parallel, else processes.

    `sources`: all of them, by name. `opened` closes the workers.
    """
    factories = {name: format_factory(configuration, options) for name, options in sources.items()}
    if (shard := Shard.of(configuration.engine.shard)) is not None:
        factories = {name: partial(ShardFormat, make, shard) for name, make in factories.items()}
    if configuration.engine.workers == 1:
        return InlineDecoding({name: make() for name, make in factories.items()})
    from event_processor.engine.decoding.pool import DecodingPool  # noqa: PLC0415 - only if there are workers
    from event_processor.engine.decoding.process import ProcessWorker  # noqa: PLC0415
    from event_processor.engine.decoding.thread import ThreadWorker  # noqa: PLC0415

    fingerprint = None if fingerprinter is None else (fingerprinter.algorithm, fingerprinter.seed)
    spec = DecoderSpec(factories, fingerprint)
    decode = spec()
    start: Callable[[], Worker] = partial(ThreadWorker, spec)
    if not decode.lets_others_run:
        start = partial(ProcessWorker, spec, SLOT_BATCHES * configuration.batch.bytes_max)
    pool = DecodingPool(decode, configuration.engine.workers, start, telemetry)
    opened.callback(pool.close)
    return pool
