"""The page as an answer and as a file: what it may do, how large it is, and that what it embeds stays data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from event_processor.service.web.page import report_page
from support.asgi import asked
from support.command_line import shell_in
from support.sites import application_here

BYTES_MAX = 80_000
PAGE = Path(__file__).parents[2] / "event_processor" / "service" / "web" / "page.html"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> ASGIApp:
    shell_in(tmp_path, monkeypatch, capsys)
    return application_here()


def test_the_page_may_run_its_own_script_and_nothing_else(app: ASGIApp) -> None:
    answer = asked(app, "/")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
    nonce = re.findall(r'<script nonce="([^"]+)">', answer.content.decode())
    assert len(nonce) == 1
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'nonce-{nonce[0]}'",
        "style-src": f"'nonce-{nonce[0]}'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_each_answer_has_a_nonce_of_its_own(app: ASGIApp) -> None:
    policies = {asked(app, "/").headers["content-security-policy"] for _ in range(20)}
    assert len(policies) == 20


def test_the_page_is_one_small_file_that_names_no_other_host(app: ASGIApp) -> None:
    content = asked(app, "/").content
    assert len(content) < BYTES_MAX
    namespaces = {b"http://www.w3.org/2000/svg"}
    assert set(re.findall(rb"""(?:https?:)?//[a-z][^'"\s>]*\.[a-z]+[^'"\s>]*""", content)) <= namespaces
    assert b"@NONCE@" not in content
    assert b"@REPORT@" not in content


def test_the_script_makes_no_html_of_values() -> None:
    script = PAGE.read_text().partition('"use strict";')[2]
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        'setAttribute("style"',
    ):
        assert word not in script


def test_what_a_report_embeds_cannot_end_its_element() -> None:
    evil = {"made_at": "</script><script>alert(1)</script><!--", "answers": {"@NONCE@": "&amp;\u2028"}}
    content = report_page(json.dumps(evil))
    embedded = re.search(r'<script type="application/json" id="report" nonce="[^"]+">(.*?)</script>', content, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == evil
    assert content.count("<script") == 2
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', content)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'nonce-")
    assert "connect-src" not in policy[1], "a report asks nothing"
