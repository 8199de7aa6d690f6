"""What a topic is read beside: a bare consumer that decodes each record with msgspec, or also writes it into PostgreSQL by `COPY`.

`kafka_loop.py BROKERS TOPIC [URL]` reads to the end of the topic and prints `{"records": …, "value": …}`.
Always: with a URL, the columns of the sink's table, its transactions of 5,000 rows, and the next offset of each partition in the same
transaction: where to go on after a crash. The needed fields are checked; a record that is no event ends the loop.
Never: finds duplicates, keeps a total of each category, a dead letter or a refused row, or notices a topic that was made again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from benchmarks.peers.sql_loop import ROWS, TABLE, Event, Row, moment

KINDS = {"text": "text", "double": "double precision", "integer": "bigint", "timestamp": "timestamptz", "end": ""}
CURSOR = 'CREATE TABLE IF NOT EXISTS "cursor" (partition integer PRIMARY KEY, "offset" bigint NOT NULL)'
MOVE = 'INSERT INTO "cursor" VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET "offset" = excluded."offset"'
WAIT_S = 1.0
Offsets: TypeAlias = dict[int, int]
"""By partition, the offset of the next record."""


def messages(brokers: str, topic: str, start: Callable[[int], int]) -> Iterator[Sequence[Message]]:
    """Yields what the library hands over at once, up to the end of every partition. `start`: the first offset of a partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "loop",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    unread = set(consumer.list_topics(topic, timeout=60).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, start(number)) for number in unread])
    while unread:
        found = []
        for message in consumer.consume(ROWS, WAIT_S):
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library names its own errors so
                unread.discard(message.partition() or 0)
            else:
                raise KafkaException(error)
        yield found
    consumer.close()


def decoded(brokers: str, topic: str) -> tuple[int, float]:
    """The number of records, and the sum of their values."""
    decode, records, value = msgspec.json.Decoder(Event).decode, 0, 0.0
    for found in messages(brokers, topic, lambda _: 0):
        for message in found:
            value += decode(message.value() or b"").value
        records += len(found)
    return records, value


def rows(found: Sequence[Message], lines: Counter[int], sequence: int) -> tuple[list[Row], Offsets]:
    """Rows of the table, and the place after them. `lines`: how many records of each partition came before; counted on."""
    decode, is_moment, now = msgspec.json.Decoder(Event).decode, datetime.fromisoformat, moment()
    made: list[Row] = []
    after: Offsets = {}
    for number, message in enumerate(found, start=sequence + 1):
        event = decode(message.value() or b"")
        is_moment(event.timestamp)
        partition, offset = message.partition() or 0, message.offset() or 0
        lines[partition] += 1
        after[partition] = offset + 1
        values = (event.id, event.category, event.value, event.timestamp)
        made.append((*values, "by-hand", "rows", "events", partition + 1, offset, lines[partition], number, now, "loop"))
    return made, after


def to_postgres(brokers: str, topic: str, url: str) -> int:
    """`COPY`, row by row. Returns the number of records."""
    import psycopg  # noqa: PLC0415 - the bare consumer needs none

    connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
    connection.execute(TABLE.format(**KINDS).encode())
    connection.execute(CURSOR.encode())
    places = dict(connection.execute('SELECT partition, "offset" FROM "cursor"').fetchall())
    records, lines, waiting = 0, Counter(places), list[Message]()

    def write(found: Sequence[Message]) -> None:
        made, after = rows(found, lines, records)
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy("COPY events FROM STDIN") as copy:
                for row in made:
                    copy.write_row(row)
            cursor.executemany(MOVE.encode(), list(after.items()))

    for found in messages(brokers, topic, lambda partition: places.get(partition, 0)):
        waiting += found
        while len(waiting) >= ROWS:
            write(waiting[:ROWS])
            records += ROWS
            del waiting[:ROWS]
    if waiting:
        write(waiting)
        records += len(waiting)
    connection.close()
    return records


if __name__ == "__main__":
    given, name, *urls = sys.argv[1:]
    total = 0.0
    if urls:
        count = to_postgres(given, name, urls[0])
    else:
        count, total = decoded(given, name)
    print(json.dumps({"records": count, "value": total}))
