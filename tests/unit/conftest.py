"""No module of these tests leaves a thread or many descriptors: one process runs hundreds of modules, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.left_open import LeftOpen

before_modules: dict[str, LeftOpen] = {}
"""What was open before the first test of a module in this process, by its file."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Notes what is open before the first test of a module."""
    if file_of(item) not in before_modules:
        before_modules[file_of(item)] = LeftOpen()
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After the last test of a module in this process, and after everything that was registered is closed."""
    yield
    if nextitem is None or file_of(nextitem) != file_of(item):
        before_modules.pop(file_of(item)).require_nothing(file_of(item))


def file_of(item: pytest.Item) -> str:
    """The file of a test."""
    return item.nodeid.partition("::")[0]
