"""The connector of `type = "file"`: logs that are followed, finished input, and sinks that write files.

Owns: which options make which source; what a file sink guarantees.
Always: an input of a one-shot run is finished. Only what a pipeline uses is imported: a command that looks at a log needs no sink.
Never: keeps a state or sequences anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions, StandardInputOptions
from event_processor.model.connector import CommittedOutput, Connector, Guarantee, Lag, SinkContext, SourceContext, World
from event_processor.model.event import Json

if TYPE_CHECKING:
    from event_processor.connectors.files.past_generation import FileGeneration
    from event_processor.model.contracts import Sink, Source
    from event_processor.model.probes import Finding, ProbeContext

__all__ = ["FilesConnector"]


class FilesConnector(Connector):
    """See `Connector`."""

    type_name = "file"
    source_options = FileSourceOptions
    sink_options = FileSinkOptions
    outside_p2 = frozenset({"device", "inode", "left_out", "forgotten", "ended", "named", "follows"})

    def source(self, options: FileSourceOptions, context: SourceContext) -> Source:
        """The source. An input of a one-shot run is always finished."""
        world = context.world
        if isinstance(options, InputFilesOptions):
            from event_processor.connectors.files.finished import InputFiles  # noqa: PLC0415 - only for such a source

            return InputFiles(context.name, options, fs=world.fs, telemetry=world.telemetry)
        if isinstance(options, StandardInputOptions):
            from event_processor.connectors.files.standard_input import StreamSource  # noqa: PLC0415 - only for such a source

            return StreamSource(context.name, options, clock=world.clock, telemetry=world.telemetry)
        from event_processor.connectors.files.following.source import FileSource  # noqa: PLC0415 - only for such a source

        return FileSource(
            context.name,
            options,
            fs=world.fs,
            clock=world.clock,
            telemetry=world.telemetry,
            finished=context.finished,
            last_commit_ns=context.last_commit_ns,
            start=context.start,
            read_before=context.read_before,
        )

    def remarks(self, options: FileSourceOptions, world: World) -> list[str]:
        """Files beside the log that are not read, and a glob that is the name of a file."""
        from event_processor.connectors.files.following.remarks import remarks  # noqa: PLC0415 - only to say them

        is_followed = not isinstance(options, InputFilesOptions | StandardInputOptions)
        return list(remarks(world.fs, options)) if is_followed else []

    def probe(self, options: FileSourceOptions | FileSinkOptions, context: ProbeContext) -> list[Finding]:
        """Whether the files of a source can be read, or the folder of a sink can be written."""
        from event_processor.connectors.files.probe import sink_finding, source_findings  # noqa: PLC0415 - only to probe

        if isinstance(options, FileSinkOptions):
            return [sink_finding(context.key, str(options.path))]
        is_followed = not isinstance(options, InputFilesOptions | StandardInputOptions)
        return list(source_findings(context.key, options, context.world.fs)) if is_followed else []

    def reopen(self, options: FileSourceOptions, position: Mapping[str, Json], world: World) -> FileGeneration | None:
        """The file, found again by its content."""
        from event_processor.connectors.files.past_generation import find_generation  # noqa: PLC0415 - only to read it again

        return find_generation(position, options, world.fs)

    def lag(
        self,
        options: FileSourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,
    ) -> Lag:
        """See `Connector.lag`: with the bytes before the positions."""
        offsets = [position.get("offset") for position in positions.values()]
        known = [each for each in offsets if isinstance(each, int)]
        read_bytes = sum(known) if len(known) == len(offsets) else None
        return Lag(self.lag_bytes(options, context, positions, next_generation), read_bytes=read_bytes)

    def lag_bytes(
        self,
        options: FileSourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,
    ) -> int:
        """See `Connector.lag_bytes`. Ignores `files_concurrent_max`: with a limit, a waiting file would not even be looked at."""
        unlimited = options.model_copy(update={"files_concurrent_max": 0})
        return super().lag_bytes(unlimited, context, positions, next_generation)

    def sink(self, options: FileSinkOptions, context: SinkContext) -> Sink:
        """A file that grows, or numbered parts."""
        from event_processor.connectors.files.sinks import make_sink  # noqa: PLC0415 - only if there is such a sink

        return make_sink(options, context)

    def guarantee(self, options: FileSinkOptions) -> Guarantee:
        """Exactly once, for readers of what is committed."""
        if options.parts:
            by = "a part gets its name only after the checkpoint that covers its last event, and is never written again"
            return Guarantee("exactly once, in the parts with their final names", by)
        by = "it is written within the commit, and a restart cuts off what the checkpoint does not cover"
        return Guarantee("exactly once, for readers that stop at the committed length", by)

    def replica(self, options: FileSinkOptions, context: SinkContext, path: str) -> Sink:
        """A growing file at `path`.

        For a sink that writes parts it holds the lines in order; the sink's own first start cuts them.
        """
        from event_processor.connectors.files.sinks import make_replica  # noqa: PLC0415 - only if there is such a sink

        return make_replica(options, context, path)

    def sink_file(self, options: FileSinkOptions, name: str, key: str) -> str | None:
        """The growing file, or the pending file of the open part."""
        from event_processor.connectors.files.sinks import open_file  # noqa: PLC0415 - only if there is such a sink

        return open_file(options, name, key)

    def fresh_files(self, options: FileSinkOptions, name: str) -> Mapping[str, str]:
        """A growing file, or the pending file of the first part."""
        from event_processor.connectors.files.sinks import fresh_file  # noqa: PLC0415 - only if there is such a sink

        return fresh_file(options, name)

    def files(self, options: FileSinkOptions, world: World) -> list[str]:
        """The growing file; or the published, complete and pending files of the parts."""
        from event_processor.connectors.files.sinks import existing_files  # noqa: PLC0415 - only if there is such a sink

        return existing_files(options, world.fs)

    def committed_output(self, options: FileSinkOptions, context: SinkContext) -> CommittedOutput | None:
        """See `Connector.committed_output`."""
        from event_processor.connectors.files.sinks import committed_output  # noqa: PLC0415 - only if there is such a sink

        return committed_output(options, context)
