"""What an object is read beside: bare ranged reads that decode each line with msgspec.

`s3_loop.py ENDPOINT BUCKET KEY` reads the object to its end and prints `{"records": …, "value": …}`.
Always: ranges of 8 MiB with `If-Match`, the next one on its way while one is decoded, as the source does it.
Never: lists a bucket, finds duplicates, keeps a total of each category, or commits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import obstore
from obstore.store import S3Store

from benchmarks.peers.sql_loop import Event

RANGE_BYTES = 8 << 20
ACCESS_KEY, SECRET = "tester", "only-for-tests"


def ranges(endpoint: str, bucket: str, key: str) -> Iterator[bytes]:
    """Yields the object."""
    store = S3Store(
        bucket,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )
    meta = obstore.head(store, key)
    size_bytes = int(meta["size"])

    def fetched(start: int) -> bytes:
        end = min(size_bytes, start + RANGE_BYTES)
        return bytes(obstore.get(store, key, options={"if_match": meta["e_tag"], "range": (start, end)}).bytes())

    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(fetched, 0)
        for start in range(RANGE_BYTES, size_bytes + RANGE_BYTES, RANGE_BYTES):
            content = following.result()
            if start < size_bytes:
                following = ahead.submit(fetched, start)
            yield content


def main(endpoint: str, bucket: str, key: str) -> None:
    """Reads, decodes and counts."""
    decode, records, value, rest = msgspec.json.Decoder(Event).decode_lines, 0, 0.0, b""
    for content in ranges(endpoint, bucket, key):
        lines, feed, rest = (rest + content).rpartition(b"\n")
        events = decode(lines + feed)
        records += len(events)
        value += sum(event.value for event in events)
    print(json.dumps({"records": records, "value": value}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
