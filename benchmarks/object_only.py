"""The source of an object alone: `object_only.py ENDPOINT URL RECORDS` reads so many records and decodes each with msgspec, as the bare ranged
reads do (`peers/s3_loop.py`), and prints `{"records": …, "value": …}`.

Always: every chunk is read as the loop reads it.
Never: finds duplicates, keeps totals, or commits.
"""

from __future__ import annotations

import os
import sys

from benchmarks.peers.s3_loop import ACCESS_KEY, SECRET
from benchmarks.source_alone import read_alone
from event_processor.assembly import Environment
from event_processor.connectors.s3.connector import S3Connector
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.model.connector import SourceContext


def main(endpoint: str, url: str, records: int) -> None:
    """Reads, decodes and counts."""
    os.environ["S3_SECRET"] = SECRET
    given = {"access_key_id": ACCESS_KEY, "secret_access_key_env": "S3_SECRET"}
    options = S3SourceOptions.model_validate({"type": "s3", "url": url, "endpoint": endpoint, **given})
    environment = Environment()
    source = S3Connector().source(options, SourceContext("events", environment))

    def wait() -> None:
        environment.clock.wait(environment.wakeup, 0.05)
        environment.wakeup.clear()

    read_alone(source, records, wait)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
