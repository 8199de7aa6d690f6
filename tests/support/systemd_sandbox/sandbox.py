"""A real systemd to try units on, with this package installed in it as the install guide says.

Owns: the life of one sandbox, from `boot.sh` to the last process in it, and how commands get in.
Always: nothing outside changes, and nothing outlives the sandbox: killed with its owner, it dies too.
Never: a wait without a bound. Waits run inside the sandbox, as a loop over a condition.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support.processes import wait_until

__all__ = ["Answer", "SandboxUnavailableError", "SystemdSandbox", "why_unavailable"]

SYSTEMD: Final = "/lib/systemd/systemd"
TOOLS: Final = ("bash", "nsenter", "pivot_root", "setpriv", "systemctl", "unshare")
INSTALL_DIRECTORY: Final = "/opt/event-processor"
INTERPRETER_DIRECTORY: Final = "/opt/python"
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SCRIPT: Final = Path(__file__).with_name("boot.sh")
COMMAND_TIMEOUT_S: Final = 60
BOOT_TIMEOUT_S: Final = 30
ENTRY_POINT: Final = f"""#!{INSTALL_DIRECTORY}/bin/python
import sys
from event_processor.cli import main
sys.exit(main())
"""
WAIT_LOOP: Final = """
deadline=$((SECONDS + {within_s}))
until ( {condition} ) >/dev/null 2>&1; do
  if ((SECONDS >= deadline)); then exit 99; fi
  sleep 0.05
done
"""


class SandboxUnavailableError(Exception):
    """This machine cannot boot one; the message says why."""


def why_unavailable() -> str:
    """What this machine lacks, or "" where a sandbox can be booted."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and mounts"
    if not Path(SYSTEMD).exists():
        return f"systemd is not installed ({SYSTEMD})"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if _control_group_root() is None:
        return "no cgroup v2 hierarchy is mounted below /sys/fs/cgroup"
    return ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command inside said."""

    exit_code: int
    output: str
    errors: str


class SystemdSandbox:
    """A booted systemd. `source` is the folder that holds the package, `packages` the one that holds what it depends on."""

    def __init__(self, *, source: Path, packages: Path, install_script: str) -> None:
        """Boots, puts the program in its place, then runs `install_script` for the rest. Raises `SandboxUnavailableError` where the machine does not let us."""
        root = _control_group_root()
        if root is None:
            raise SandboxUnavailableError(why_unavailable())
        self._work: Final = Path(tempfile.mkdtemp(prefix="systemd-sandbox-"))
        self._group: Final = root / self._work.name
        self._process: subprocess.Popen[bytes] | None = None
        self._init_pid = 0
        try:
            self._group.mkdir()
            self._boot(source, packages)
            self._install_program()
            self.run(f"set -e\n{install_script}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def attempt(self, script: str, *, content: str = "") -> Answer:
        """Runs a bash script inside as root, `content` on its stdin; whatever its exit code."""
        process = subprocess.run(
            ["nsenter", "-t", str(self._init_pid), "-m", "-p", "-u", "-i", "-C", *_clean_shell(script)],
            input=content,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        return Answer(process.returncode, process.stdout, process.stderr)

    def run(self, script: str, *, content: str = "") -> str:
        """Like `attempt`, but an exit code other than 0 fails the test. What it printed, without the last line feed."""
        answer = self.attempt(script, content=content)
        if answer.exit_code != 0:
            raise AssertionError(f"{script}\nended with {answer.exit_code}: {answer.output}{answer.errors}")
        return answer.output.rstrip("\n")

    def write(self, path: str, content: str, *, mode: str = "0644", owner: str = "root:root") -> None:
        """Puts a file inside, with the folders it needs."""
        user, group = owner.split(":")
        self.run(f"install -D -m {mode} -o {user} -g {group} /dev/stdin {path}", content=content)

    def wait_until(self, condition: str, *, within_s: int, explain: str = "true") -> None:
        """Returns once the bash `condition` is true inside; past `within_s` fails with what `explain` prints."""
        if self.attempt(WAIT_LOOP.format(condition=condition, within_s=within_s)).exit_code != 0:
            raise AssertionError(f"not true within {within_s} s: {condition}\n{self.attempt(explain).output}")

    def close(self) -> None:
        """Kills everything inside and takes its folders away."""
        if self._process is not None:
            # The kernel ends every process of a namespace with its init, and only then lets anybody wait for that one.
            os.kill(self._init_pid or self._process.pid, signal.SIGKILL)
            self._process.communicate(timeout=COMMAND_TIMEOUT_S)
        for folder in (*_folders_within(self._group), self._work):
            folder.rmdir()

    def _boot(self, source: Path, packages: Path) -> None:
        binds = [
            *(sys.base_prefix, INTERPRETER_DIRECTORY),
            *(str(source), f"{INSTALL_DIRECTORY}/source"),
            *(str(packages), f"{INSTALL_DIRECTORY}/packages"),
        ]
        self._process = subprocess.Popen(
            ["bash", str(BOOT_SCRIPT), str(self._work), str(self._group), *binds],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait_until(self._has_init, f"{BOOT_SCRIPT.name} starts systemd")
        self.wait_until("systemctl is-system-running | grep -qE 'running|degraded'", within_s=BOOT_TIMEOUT_S)

    def _has_init(self) -> bool:
        """Whether systemd runs. Raises `SandboxUnavailableError` if the script ended without it."""
        assert self._process is not None, "it was started"
        if self._process.poll() is not None:
            _, errors = self._process.communicate()
            self._process = None
            raise SandboxUnavailableError(f"{BOOT_SCRIPT.name}: {errors.decode().strip()}")
        self._init_pid = _systemd_started_by(self._process.pid)
        return bool(self._init_pid)

    def _install_program(self) -> None:
        """A virtual environment where the guide has one, which borrows the packages of the one that runs the tests."""
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = f"{INSTALL_DIRECTORY}/lib/{python}/site-packages"
        self.write(f"{INSTALL_DIRECTORY}/pyvenv.cfg", f"home = {INTERPRETER_DIRECTORY}/bin\n")
        self.write(f"{site}/sandbox.pth", f"{INSTALL_DIRECTORY}/source\n{INSTALL_DIRECTORY}/packages\n")
        self.write(f"{INSTALL_DIRECTORY}/bin/event-processor", ENTRY_POINT, mode="0755")
        self.run(
            f"""ln -s {INTERPRETER_DIRECTORY}/bin/{python} {INSTALL_DIRECTORY}/bin/python
            # An interpreter that was built for another folder looks for its library there, then the loader looks in these. A library of
            # the same name, of another build, must not be found first.
            for library in {INTERPRETER_DIRECTORY}/lib/libpython*.so*; do
              for folder in /usr/lib /usr/lib/*-linux-gnu; do
                if [[ -e $library && -d $folder ]]; then ln -sf "$library" "$folder/"; fi
              done
            done"""
        )


def _systemd_started_by(process_id: int) -> int:
    """The child that has become systemd, or 0 while there is none."""
    for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii").split():
        if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "systemd":
            return int(child)
    return 0


def _folders_within(top: Path) -> list[Path]:
    """`top` and every folder in it, the innermost first; none where there is no `top`."""
    return [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]


def _clean_shell(script: str) -> list[str]:
    return ["env", "-i", f"PATH={SEARCH_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "bash", "-c", script]


def _control_group_root() -> Path | None:
    """The top of the cgroup v2 hierarchy, whether it is the only one or stands beside version 1."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount_point, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(mount_point)
    return None
