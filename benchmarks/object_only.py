"""The source of an object alone: `object_only.py ENDPOINT URL RECORDS` reads so many records and decodes each with msgspec, as the bare ranged
reads do (`peers/s3_loop.py`), and prints `{"records": …, "value": …}`.

Always: every chunk is read as the loop reads it.
Never: finds duplicates, keeps totals, or commits.
"""

from __future__ import annotations

import json
import os
import sys

import msgspec

from benchmarks.peers.s3_loop import ACCESS_KEY, SECRET
from benchmarks.peers.sql_loop import Event
from event_processor.assembly import Environment
from event_processor.connectors.s3.connector import S3Connector
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.model.connector import SourceContext

CHUNK_BYTES = 4_194_304


def main(endpoint: str, url: str, records: int) -> None:
    """Reads, decodes and counts."""
    os.environ["S3_SECRET"] = SECRET
    given = {"access_key_id": ACCESS_KEY, "secret_access_key_env": "S3_SECRET"}
    options = S3SourceOptions.model_validate({"type": "s3", "url": url, "endpoint": endpoint, **given})
    environment = Environment()
    source = S3Connector().source(options, SourceContext("events", environment))
    decode, read, value = msgspec.json.Decoder(Event).decode_lines, 0, 0.0
    source.open({}, 1)
    while read < records:
        environment.wakeup.clear()
        chunk = source.read(CHUNK_BYTES)
        if chunk is None:
            environment.clock.wait(environment.wakeup, 0.05)
            continue
        events = decode(chunk.content)
        value += sum(event.value for event in events)
        read += len(events)
    source.close()
    print(json.dumps({"records": read, "value": value}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
