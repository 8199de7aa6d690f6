"""A run that is forked from a warm Python is what a new Python makes of the same arguments, also if a command asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Daemon, wait_until
from support.warm_command import make_commands
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


def test_an_environment_that_hides_a_module_or_counts_at_a_start_needs_a_new_one(python: WarmPython, tmp_path: Path) -> None:
    assert python.can_have({**ENVIRONMENT, "TWO": "2"})
    assert not python.can_have({**ENVIRONMENT, "EVENT_PROCESSOR_NATIVE": "off"})
    for name, can in {"one_of_ours.py": True, "uvicorn": False, "ours-1.0.dist-info": False}.items():
        folder = tmp_path / f"with-{name}"
        (folder / name).mkdir(parents=True)
        assert python.can_have({**ENVIRONMENT, "PYTHONPATH": f"{folder}:{ENVIRONMENT.get('PYTHONPATH', '')}"}) == can, name


SAYS_ALL = """#!{python}
import os, sys
import one_of_ours
print(sys.argv, sys.path[0], os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), flush=True)
print("an error", file=sys.stderr)
sys.exit(3)
"""


def test_a_command_for_shells_says_and_gives_the_same(python: WarmPython, tmp_path: Path) -> None:
    program, commands, ours = tmp_path / "program", tmp_path / "commands", tmp_path / "ours"
    program.write_text(SAYS_ALL.format(python=sys.executable))
    program.chmod(0o755)
    for folder in (commands, ours):
        folder.mkdir()
    (ours / "one_of_ours.py").write_text("")
    make_commands(str(commands), python.address, str(program))
    environment = {**ENVIRONMENT, "GIVEN": "here", "PYTHONPATH": str(ours)}
    said = [
        subprocess.run(
            [str(each), "one", "--two"], input="in", capture_output=True, text=True, cwd=ours, env=environment, check=False
        )
        for each in (program, commands / "program")
    ]
    cold, warm = ((each.returncode, each.stdout, each.stderr) for each in said)
    assert cold == warm == (3, f"{[str(program), 'one', '--two']} {tmp_path} {ours} here in\n", "an error\n")


def test_a_command_sends_a_signal_on_and_ends_by_the_signal_of_its_run(python: WarmPython, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'asked to end\\n'), os.kill(os.getpid(), signal.SIGKILL)))\n"
        "os.write(1, b'ready\\n')\nwhile True:\n    signal.pause()\n"
    )
    (tmp_path / "commands").mkdir()
    make_commands(str(tmp_path / "commands"), python.address, str(program))
    with subprocess.Popen([tmp_path / "commands" / "program"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "asked to end\n"
    assert process.returncode == -signal.SIGKILL
