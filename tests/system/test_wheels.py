"""Wheels: what is built runs in an environment that has never seen the sources, and each file is for the machine that its name says."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from event_processor.kernels.library import SWITCH
from support.documents import ROOT

LIBRARY = "event_processor/kernels/_kernels.so"
NAME = re.compile(r"event_processor-[^-]+-py3-none-(?:linux|manylinux_\d+_\d+|musllinux_\d+_\d+)_(\w+)\.whl")
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
"""`e_machine`, the 16-bit number at byte 18 of an ELF file."""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {SWITCH, "PYTHONPATH"}}


def called(*command: object, folder: Path = ROOT) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel for this machine."""
    folder = tmp_path_factory.mktemp("wheel")
    called(sys.executable, "tools/make_wheels.py", "--into", folder)
    (wheel,) = folder.iterdir()
    return wheel


def test_a_wheel_runs_with_its_kernels_where_only_the_dependencies_are(built: Path, tmp_path: Path) -> None:
    if shutil.which("cc") is None and os.environ.get("CI") != "true":
        pytest.skip("needs a C compiler")
    fresh = tmp_path / "fresh"
    called(sys.executable, "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    called(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", built)
    # A path in a .pth file gives the dependencies; the .pth files there, such as that of an editable install, are not read.
    packages = Path(called(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    place = called(python, "-c", "import event_processor; print(event_processor.__file__)", folder=tmp_path)
    assert Path(place.strip()).is_relative_to(packages)
    program = fresh / "bin" / "event-processor"
    assert json.loads(called(program, "version", "--json", folder=tmp_path))["kernels"] is True
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.jsonl").write_text('{"id": 1, "category": "tea", "value": 0.1}\n' * 2)
    assert called(program, "run", "--once", folder=tmp_path).startswith("2 records: 1 accepted, 1 duplicate")
    assert json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]["categories"]["tea"]["sum"] == 0.1


def test_every_wheel_is_for_any_python_on_the_machine_that_its_name_says(built: Path) -> None:
    for wheel in (built, *(ROOT / "dist").glob("*.whl")):
        named = NAME.fullmatch(wheel.name)
        assert named, wheel
        with ZipFile(wheel) as archive:
            names = archive.namelist()
            (about,) = [name for name in names if name.endswith(".dist-info/WHEEL")]
            assert f"\nTag: {wheel.stem.split('-', 2)[2]}\n" in archive.read(about).decode()
            libraries = [name for name in names if ".so" in name]
            assert libraries in ([LIBRARY], [])
            assert libraries or wheel.name == built.name, f"{wheel}: without kernels"
            for library in libraries:
                content = archive.read(library)
                assert content[:4] == b"\x7fELF"
                (machine,) = struct.unpack_from("<H", content, 18)
                assert machine == ELF_MACHINES.get(named[1], machine)
                assert b"libpython" not in content
