"""The source of a topic alone: `topic_only.py BROKERS TOPIC RECORDS` reads so many records and decodes each with msgspec, as the bare
consumer does (`peers/kafka_loop.py`), and prints `{"records": …, "value": …}`.

Always: every chunk is read as the loop reads it, with the topic's id asked for again before a record is handed on.
Never: finds duplicates, keeps totals, or commits.
"""

from __future__ import annotations

import json
import sys
import time

import msgspec

from benchmarks.peers.sql_loop import Event
from event_processor.assembly import Environment
from event_processor.connectors.kafka.connector import KafkaConnector
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.model.connector import SourceContext

CHUNK_BYTES = 4_194_304


def main(brokers: str, topic: str, records: int) -> None:
    """Reads, decodes and counts."""
    options = KafkaSourceOptions.model_validate({"type": "kafka", "brokers": brokers, "topic": topic})
    source = KafkaConnector().source(options, SourceContext("events", Environment()))
    decode, read, value = msgspec.json.Decoder(Event).decode_lines, 0, 0.0
    source.open({}, 1)
    while read < records:
        chunk = source.read(CHUNK_BYTES)
        if chunk is None:
            time.sleep(source.wait_s() or 0.2)
            continue
        events = decode(chunk.content)
        value += sum(event.value for event in events)
        read += len(events)
    source.close()
    print(json.dumps({"records": read, "value": value}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
