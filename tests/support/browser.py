"""A real browser: Chromium without a window, and what a page did in it.

Owns: how it is started, and `Visit`, which remembers what a page asked for and complained about.
Always: it talks to this machine alone. A machine without it skips; with CI=true it may not.
Never: waits for a time; it waits for what can be seen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["DEADLINE_MS", "PHONE", "Visit", "browser_here", "visited"]

DEADLINE_MS: Final = 60_000
POLL_MS: Final = 20
PHONE: Final = (390, 844)
DESKTOP: Final = (1200, 900)
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SERIOUS: Final = ("serious", "critical")


@dataclass(slots=True)
class Visit:
    """A page that is open, the hosts that it asked, and what it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def wait(self, expression: str, argument: Any = None) -> None:
        """Returns when the JavaScript `expression` is true.

        It is evaluated from outside, again and again: the page's policy forbids evaluation inside, which the browser's own waiting needs.
        """
        deadline = time.monotonic() + DEADLINE_MS / 1000
        while not self.page.evaluate(expression, argument):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not within {DEADLINE_MS / 1000:.0f} s: {expression} {argument or ''}; complaints: {self.complaints}"
                )
            self.page.wait_for_timeout(POLL_MS)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Returns when the element has this text somewhere."""
        self.wait("([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", [selector, text])

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def updates(self) -> int:
        """How many times the page was drawn."""
        return int(self.page.evaluate("+(document.body.dataset.updates || 0)"))

    def wait_for_update(self) -> None:
        """Returns after the page was drawn once more, from answers that were asked for from now on."""
        wanted = self.updates() + 2
        self.wait("(wanted) => +document.body.dataset.updates >= wanted", wanted)

    def faults_of_accessibility(self) -> list[str]:
        """What axe finds serious or critical."""
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run().then((results) => results.violations)")
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]

    def overflow_px(self) -> int:
        """By how much the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@contextmanager
def browser_here() -> Iterator[Browser]:
    """A browser. Skips if this machine has none, unless CI=true."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed (apt-get install chromium fonts-dejavu-core)")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visited(
    browser: Browser, url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, routes: Any = None
) -> Iterator[Visit]:
    """Opens a page in a profile of its own. `routes(page)` may answer some of its requests."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", timezone_id="UTC", locale="en-GB"
    )
    try:
        page = context.new_page()
        visit = Visit(page)
        page.on(
            "console", lambda message: visit.complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", lambda request: visit.urls.append(request.url))
        if routes is not None:
            routes(page)
        page.goto(url)
        yield visit
    finally:
        context.close()
