"""Completion as each shell does it: installed as the docs say, then typed. The shells are real; zsh has a terminal of its own."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.processes import wait_until

CONFIGURATION = """
[sources.events]
path = "log.jsonl"
[services.api]
base_url = "http://127.0.0.1:1"
[sinks.outbound]
type = "http"
service = "api"
path = "/"
[sinks.written]
path = "out.jsonl"
"""
TYPED = {
    "event-processor process --no-s": ["--no-sinks"],
    "event-processor sinks --config pipeline.toml pause ": ["outbound"],
    "event-processor verify --config pipe": ["pipeline.toml"],
    "event-processor sinks ren": ["rename"],
}
"""What is typed, and all that it may become: an option, the names that the configuration has, a file, a command with a long sentence."""
LIMIT_S = 120.0


def fish(line: str, home: Path, environment: dict[str, str]) -> list[str]:
    said = called("fish", "-c", f"complete -C '{line}'", home=home, environment=environment)
    return [completion.partition("\t")[0] for completion in said.splitlines()]


def bash(line: str, home: Path, environment: dict[str, str]) -> list[str]:
    """What its completion function answers; if that is nothing, bash takes names of files."""
    *words, last = line.split(" ")
    given = " ".join(f"'{word}'" for word in [*words, last])
    script = f"COMP_WORDS=({given}); COMP_CWORD={len(words)}; _event_processor_completion event-processor; "
    script += f'(( ${{#COMPREPLY[@]}} )) || COMPREPLY=($(compgen -f -- "{last}")); printf "%s\\n" "${{COMPREPLY[@]}}"'
    return called("bash", "--rcfile", f"{home}/.bashrc", "-i", "-c", script, home=home, environment=environment).split()


def zsh(line: str, home: Path, environment: dict[str, str]) -> list[str]:
    """The line that it makes of what is typed: a key of the test writes that to a file."""
    shown = home / "line"
    shown.unlink(missing_ok=True)
    with open(home / ".zshrc", encoding="utf-8") as startup:
        keys = f"{startup.read()}\nshown() {{ print -r -- \"$BUFFER\" > {shown}.part; mv {shown}.part {shown} }}\nzle -N shown; bindkey '^G' shown\n"
    (home / "zsh").mkdir(exist_ok=True)
    (home / "zsh" / ".zshrc").write_text(keys, encoding="utf-8")
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-i"],
        cwd=home,
        env={**environment, "ZDOTDIR": str(home / "zsh")},
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    os.close(its_end)
    try:
        os.write(terminal, f"{line}\t\x07".encode())
        wait_until(shown.exists, "zsh completed the line")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return [shown.read_text(encoding="utf-8").split()[-1]]


def called(*command: str, home: Path, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=LIMIT_S
    )
    return ran.stdout


@pytest.mark.parametrize("shell", [bash, fish, zsh], ids=["bash", "fish", "zsh"])
def test_a_shell_completes_commands_options_names_and_files(
    shell: Callable[[str, Path, dict[str, str]], list[str]], tmp_path: Path
) -> None:
    name = shell.__name__
    if shutil.which(name) is None and os.environ.get("CI") != "true":
        pytest.skip(f"{name} is not installed")
    (tmp_path / "pipeline.toml").write_text(CONFIGURATION, encoding="utf-8")
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }
    said = called(name, "-c", "event-processor --install-completion; true", home=tmp_path, environment=environment)
    assert f"{name} completion installed" in said
    assert {line: shell(line, tmp_path, environment) for line in TYPED} == TYPED
