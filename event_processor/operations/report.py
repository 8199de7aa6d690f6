"""A report: everything that the page shows, as one value.

Owns: which documents are in it, by the path under which a daemon answers them, and their limits.
Always: each document is the one that the daemon would answer. Works with and without a daemon, and without a state. Its size has a limit.
Never: holds the configuration, so no secret; changes anything.
"""

from __future__ import annotations

import msgspec

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.clock import utc_text
from event_processor.operations.bottleneck import SPAN_S, bottleneck_of
from event_processor.operations.committed_pages import (
    LIMIT_MAX,
    Wanted,
    aggregate_document,
    aggregates_document,
    categories_document,
    sources_document,
)
from event_processor.operations.dead_letters import DeadLetterCount, DeadLetterPage, dead_letter_page
from event_processor.operations.failed_deliveries import FailedIndex, failed_page
from event_processor.operations.history import HOUR_S, history_of, read_past, ring_for
from event_processor.operations.inspection import inspection_of
from event_processor.operations.pipeline import pipeline_document
from event_processor.operations.sinks import known_sinks
from event_processor.operations.state_access import peek
from event_processor.operations.status import Status, StatusLimits, status_of
from event_processor.operations.status_document import status_document
from event_processor.operations.window_rows import newest_rows

__all__ = ["report_document"]

LETTERS_MAX = 100
GROUPS_MAX = 100
ROWS_MAX = 300
POINTS = 300
RECORD_KEYS = frozenset({"record", "record_base64", "object"})


def report_document(configuration: Configuration, environment: Environment, *, with_records: bool = True) -> dict[str, object]:
    """`{"made_at", "answers"}`; of categories the 1,000 largest, of dead letters the newest 100, and so of the failed records of each remote sink.

    Without `with_records`, dead letters have their place and reason only. Raises `StateError`, `StorageError`.
    """
    checkpoint = peek(configuration, environment)
    status = status_of(checkpoint, configuration, environment)
    answers: dict[str, object] = {
        "/v1/state": status_document(status, status.shortfalls(StatusLimits())),
        "/v1/pipeline": pipeline_document(configuration),
    }
    answers |= _past(status, configuration, environment)
    if checkpoint is not None:
        answers |= _committed(checkpoint, status, configuration, environment)
        rejected = dead_letter_page(DeadLetterCount(configuration, environment).lines(checkpoint), offset=0, limit=LETTERS_MAX)
        answers["/v1/dead-letters"] = _shown(rejected, with_records=with_records)
        failed = FailedIndex(environment)
        for name in known_sinks(configuration, checkpoint):
            page = failed_page(failed.lines(configuration, checkpoint, name), offset=0, limit=LETTERS_MAX)
            if page.count:
                answers[f"/v1/dead-letters?sink={name}"] = _shown(page, with_records=with_records)
    made_at = utc_text(environment.clock.wall_ns())
    return {"made_at": made_at, "answers": {path: msgspec.to_builtins(answer) for path, answer in answers.items()}}


def _past(status: Status, configuration: Configuration, environment: Environment) -> dict[str, object]:
    """The last hour, and what limited the pipeline in the last minute."""
    past = read_past(configuration, environment, ring_for(HOUR_S))
    now_s = environment.clock.wall_ns() // 10**9
    hour = history_of(past, now_s=now_s, span_s=HOUR_S, points=POINTS)
    found = bottleneck_of(past, status.lanes.lanes, now_s=now_s, outbox_is_full=status.lanes.is_full)
    return {
        "/v1/history": {"from": hour.begin_s, "step_s": hour.step_s, "columns": hour.columns},
        "/v1/bottleneck": {"span_s": SPAN_S, **msgspec.to_builtins(found)},
    }


def _committed(
    checkpoint: Checkpoint, status: Status, configuration: Configuration, environment: Environment
) -> dict[str, object]:
    inspection = inspection_of(checkpoint, configuration)
    largest = Wanted(sort="count", order="desc", limit=LIMIT_MAX)
    answers: dict[str, object] = {
        "/v1/categories": categories_document(inspection, largest),
        "/v1/aggregates": {"aggregates": list(aggregates_document(inspection))},
        "/v1/sources": sources_document(inspection, status.committed, {}) if status.committed else {"sources": {}},
    }
    for name in inspection.aggregates:
        answers[f"/v1/aggregates/{name}"] = aggregate_document(inspection, name, Wanted(limit=GROUPS_MAX))
        rows = newest_rows(configuration, environment, checkpoint, name, ROWS_MAX)
        if rows is not None:
            answers[f"/v1/aggregates/{name}/rows"] = rows
    return answers


def _shown(page: DeadLetterPage, *, with_records: bool) -> dict[str, object]:
    # The object of a failed record is in `record` too, as text.
    letters = [
        {
            key: value
            for key, value in letter.items()
            if (with_records or key not in RECORD_KEYS) and not isinstance(value, msgspec.Raw)
        }
        for letter in page.dead_letters
    ]
    return {"count": page.count, "dead_letters": letters, "next_offset": page.next_offset}
