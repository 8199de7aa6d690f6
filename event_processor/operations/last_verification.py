"""What the last `verify` found, kept beside the state: `state/verification.json`.

Owns: its form, its writing, and which result still says something about the present state.
Always: replaced as a whole, durably. Read without a lock. A file that is missing or cannot be read counts as none: it is for people, and nothing
is decided by it.
Never: verifies (`verification.py` does); changes a state.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, Literal, TypeAlias

import msgspec
import orjson
from msgspec import Struct

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.clock import utc_text
from event_processor.model.errors import ExitCode, StorageError
from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import read_file, replace_file

__all__ = ["VERIFICATION_NAME", "LastVerification", "Verdict", "keep_verification", "last_verification"]

VERIFICATION_NAME: Final = "verification.json"
WORDS_MAX: Final = 400
Verdict: TypeAlias = Literal["ok", "differs", "cannot tell"]
EXIT_CODES: Final[dict[Verdict, ExitCode]] = {
    "ok": ExitCode.OK,
    "differs": ExitCode.STATE,
    "cannot tell": ExitCode.INPUT_GONE,
}


class LastVerification(Struct, frozen=True):
    """The result of one `verify`.

    `at`: when it ended, RFC 3339 in UTC. `state_id`, `written_at`, `records`: of the checkpoint that was compared. `exit_code`: that of the
    command. `words`: the first difference, or why it cannot tell; empty if everything is equal.
    """

    at: str
    state_id: str
    written_at: str | None
    records: int
    verdict: Verdict
    exit_code: int
    words: str = ""
    version: Literal[1] = 1

    @property
    def is_wrong(self) -> bool:
        """Whether the state differs from the log."""
        return self.verdict == "differs"


_DECODER: Final = msgspec.json.Decoder(LastVerification)


def last_verification(fs: FileSystem, directory: str, checkpoint: Checkpoint | None) -> LastVerification | None:
    """The last result that is about this state; None if there is none.

    A result is about another state if the id differs, or if it covers more records than are committed: an older checkpoint was restored then.
    """
    if checkpoint is None:
        return None
    with suppress(StorageError, OSError, msgspec.DecodeError):
        content = read_file(fs, os.path.join(directory, VERIFICATION_NAME))
        found = None if content is None else _DECODER.decode(content)
        if found and found.state_id == checkpoint.state.state_id and found.records <= checkpoint.state.counts.records:
            return found
    return None


def keep_verification(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint, verdict: Verdict, words: str
) -> str:
    """Keeps a result durably. Returns why it could not be kept; empty if it is kept.

    Takes no lock, so it works beside a daemon; of two that end at the same time, the later one stays. The result of the command does not
    depend on this: a reader of the state may not have the right to write there.
    """
    path = os.path.join(str(configuration.state.dir), VERIFICATION_NAME)
    written_at = checkpoint.meta.get("written_at")
    result = LastVerification(
        at=utc_text(environment.clock.wall_ns()),
        state_id=checkpoint.state.state_id,
        written_at=written_at if isinstance(written_at, str) else None,
        records=checkpoint.state.counts.records,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        words=words[:WORDS_MAX],
    )
    content = orjson.dumps(msgspec.to_builtins(result), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        # If we die here, the result before this one is still there.
        replace_file(environment.fs, path, [content], environment.new_token())
    except StorageError as error:
        return error.message  # its hint is for a commit that failed, and no commit did
    return ""
