"""The world outside as a command has it: the real disk and clock, memory, and the log on stderr as the configuration says."""

from __future__ import annotations

import os
import sys
from typing import Final

from event_processor.assembly import Environment
from event_processor.clock import SystemClock
from event_processor.config import Configuration
from event_processor.memory import keep_freed_memory
from event_processor.telemetry.log import LogTelemetry, chosen_format

__all__ = ["real_environment"]

SWITCH_INTERVAL_S: Final = 0.0005


def real_environment(configuration: Configuration) -> Environment:
    """The environment of this process, which is from now on one that runs a pipeline."""
    keep_freed_memory()
    # Notices of a busy log keep a thread busy; by default the loop would wait 5 ms for it behind every system call.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    line_format = chosen_format(configuration.log.format, sys.stderr, os.environ)
    telemetry = LogTelemetry(sys.stderr, clock=clock, level=configuration.log.level, line_format=line_format)
    return Environment(clock=clock, telemetry=telemetry)
