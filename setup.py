"""The part of the build that `pyproject.toml` cannot say: the kernels in C, compiled where there is a compiler.

They need no headers of Python's: they are called through `ctypes`. Where they cannot be compiled, the package works without them.
"""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "event_processor.kernels._kernels",
            sources=sorted(glob("event_processor/kernels/c/*.c")),
            depends=sorted(glob("event_processor/kernels/c/*.h")),
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"],
            optional=True,
        )
    ]
)
