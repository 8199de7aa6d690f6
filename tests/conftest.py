"""What all tests stand on: how hard they try (HYPOTHESIS_PROFILE=thorough: more examples, every byte and every crash point), and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.http_service import HttpService
from support.left_open import close_what_is_open

# Programs that they start write as in a user's shell. Without buffers, nothing would be left to fail at a program's end.
os.environ.pop("PYTHONUNBUFFERED", None)

# No test asserts a duration, so none is too slow on a machine that has other things to do.
settings.register_profile("usual", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("usual"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "usual")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Closes what the test registered."""
    try:
        yield
    finally:
        close_what_is_open()


@pytest.fixture
def service() -> Iterator[HttpService]:
    """A real HTTP service that answers 200; a test may give it other answers."""
    with HttpService() as service:
        yield service
