"""Makes wheels in `dist/`: one for this machine, or with `--all` one for each of PLATFORMS, compiled by Zig.

Always: a wheel is built in a folder of its own, so nothing of an earlier build is in it. Each of `--all` has the kernels of its platform.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from zipfile import ZipFile

from setuptools.build_meta import build_wheel

ROOT = Path(__file__).parent.parent
LIBRARY = "event_processor/kernels/_kernels.so"
PLATFORMS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
}
"""A wheel's platform, and what Zig calls it. The number is the oldest libc: glibc 2.17, musl 1.2."""


def make_wheel(folder: Path, platform: str = "") -> Path:
    """The wheel for `platform`, or for this machine, in `folder`."""
    options = []
    if platform:
        os.environ["CC"] = shlex.join((sys.executable, "-m", "ziglang", "cc", "-target", PLATFORMS[platform], "-s"))
        options = ["--plat-name", platform]
    with tempfile.TemporaryDirectory() as build, chdir(ROOT):
        places = ["--quiet", "egg_info", "--egg-base", build, "build", "--build-base", build]
        name = build_wheel(str(folder), {"--global-option": places, "--build-option": options})
    return folder / name


def has_kernels(wheel: Path) -> bool:
    """Whether the library is in it: a build goes on if the compiler fails."""
    with ZipFile(wheel) as archive:
        return LIBRARY in archive.namelist()


def main() -> int:
    """0; 1 if a wheel of `--all` has no kernels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="a wheel for each platform, compiled by Zig")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the folder of the wheels")
    arguments = parser.parse_args()
    for platform in PLATFORMS if arguments.all else [""]:
        wheel = make_wheel(arguments.into.resolve(), platform)
        compiled = has_kernels(wheel)
        print(f"{wheel}: {'with' if compiled else 'WITHOUT'} kernels")
        if platform and not compiled:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
