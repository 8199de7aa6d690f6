"""The program that appends to a log while the pipeline reads it: `log_writer.py CONTENT LOG`.

Each line on its standard input is a number: so many further bytes of CONTENT are appended to LOG, in one write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Appends as it is told, until its standard input ends."""
    content = Path(sys.argv[1]).read_bytes()
    log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    written = 0
    for line in sys.stdin:
        taken = content[written : written + int(line)]
        assert os.write(log, taken) == len(taken)
        written += len(taken)


if __name__ == "__main__":
    main()
