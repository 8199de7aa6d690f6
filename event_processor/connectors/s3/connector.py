"""The connector of `type = "s3"`.

Owns: which options make a source; how far a bucket is behind; how an object is found again.
Always: the client library is imported only if a bucket is used; without the extra, the error names it.
Never: keeps a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.positions import OUTSIDE_P2, read_position
from event_processor.model.connector import Connector, Guarantee, Lag, PastGeneration, SourceContext
from event_processor.model.contracts import Source
from event_processor.model.event import Json
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.world import World

__all__ = ["S3Connector"]


class S3Connector(Connector):
    """See `Connector`."""

    type_name = "s3"
    source_options = S3SourceOptions
    outside_p2 = OUTSIDE_P2
    asks_for_lag = True

    def source(self, options: S3SourceOptions, context: SourceContext) -> Source:
        """The bucket. It is listed in the background."""
        from event_processor.connectors.s3.source import S3Source  # noqa: PLC0415 - only if there is such a source

        return S3Source(options, context)

    def source_guarantee(self, options: S3SourceOptions) -> Guarantee:  # noqa: ARG002 - always the same
        """Exactly once."""
        return Guarantee("exactly once", "its positions (key, ETag, offset) are in the checkpoint and its journal")

    def probe(self, options: S3SourceOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the bucket can be listed and read."""
        from event_processor.connectors.s3.lag import bucket_finding  # noqa: PLC0415

        return [bucket_finding(options, context)]

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
