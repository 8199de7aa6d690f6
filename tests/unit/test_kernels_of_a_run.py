"""Which files of `kernels/` a pipeline has before it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import event_processor

PACKAGE: Final = Path(event_processor.__file__).parent
CALLED_WITHIN: Final = re.compile(r"^ +from event_processor\.kernels\.(\w+) import", re.MULTILINE)


def test_a_pipeline_has_every_kernel_before_it_runs() -> None:
    # The package may be replaced while the daemon runs. A kernel's caller of the new version would call the old library, with other arguments.
    late = {name for path in PACKAGE.rglob("*.py") for name in CALLED_WITHIN.findall(path.read_text())}
    assert "dead_letters" in late
    program = "import sys, event_processor.engine.loop; print(*(each for each in sys.modules if '.kernels.' in each))"
    imported = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert late - {each.rpartition(".")[2] for each in imported} == set()
