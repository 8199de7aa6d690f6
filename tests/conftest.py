"""How hard the tests try: HYPOTHESIS_PROFILE=thorough for more examples, every byte and every crash point."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("thorough", max_examples=2000, deadline=None)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)
