"""The part of the build that `pyproject.toml` cannot say: the kernels in C, compiled if there is a compiler.

Always: the library uses nothing of Python's, `ctypes` calls it. So its file and its wheel carry no ABI of Python's, only a platform.
Never: a build fails because the compiler does. The package works without kernels, only slower.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from glob import glob

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra")


def compiler() -> list[str]:
    """The command in the environment's `CC`, or the first compiler that is there."""
    named = shlex.split(os.environ.get("CC", ""))
    return named or [next(filter(shutil.which, COMPILERS), COMPILERS[0])]


class Kernels(build_ext):
    """Compiles without Python's headers and without the flags that Python itself was compiled with."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext: Extension) -> None:
        library = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(library), exist_ok=True)
        try:
            subprocess.run([*compiler(), *FLAGS, *ext.sources, "-o", library], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(f"the kernels are left out: {error}") from error


class Wheel(bdist_wheel):
    """A wheel for any Python 3 on its platform."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "event_processor.kernels._kernels",
            sources=sorted(glob("event_processor/kernels/c/*.c")),
            depends=sorted(glob("event_processor/kernels/c/*.h")),
            optional=True,
        )
    ],
    cmdclass={"build_ext": Kernels, "bdist_wheel": Wheel},
)
