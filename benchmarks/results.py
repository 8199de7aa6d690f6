"""The results of a measurement, as JSON files: one a part, each with the machine it was made on.

Owns: where they lie and what stands around them. Never: a path, a host name or anything else that says whose machine it was.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

__all__ = ["RESULTS", "Json", "load_results", "machine", "save_results"]

Json: TypeAlias = dict[str, Any]
RESULTS: Final = Path(__file__).with_name("results")
PACKAGES: Final = ("msgspec", "numpy", "orjson", "xxhash")


def machine(folder: Path) -> Json:
    """What the figures depend on; `folder` is where the logs and states lay."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "file_system": _file_system(folder),
        "linux": ".".join(platform.release().split(".")[:2]),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in PACKAGES},
    }


def _file_system(folder: Path) -> str:
    """The type of the file system that the folder is in."""
    best = ("", "")
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def save_results(part: str, results: Mapping[str, object], made_on: Json, directory: Path = RESULTS) -> Path:
    """Writes one part's results in the place of its last ones."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{part}.json"
    day = datetime.now(tz=UTC).date().isoformat()
    text = json.dumps({"part": part, "day": day, "machine": made_on, "results": results}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def load_results(directory: Path = RESULTS) -> dict[str, Json]:
    """What was measured last, by part."""
    found = {}
    for path in sorted(directory.glob("*.json")):
        document: Json = json.loads(path.read_text(encoding="utf-8"))
        found[str(document["part"])] = document
    return found
