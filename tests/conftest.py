"""What all tests stand on: how hard they try (HYPOTHESIS_PROFILE=thorough: more examples, every byte and every crash point), and the environment."""

from __future__ import annotations

import os

from hypothesis import settings

# Programs that they start write as in a user's shell. Without buffers, nothing would be left to fail at a program's end.
os.environ.pop("PYTHONUNBUFFERED", None)

settings.register_profile("thorough", max_examples=2000, deadline=None)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)
