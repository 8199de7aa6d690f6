"""What a person should know about the files of a source, before anything is read.

Owns: the remarks of `validate`: files beside a log that are not read, and a glob that is the name of a file.
Never: changes anything.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Final

from event_processor.connectors.files.following.rotation import Rotations
from event_processor.connectors.files.paths import PathPattern, look_at
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.storage.durable import FileSystem

__all__ = ["literal_remark", "remarks"]

BESIDE_MAX: Final = 20


def literal_remark(fs: FileSystem, options: FileSourceOptions) -> str:
    """Why the file with exactly the configured name is not read: the name is a glob that does not match it. Empty if all is well."""
    path = str(options.path)
    if not options.is_glob or PathPattern(path).matches(path) or not look_at(fs, path).status:
        return ""
    written = glob.escape(os.path.basename(path))
    return f'path is a glob, which does not match the file of the same name; to read that file, write "{written}"'


def remarks(fs: FileSystem, options: FileSourceOptions) -> Iterator[str]:
    """Yields a sentence for each thing. Raises `StorageError`."""
    if literal := literal_remark(fs, options):
        yield f"{options.path}: {literal}"
    if options.is_glob:
        return
    beside = Rotations(fs, options.path, options).beside()
    for path in beside[:BESIDE_MAX]:
        yield (
            f"{path}: beside the log, but not read: its name is not that of a rotated file; if it is one, name it with the key rotated"
        )
    if len(beside) > BESIDE_MAX:
        yield f"{len(beside) - BESIDE_MAX} more files beside {options.path} are not read"
