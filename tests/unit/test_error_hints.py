"""What a person should do about a failed call, by its number; and an error with its hint on one line."""

import errno
import os

import pytest

from event_processor.model.errors import StorageError
from event_processor.model.messages import in_one_line


@pytest.mark.parametrize(
    ("number", "first_words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "make it writable"),
        (errno.EMFILE, "raise the limit of open files"),
        (errno.ENOENT, "make its folder, or name another path"),
        (errno.ENOTDIR, "make its folder, or name another path"),
        (errno.EISDIR, "move away what is in the place of the file, or name another path"),
        (errno.ELOOP, "move away what is in the place of the file, or name another path"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_failed_call_says_what_to_do(number: int, first_words: str) -> None:
    error = StorageError.from_os("open", "/state/x", OSError(number, os.strerror(number)))
    assert error.hint.startswith(f"{first_words}"), error.hint
    assert error.hint.endswith("nothing was counted that is not durable; the next start resumes from the last checkpoint")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.toml:3: not TOML\n  fix this", "a.toml:3: not TOML; fix this"),
        ("2 faults:\n  one\n  two;\n  fix these", "2 faults: one; two; fix these"),
        ("\n one  line \n\n", "one line"),
        ("", ""),
    ],
)
def test_a_message_with_its_hint_becomes_one_line(text: str, line: str) -> None:
    assert in_one_line(text) == line
