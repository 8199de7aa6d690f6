"""Whether the files of a source can be read, and those of a sink written.

Owns: `source_findings`, `sink_finding`.
Always: opens a file only to see whether it may, and reads nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from event_processor.connectors.files.paths import PathPattern, look_at
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.file_system import FileSystem
from event_processor.model.messages import readable_path
from event_processor.model.probes import Finding
from event_processor.storage.probes import unreadable, unwritable

__all__ = ["sink_finding", "source_findings"]

LISTED_MAX = 20
"""Of a glob, at most this many files with a problem are named."""


def source_findings(key: str, options: FileSourceOptions, fs: FileSystem) -> Iterator[Finding]:
    """The files that match `path` now. Raises `StorageError`."""
    paths = PathPattern(options.path).expand(fs) if options.is_glob else [str(options.path)]
    problems = [(path, problem) for path in paths if (problem := _problem(fs, path))]
    for path, problem in problems[:LISTED_MAX]:
        state, remedy = (
            ("unreachable", f"start its writer, or correct {key}.path")
            if problem == "no such file"
            else ("wrong", "let the user of this process read it, or put a file in its place")
        )
        yield Finding(key, state, f"{readable_path(path)}: {problem}", remedy)  # type: ignore[arg-type]  # one of the two
    if not paths:
        yield Finding(key, "ok", f"{readable_path(options.path)} matches no file yet")
    elif not problems:
        yield Finding(
            key, "ok", f"{readable_path(paths[0])} can be read" if len(paths) == 1 else f"{len(paths):,} files can be read"
        )


def _problem(fs: FileSystem, path: str) -> str:
    found = look_at(fs, path)
    if found.status is None:
        return found.obstacle or "no such file"
    return unreadable(path)


def sink_finding(key: str, path: str) -> Finding:
    """The folder of a sink's files, and the file itself if it exists."""
    problem = unwritable(os.path.dirname(path) or ".")
    if os.path.exists(path) and not os.path.isfile(path):
        return Finding(key, "wrong", f"{readable_path(path)} is not a regular file", f"move it away, or correct {key}.path")
    if not problem and os.path.exists(path) and not os.access(path, os.W_OK):
        problem = f"{path} is not writable for this user"
    if problem:
        return Finding(key, "wrong", problem, f"make it writable for this user, or correct {key}.path")
    return Finding(key, "ok", f"{readable_path(path)} can be written")
