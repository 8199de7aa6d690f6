"""The source of a topic alone: `topic_only.py BROKERS TOPIC RECORDS` reads so many records and decodes each with msgspec, as the bare
consumer does (`peers/kafka_loop.py`), and prints `{"records": …, "value": …}`.

Always: every chunk is read as the loop reads it, with the topic's id asked for again before a record is handed on.
Never: finds duplicates, keeps totals, or commits.
"""

from __future__ import annotations

import sys
import time

from benchmarks.source_alone import read_alone
from event_processor.assembly import Environment
from event_processor.connectors.kafka.connector import KafkaConnector
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.model.connector import SourceContext


def main(brokers: str, topic: str, records: int) -> None:
    """Reads, decodes and counts."""
    options = KafkaSourceOptions.model_validate({"type": "kafka", "brokers": brokers, "topic": topic})
    source = KafkaConnector().source(options, SourceContext("events", Environment()))
    read_alone(source, records, lambda: time.sleep(source.wait_s() or 0.2))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
