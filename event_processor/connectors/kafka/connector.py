"""The connector of `type = "kafka"`.

Owns: which options make a source; how far a topic is behind; how a generation is found again.
Always: the client library is imported only if a topic is used; without the extra, the error names it. What concerns sinks is in `sink.py`.
Never: keeps a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from event_processor.connectors.kafka.positions import OUTSIDE_P2, read_position
from event_processor.connectors.kafka.sink import KafkaSink
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.model.connector import Guarantee, Lag, PastGeneration, SeekPlan, SeekRequest, SourceContext
from event_processor.model.contracts import Source
from event_processor.model.errors import InputGoneError, UsageError
from event_processor.model.event import Json
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.world import World

__all__ = ["KafkaConnector"]

GROUP: Final = Guarantee(
    "its records are counted at least once, not exactly once",
    'a partition that moves to another member of the group moves without our state; mode = "assigned" counts exactly once',
)


class KafkaConnector(KafkaSink):
    """See `Connector`."""

    source_options = KafkaSourceOptions
    outside_p2 = OUTSIDE_P2
    asks_for_lag = True

    def source(self, options: KafkaSourceOptions, context: SourceContext) -> Source:
        """The topic. It connects in the background."""
        from event_processor.connectors.kafka.group import GroupSource  # noqa: PLC0415 - only if there is such a source
        from event_processor.connectors.kafka.source import KafkaSource  # noqa: PLC0415

        return (KafkaSource if options.mode == "assigned" else GroupSource)(options, context)

    def chooses_start(self, options: KafkaSourceOptions) -> bool:  # noqa: ARG002 - the beginning moves as well
        """Always: after a moment, retention may have deleted what was at the beginning."""
        return True

    def remarks(self, options: KafkaSourceOptions, world: World) -> list[str]:  # noqa: ARG002 - nothing is asked
        """That a group counts at least once."""
        return [f"{GROUP.words}: {GROUP.by}"] if options.mode == "group" else []

    def source_guarantee(self, options: KafkaSourceOptions) -> Guarantee:
        """Exactly once, except in a group."""
        return GROUP if options.mode == "group" else super().source_guarantee(options)

    def probe(self, options: KafkaSourceOptions | KafkaSinkOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the topic can be read, or written."""
        if isinstance(options, KafkaSinkOptions):
            return super().probe(options, context)
        from event_processor.connectors.kafka.probe import topic_finding  # noqa: PLC0415

        return [topic_finding(options, context)]

    def reopen(self, options: KafkaSourceOptions, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        """The partition. Raises `InputGoneError` if the topic is another one, `NotAnsweredError`."""
        from event_processor.connectors.kafka.past_generation import KafkaGeneration  # noqa: PLC0415
        from event_processor.connectors.kafka.survey import look_now  # noqa: PLC0415

        known = read_position(position)
        topic = look_now(options, options.topic, world, known.path)
        if known.topic_id and topic.id and topic.id != known.topic_id:
            raise InputGoneError(
                f"{known.path}: the topic was deleted and made again (its id is {topic.id}, not {known.topic_id})",
                hint="the state stays as it is and goes on; what the old topic held cannot be checked",
            )
        return KafkaGeneration(options, known, world)

    def seek(self, options: KafkaSourceOptions, context: SourceContext, request: SeekRequest) -> SeekPlan:
        """Asks the brokers where the topic begins and ends. See `Connector.seek`."""
        if options.mode == "group":
            reset = f"kafka-consumer-groups.sh --reset-offsets --group {options.group} --topic {options.topic} --to-earliest --execute"
            raise UsageError("the positions of a group are the group's, not ours", hint=f"stop its members, then: {reset}")
        from event_processor.connectors.kafka.seek import plan_of_seek  # noqa: PLC0415
        from event_processor.connectors.kafka.survey import look_now  # noqa: PLC0415

        topic = look_now(options, options.topic, context.world, f"sources.{context.name}")
        return plan_of_seek(context.name, options, topic, request)

    def lag(
        self,
        options: KafkaSourceOptions,
        context: SourceContext,
        positions: Mapping[int, Mapping[str, Json]],
        next_generation: int,  # noqa: ARG002 - a topic is asked, not opened
    ) -> Lag:
        """Asks the brokers, for a few seconds at most. See `Connector.lag`."""
        from event_processor.connectors.kafka.lag import lag_of  # noqa: PLC0415

        return lag_of(options, context, [read_position(each) for each in positions.values()])
