"""The compiled library: which is used, and that one that does not fit is not."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from event_processor.kernels.arrays import address
from event_processor.kernels.library import LIBRARY, SWITCH, absence, load_library

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "event_processor" / "kernels" / "c"
COMPILER = shutil.which("cc")


def test_the_kernels_are_compiled_where_nothing_may_be_skipped() -> None:
    if LIBRARY is None and (not os.environ.get("CI") or os.environ.get(SWITCH) == "off"):
        pytest.skip("no C compiler was there when the package was installed")
    assert LIBRARY is not None


def test_switched_off_there_is_none() -> None:
    assert load_library("off") is None
    assert absence("off") == f"switched off by {SWITCH}"


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF"])
def test_a_file_that_is_no_library_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kernels.so"
    path.write_bytes(content)
    assert load_library(str(path)) is None
    assert load_library(str(tmp_path / "gone.so")) is None
    assert absence(str(tmp_path / "gone.so")) == "not compiled"


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("source", ["long ep_form(void) { return -1; }", "long something_else(void) { return 1; }"])
def test_a_library_of_another_form_is_not_used(source: str, tmp_path: Path) -> None:
    (tmp_path / "other.c").write_text(source)
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", tmp_path / "other.so", tmp_path / "other.c"], check=True)
    assert load_library(str(tmp_path / "other.so")) is None
    assert absence(str(tmp_path / "other.so")).startswith("compiled from other sources")


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_the_sources_compile_without_a_warning(tmp_path: Path) -> None:
    assert COMPILER is not None
    command = [COMPILER, "-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror", "-c"]
    for source in sorted(SOURCES.glob("*.c")):
        done = subprocess.run([*command, source, "-o", tmp_path / "x.o"], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_kernels_passed_the_sanitizers_as_they_are() -> None:
    """To compile them so and to run their tests takes minutes: that is done when the code has changed."""
    tool = runpy.run_path(str(ROOT / "tools" / "sanitize.py"))
    assert tool["RECORD"].read_text(encoding="utf-8").strip() == tool["code_hash"](), (
        "the C code has changed: run 'make sanitize'"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("int a; // x\n  /* y\n z */\n\nint b;\n", "int a;\nint b;", True),
        ("a = b;", "a  =\tb; /* c */", True),
        ("a ++b", "a + +b", False),
        ("int a;", "inta;", False),
        ('"a  b"', '"a b"', False),
        ('"/* a */"', '""', False),
        ("'\"' /* a */", "'\"'", True),
        ("#define A\nb", "#define A b", False),
        ("// a \\\n b\nc", "c", True),
    ],
)
def test_a_comment_and_white_space_are_no_code_but_all_else_is(one: str, other: str, *, same: bool) -> None:
    code_of = runpy.run_path(str(ROOT / "tools" / "sanitize.py"))["code_of"]
    assert (code_of(one) == code_of(other)) == same


def test_a_column_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(AssertionError):
        address(np.zeros((4, 2))[:, 0])
