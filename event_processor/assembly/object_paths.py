"""Inputs and outputs of one-shot runs that are objects (`s3://bucket/key`).

Owns: which client reaches the service of an object, and the file system that has objects.
Always: who we are comes from the configured source or sink of the same bucket, or from the only one; otherwise from the usual chain.
Never: connects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from event_processor.configuration.configuration import Configuration
from event_processor.connectors.s3.object_files import ObjectFiles, ObjectServices, is_object
from event_processor.connectors.s3.options import S3ClientOptions, S3SourceOptions
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.storage.durable import FileSystem, OperatingSystem

__all__ = ["is_object", "objects_of", "over", "put_object"]


@contextmanager
def objects_of(configuration: Configuration, paths: Iterable[str | None]) -> Iterator[Callable[[FileSystem], FileSystem]]:
    """Yields what adds objects to a file system; it is left as it is if none of the paths is one. At the end, the clients are closed."""
    if not any(path and is_object(path) for path in paths):
        yield lambda fs: fs
        return
    options = [*configuration.sources.values(), *configuration.sinks.values()]
    found = [each for each in options if isinstance(each, S3SourceOptions | S3SinkOptions)]

    def client_of(bucket: str) -> S3ClientOptions:
        same = [each for each in found if each.bucket == bucket]
        if same or len(found) == 1:
            return (same or found)[0]
        return S3ClientOptions()

    with closing(ObjectServices(client_of, OperatingSystem())) as services:
        yield lambda fs: ObjectFiles(fs, services)


def over(fs: FileSystem, other: FileSystem) -> FileSystem:
    """`other`, with the objects of `fs` if it has some."""
    return fs.over(other) if isinstance(fs, ObjectFiles) else other


def put_object(fs: FileSystem, path: str, parts: Iterable[bytes]) -> None:
    """Makes or replaces an object, whole or not at all. Raises `NotAnsweredError`, `ConfigurationError`."""
    assert isinstance(fs, ObjectFiles), "the path of an object was among the paths"
    fs.put(path, parts)
