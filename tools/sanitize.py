"""Runs the kernels' tests on a library that stops at the first undefined behaviour, then writes down the code for which they passed.

Owns: `tests/sanitized.txt`, the hash of the C code without its comments and white space.
Never: a hash is written after a run that failed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "event_processor" / "kernels" / "c"
RECORD = ROOT / "tests" / "sanitized.txt"
TESTS = (
    "walked_lines",
    "decoder_differential",
    "lines_of_one_form",
    "fingerprint_kernels",
    "segment_kernels",
    "shown_totals",
    "letters",
    "merge_kernel",
    "total_kernels",
    "outbox_kernels",
    "log_line_kernels",
)
# Without vector instructions: other tests use them, and this is the code of other machines.
FLAGS = ("-std=c11", "-O1", "-g", "-fPIC", "-shared", "-ffp-contract=off", "-DEP_PORTABLE", "-fno-omit-frame-pointer")
CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TOKENS = re.compile(
    r"""(?P<comment>/\*.*?\*/|//(?:\\\n|[^\n])*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<space>\s+)|(?P<other>.)""",
    re.DOTALL,
)


def code_of(text: str) -> str:
    """`text` without comments. Between tokens a line's end stays one, since directives need it; other white space is one blank."""
    bare = TOKENS.sub(lambda token: " " if token["comment"] else token[0], text)
    found = TOKENS.sub(lambda token: token[0] if not token["space"] else "\n" if "\n" in token[0] else " ", bare)
    return found.strip()


def code_hash() -> str:
    """The hash of the code of all sources, with their names."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(f"{path.name}\n{code_of(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def compiled(compiler: str, library: Path) -> None:
    """Compiles the kernels with their checks into `library`."""
    sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run([compiler, *FLAGS, *CHECKS, *sources, "-o", str(library)], check=True)


def main(compiler: str = "cc") -> int:
    """The exit code of the tests; 1 if the code changed while they ran."""
    before = code_hash()
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "kernels.so")
        compiled(compiler, library)
        named = subprocess.run([compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        environment = {
            **os.environ,
            "EVENT_PROCESSOR_NATIVE": str(library),
            "LD_PRELOAD": named.stdout.strip(),
            # Python frees little at its end; and each object by itself, so that what is read behind one is seen.
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
            "PYTHONMALLOC": "malloc",
            "CI": "true",
        }
        tests = [f"tests/property/test_{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-x", "-n", "2", "--dist", "worksteal", *tests]
        exit_code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if exit_code:
        return exit_code
    if code_hash() != before:
        print("the C code changed meanwhile: run this again")
        return 1
    RECORD.write_text(f"{before}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
