"""What most people write by hand: orjson, a set and a dict, line by line. `python -m benchmarks.peers.orjson_loop FILE`."""

from __future__ import annotations

import gc

import orjson

from benchmarks.peers.result import arguments, print_result

BUFFER_BYTES = 1 << 20


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    gc.disable()
    loads = orjson.loads
    records = 0
    seen: set[str] = set()
    add = seen.add
    totals: dict[str, list[float]] = {}
    with open(options.file, "rb", buffering=BUFFER_BYTES) as log:
        for line in log:
            records += 1
            event = loads(line)
            event_id = event["id"]
            if event_id in seen:
                continue
            add(event_id)
            total = totals.get(event["category"])
            if total is None:
                total = totals[event["category"]] = [0, 0.0]
            total[0] += 1
            total[1] += event["value"]
    print_result(records, [(name, int(count), value) for name, (count, value) in totals.items()])


if __name__ == "__main__":
    main()
