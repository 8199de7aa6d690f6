"""The pages: each one HTML file with its style and its script, and what goes into it.

Owns: how `page.html` becomes an answer or a report, and `jobs.html` an answer.
Always: only the style and the script of that file may run: each rendering has a nonce of its own. Nothing is loaded from elsewhere.
What a report embeds cannot end its element, whatever is in it.
Never: puts a value into HTML (the script makes text of it); imports the server, so a report needs no extra.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["jobs_page", "live_page", "report_page"]

NONCE_BYTES: Final = 16
_NOTHING_ELSE: Final = "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'"
_LIVE: Final = f"{_NOTHING_ELSE}; connect-src 'self'; frame-ancestors 'none'"
_ENDS_OF_ELEMENTS: Final = (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"))
"""Within a JSON text these are the same characters, and no HTML."""


def live_page() -> tuple[str, str]:
    """The page that asks this server, and its Content-Security-Policy."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    return _filled(nonce, policy="", report="null"), _LIVE.format(nonce=nonce)


def jobs_page() -> tuple[str, str]:
    """The page of the jobs, which asks this server, and its Content-Security-Policy."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    return _file("jobs.html").replace("@NONCE@", nonce), _LIVE.format(nonce=nonce)


def report_page(report: str) -> str:
    """The page with everything that it shows inside. `report` is JSON. It asks nothing, and needs no server."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    for character, escape in _ENDS_OF_ELEMENTS:
        report = report.replace(character, escape)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_ELSE.format(nonce=nonce)}">'
    return _filled(nonce, policy=policy, report=report)


def _filled(nonce: str, *, policy: str, report: str) -> str:
    # The report comes last: what it holds is not looked at again.
    return _file("page.html").replace("@NONCE@", nonce).replace("<!-- @POLICY@ -->", policy).replace("@REPORT@", report)


@cache
def _file(name: str) -> str:
    return (files("event_processor.service.web") / name).read_text(encoding="utf-8")
