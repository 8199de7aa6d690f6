"""The operations page against what it speaks of."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from event_processor.model.errors import ExitCode

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def exit_code_rows() -> dict[int, str]:
    """Of the page's table of exit codes: what the third column says that systemd does."""
    rows = re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|", page("operations.md"), flags=re.MULTILINE)
    return {int(code): column.strip() for code, column in rows}


def test_every_exit_code_is_explained_and_no_other() -> None:
    assert set(exit_code_rows()) == {int(code) for code in ExitCode}


def test_the_codes_that_keep_the_service_down_are_those_of_the_unit() -> None:
    unit = (resources.files("event_processor.service") / "units" / "event-processor.service").read_text(encoding="utf-8")
    listed = re.search(r"^RestartPreventExitStatus=(.*)$", unit, flags=re.MULTILINE)
    assert listed
    down = {code for code, systemd in exit_code_rows().items() if systemd == "stays down"}
    assert down == {int(code) for code in listed[1].split()}


def test_links_between_the_pages_lead_to_headings() -> None:
    for name in ("install.md", "operations.md"):
        for target, anchor in re.findall(r"\]\(([a-z.]*)#([^)]+)\)", page(name)):
            headings = re.findall(r"^#+ (.*)$", page(target or name), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
