"""How much of a bucket is unread, asked by a command beside the daemon, and whether it can be read at all.

Owns: the size of the objects that are not read; what `doctor` finds.
Always: takes some seconds at most.
Never: fails because the service does not answer: then the lag is unknown, with words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final, Literal

from event_processor.connectors.s3.client import LISTED_MAX, Bucket, Listed, RequestError
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.positions import ObjectPosition
from event_processor.connectors.s3.requests import Trouble
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.connectors.s3.source import known_objects
from event_processor.model.connector import Lag, SourceContext
from event_processor.model.probes import Finding, ProbeContext

__all__ = ["bucket_finding", "lag_of", "sink_finding"]

PAGES_MAX: Final = 20
"""So many answers are looked at. A larger bucket is only known in part."""
TIMEOUT_S: Final = 10.0


def lag_of(options: S3SourceOptions, context: SourceContext, positions: Sequence[ObjectPosition]) -> Lag:
    """How much is unread, as stored. Raises `ConfigurationError`, `StateError`, `StorageError`."""
    known = known_objects(options, context, positions)
    unread = sum(max(0, each.size_bytes - each.offset) for each in positions)
    pages = 0
    try:
        with closing(Bucket(_quick(options), context.world.fs)) as bucket:
            for page in _pages(bucket, options):
                unread += sum(page[index].size_bytes for index in known.unknown([(each.key, each.etag) for each in page]))
                pages += 1
    except RequestError as error:
        return Lag(unknown=Trouble(options, error, f"sources.{context.name}").words)
    if pages == PAGES_MAX:
        return Lag(unread, unknown=f"only the first {PAGES_MAX * LISTED_MAX:,} keys were looked at")
    return Lag(unread)


def bucket_finding(options: S3SourceOptions, context: ProbeContext) -> Finding:
    """Whether the bucket can be listed, and the first object that matches can be read. Raises `ConfigurationError`."""
    try:
        with closing(Bucket(_quick(options), context.world.fs, context.environment)) as bucket:
            for page in _pages(bucket, options):
                if page:
                    first = page[0]
                    if first.size_bytes:
                        bucket.answer(bucket.ask(first.key, first.etag, 0, 1))
                    return Finding(context.key, "ok", f"{options.path_of(first.key)} can be read")
    except RequestError as error:
        trouble = Trouble(options, error, context.key)
        return Finding(context.key, "wrong" if trouble.is_refused else "unreachable", trouble.words, trouble.remedy)
    return Finding(context.key, "ok", f"{options.url} can be listed, and matches no object yet")


def sink_finding(options: S3SinkOptions, context: ProbeContext) -> Finding:
    """Whether the bucket of a sink can be listed. Writes nothing. Raises `ConfigurationError`."""
    try:
        quick = options.model_copy(update={"timeout_s": min(options.timeout_s, TIMEOUT_S)})
        with closing(Bucket(quick, context.world.fs, context.environment)) as bucket:
            bucket.page(options.prefix.rstrip("/"), "")
    except RequestError as error:
        state: Literal["wrong", "unreachable"] = "wrong" if error.is_refused else "unreachable"
        words = f"{options.endpoint or 'S3'}: {error.words}"
        return Finding(
            context.key, state, words, error.remedy(context.key, "list the bucket, and to read and to write its objects")
        )
    return Finding(context.key, "ok", f"{options.url} can be listed; whether it can be written is known at the first object")


def _quick(options: S3SourceOptions) -> S3SourceOptions:
    return options.model_copy(update={"timeout_s": min(options.timeout_s, TIMEOUT_S)})


def _pages(bucket: Bucket, options: S3SourceOptions) -> Iterator[list[Listed]]:
    """Yields the objects that match, in pages, at most `PAGES_MAX`. Raises `RequestError`."""
    if not options.is_glob:
        found = bucket.head(options.key_of(options.url))
        yield [found] if found else []
        return
    pattern, after = options.key_pattern(), ""
    for _ in range(PAGES_MAX):
        page = bucket.page(options.folder, after)
        yield [each for each in page if pattern.fullmatch(each.key)]
        if len(page) < LISTED_MAX:
            return
        after = page[-1].key
