"""A run that is forked from a warm Python is what a new Python makes of the same arguments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Daemon, wait_until
from support.warm_python import WarmPython

SCRIPT = """
import os, sys
print(__name__, sys.argv, sys.path[0], os.getcwd(), os.getsid(0) == os.getpid(), repr(sys.stdin.read()), flush=True)
print("an error", file=sys.stderr)
sys.exit({code})
"""
ENVIRONMENT = {**os.environ, "ONE": "1"}


@pytest.fixture(scope="module")
def python() -> Iterator[WarmPython]:
    warm = WarmPython(ENVIRONMENT)
    yield warm
    warm.close()


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(code=3))
    return str(path)


def warm(python: WarmPython, arguments: list[str], log: Path) -> tuple[int, str]:
    daemon = Daemon(log, lambda file: python.start(arguments, file))
    finished = daemon.wait()
    return finished.exit_code, finished.stderr


def cold(arguments: list[str], log: Path) -> tuple[int, str]:
    with log.open("w") as file:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, check=False
        )
    return done.returncode, log.read_text()


def test_a_script_sees_and_says_the_same(python: WarmPython, script: str, tmp_path: Path) -> None:
    expected = cold([script, "one", "--two"], tmp_path / "cold")
    assert expected[0] == 3
    assert warm(python, [script, "one", "--two"], tmp_path / "warm") == expected


def test_a_module_says_the_same(python: WarmPython, tmp_path: Path) -> None:
    arguments = ["-m", "event_processor", "version", "--nonsense"]
    expected = cold(arguments, tmp_path / "cold")
    assert expected[0] == 64
    assert warm(python, arguments, tmp_path / "warm") == expected


def test_one_run_knows_nothing_of_another(python: WarmPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(os.environ.pop('ONE'), 'mark' in dir(sys))\nsys.mark = 1\n")
    assert [warm(python, [str(script)], tmp_path / "log") for _ in range(2)] == [(0, "1 False\n")] * 2


def test_a_signal_ends_it_and_is_told(python: WarmPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import threading\nthreading.Event().wait()\n")
    daemon = Daemon(tmp_path / "log", lambda file: python.start([str(script)], file))
    assert daemon.alive
    assert daemon.kill().exit_code == -signal.SIGKILL
    assert not daemon.alive


STARTER = """
import os, sys, threading
from pathlib import Path
from support.warm_python import WarmPython
with open({log!r}, "ab") as log:
    run = WarmPython(dict(os.environ)).start([{script!r}], log)
print(run.pid, flush=True)
threading.Event().wait()
"""


def test_it_dies_with_the_process_that_started_it_however_that_dies(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text("import threading\nprint('running', flush=True)\nthreading.Event().wait()\n")
    starter = STARTER.format(log=str(log), script=str(script))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        run = int(process.stdout.readline())
        wait_until(lambda: log.exists() and log.read_text() == "running\n", "it runs")
        assert is_there(run)
        process.kill()
    wait_until(lambda: not is_there(run), "its end")


def is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "can"), [(["-m", "x"], True), (["/x/y.py", "-S"], True), (["-S", "y.py"], False), (["-c", "pass"], False)]
)
def test_options_of_the_interpreter_need_a_new_one(arguments: list[str], *, can: bool) -> None:
    assert WarmPython.can_start(arguments) == can
