"""The connector of `type = "s3"`.

Owns: which options make a source or a sink; how far a bucket is behind; how an object is found again.
Always: the client library is imported only if a bucket is used; without the extra, the error names it.
Never: keeps a state.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.positions import OUTSIDE_P2, read_position
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.model.committed_rows import CommittedRows
from event_processor.model.connector import Connector, Guarantee, Lag, PastGeneration, SourceContext
from event_processor.model.contracts import Source
from event_processor.model.delivery import ReceiverContext
from event_processor.model.event import Json
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.transactions import TransactionalReceiver
from event_processor.model.world import World

__all__ = ["S3Connector"]

BY: Final = (
    "an object is made only if there is none with its first record, and the manifest says which objects count; only the newest "
    "process can move it. The start finds out whether the service has conditional writes; without them: at least once, and status says so"
)


class S3Connector(Connector):
    """See `Connector`."""

    type_name = "s3"
    source_options = S3SourceOptions
    sink_options = S3SinkOptions
    outside_p2 = OUTSIDE_P2
    asks_for_lag = True

    def source(self, options: S3SourceOptions, context: SourceContext) -> Source:
        """The bucket. It is listed in the background."""
        from event_processor.connectors.s3.source import S3Source  # noqa: PLC0415 - only if there is such a source

        return S3Source(options, context)

    def source_guarantee(self, options: S3SourceOptions) -> Guarantee:  # noqa: ARG002 - always the same
        """Exactly once."""
        return Guarantee("exactly once", "its positions (key, ETag, offset) are in the checkpoint and its journal")

    def guarantee(self, options: S3SinkOptions) -> Guarantee:
        """Exactly once, for readers of what the manifest names. Whether the service has what this needs is known after the first start."""
        words = "exactly once, for readers of the manifest, if the service has conditional writes"
        return Guarantee(f"{words}; each with one of its service's answers" if options.enrich else words, BY)

    def receiver(self, options: S3SinkOptions, context: ReceiverContext) -> TransactionalReceiver:
        """A receiver with a client of its own."""
        # Imported only if there is such a sink: the library is an extra.
        from event_processor import __version__  # noqa: PLC0415
        from event_processor.connectors.s3.bucket_writing import WritableBucket  # noqa: PLC0415
        from event_processor.connectors.s3.sink_receiver import S3Receiver, Writer  # noqa: PLC0415

        writer = Writer(
            f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}",
            f"event-processor {__version__}",
            context.world.clock.wall_ns,
            lambda: secrets.token_hex(8),
        )
        return S3Receiver(options, WritableBucket(options, context.world.fs, context.environment), writer)

    def committed_rows(self, options: S3SinkOptions, context: ReceiverContext) -> CommittedRows:
        """See `Connector`."""
        from event_processor.connectors.s3.bucket_writing import WritableBucket  # noqa: PLC0415 - only if there is such a sink
        from event_processor.connectors.s3.committed_objects import S3Objects  # noqa: PLC0415

        bucket = WritableBucket(options, context.world.fs, context.environment)
        return S3Objects(options, bucket, sink=context.name, pipeline=context.pipeline, shard=context.shard)

    def probe(self, options: S3SourceOptions | S3SinkOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the bucket can be listed and read; for a sink, whether its objects can be listed."""
        from event_processor.connectors.s3.lag import bucket_finding, sink_finding  # noqa: PLC0415

        return [sink_finding(options, context) if isinstance(options, S3SinkOptions) else bucket_finding(options, context)]

    def reopen(self, options: S3SourceOptions, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        """The object. Raises `InputGoneError` if it is gone or another one, `NotAnsweredError`."""
        from event_processor.connectors.s3.past_generation import ObjectGeneration  # noqa: PLC0415

        return ObjectGeneration(options, read_position(position), world)

    def lag(
        self,
        options: S3SourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,  # noqa: ARG002 - a bucket is asked, not opened
    ) -> Lag:
        """Lists the bucket, for a few seconds at most. See `Connector.lag`."""
        from event_processor.connectors.s3.lag import lag_of  # noqa: PLC0415

        return lag_of(options, context, [read_position(each) for each in positions.values()])
