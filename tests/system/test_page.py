"""The page of a real daemon in a real browser."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from math import sin
from pathlib import Path
from random import Random
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from support.browser import PHONE, Visit, browser_here, visited
from support.documents import ROOT
from support.http_daemon import Served, ports, served, served_in
from support.http_service import HttpService, Received, Reply
from support.page_answers import BOTTLENECK, RETRY, answers, history
from support.processes import Pipeline, wait_until

EVENT = '{"id": %d, "category": "a", "value": 1}\n'
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
DOWN = '[sinks.down]\ntype = "http"\ninput = "events"\nservice = "down"\npath = "/events"\n[services.down]\nbase_url = "http://127.0.0.1:9"\n'
MISSING = "".join(f'[sources.shop{number}]\ntype = "file"\npath = "shop{number}.jsonl"\n' for number in range(3))
DAMAGED = '[sources.old]\ntype = "file"\npath = "old.jsonl.gz"\n'
BAD_DAY = {"/v1/history": history(), "/v1/bottleneck": BOTTLENECK}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browser_here() as browser:
        yield browser


def events(count: int, category: str = "a") -> bytes:
    return b"".join(
        json.dumps({"id": number, "category": category, "value": number / 4}).encode() + b"\n" for number in range(count)
    )


def url_of(running: Served) -> str:
    return f"http://127.0.0.1:{running.port}/"


def is_drawn(visit: Visit) -> None:
    visit.wait("+(document.body.dataset.updates || 0) >= 1")


def asked_nothing_else(visit: Visit, running: Served) -> bool:
    return all(url.startswith((url_of(running), "data:")) for url in visit.urls)


def picture(visit: Visit, tmp_path: Path, name: str) -> None:
    """A picture of the whole page; in the folder that PAGE_SCREENSHOTS names, if it does."""
    path = Path(os.environ.get("PAGE_SCREENSHOTS", tmp_path)) / name
    visit.page.screenshot(path=path, full_page=True)
    assert path.read_bytes().startswith(b"\x89PNG")


def as_of_a_server(folder: Path) -> Callable[[Route], None]:
    """Answers with the state, but with another folder and process than a test has."""

    def answer(route: Route) -> None:
        state = json.loads(route.fetch().text().replace(str(folder), "/srv/shop"))
        route.fulfill(json={**state, "owner": "process 2317 on db-3"})

    return answer


def test_it_follows_appended_events_and_asks_this_server_alone(browser: Browser, tmp_path: Path) -> None:
    with served_in(tmp_path, events(3)) as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#verdict", "Right. 3 records = 3 accepted + 0 duplicates + 0 rejected + 0 blank.")
        running.append(b'{"id": 2, "category": "a", "value": 1}\n{"id": 9, "category": "b", "value": -2.5}\nbroken\n')
        visit.wait_for_text("#verdict", "Right. 6 records = 4 accepted + 1 duplicate + 1 rejected + 0 blank.")
        visit.wait_for_text("#categories tbody", "−2.50")
        visit.wait_for_text("#rejected", "events.jsonl:6 (byte ")
        assert "Keeping up." in visit.text("#verdict")
        assert "Never verified against the log: event-processor verify." in visit.text("#verdict")
        assert visit.text("#pulse") == "live"
        assert visit.text("h1") == "pipeline"
        assert running.pipeline.verify().exit_code == 0
        running.append(b'{"id": 10, "category": "b", "value": 1}\n')
        visit.wait_for_text("#verdict", "ago: ok. Each of the first 6 was counted exactly once.")
        assert url_of(running) + "v1/commits" in visit.urls, "it does not only ask again and again"
        assert asked_nothing_else(visit, running)
        assert not visit.complaints, "no violation of the policy, no fault of the script"


def test_an_empty_state_says_what_it_waits_for(browser: Browser, tmp_path: Path) -> None:
    with served_in(tmp_path, b"") as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#verdict", "Nothing is counted yet. It waits for the first record.")
        assert ">> events.jsonl" in visit.text("#verdict")
        assert not visit.page.is_visible("#categories")
        assert not visit.faults_of_accessibility()
        running.append(events(1))
        visit.wait_for_text("#verdict", "Right. 1 record = 1 accepted")


def test_a_thousand_categories_are_sorted_filtered_and_paged(browser: Browser, tmp_path: Path) -> None:
    lines = (json.dumps({"id": number, "category": f"c-{number % 1000:03}", "value": number}) for number in range(1100))
    with served_in(tmp_path, "\n".join(lines).encode() + b"\n") as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#categories", "Categories · 1,000")
        rows = visit.page.locator("#categories tbody tr")
        assert rows.count() == 25
        visit.page.click("#categories th button:text-is('category')")
        visit.wait_for_text("#categories tbody tr:first-child", "c-000")
        visit.page.click("#categories button:text-is('next')")
        visit.wait_for_text("#categories tbody tr:first-child", "c-025")
        assert "26 to 50 of 1,000" in visit.text("#categories")
        visit.page.fill("#categories .filter", "C-09")
        visit.wait_for_text("#categories .wrap", "c-090")
        visit.wait("document.querySelectorAll('#categories tbody tr').length === 10")
        visit.page.click("#categories th button:text-is('sum')")
        visit.wait_for_text("#categories tbody tr:first-child", "c-099")
        assert visit.page.get_attribute("#categories th:nth-child(4)", "aria-sort") == "descending"


def test_a_daemon_that_stops_is_seen_and_followed_again(browser: Browser, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(events(2))
    path = pipeline.folder / "pipeline.toml"
    path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:{port}"\n')
    first = pipeline.start()
    try:
        wait_until(lambda: bool(ports(first)), "it listens")
        with visited(browser, f"http://127.0.0.1:{port}/") as visit:
            visit.wait_for_text("#verdict", "Right. 2 records")
            first.kill()
            visit.wait_for_text("#stopped", "Stopped: last seen at ")
            assert visit.text("#pulse") == "stopped"
            assert "Right. 2 records" in visit.text("#verdict"), "what was committed stays"
            assert not visit.faults_of_accessibility()
            with pipeline.log.open("ab") as log:
                log.write(b'{"id": 7, "category": "a", "value": 1}\n')
            second = pipeline.start()
            try:
                visit.wait_for_text("#verdict", "Right. 3 records")
                visit.wait("document.getElementById('stopped').hidden")
                assert visit.text("#pulse") == "live"
            finally:
                second.kill()
    finally:
        first.kill()


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_a_bad_day_shows_its_five_conditions_and_axe_finds_nothing_serious(browser: Browser, tmp_path: Path, look: str) -> None:
    size = PHONE if look == "phone" else (1200, 900)
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(events(40) + b"broken\n" * 3)
    (tmp_path / "old.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03 this is not deflated")
    given = answers({**BAD_DAY, "/v1/state": as_of_a_server(tmp_path), RETRY: {"retried": 0, "refused": [], "dry_run": True}})
    with (
        served(pipeline, MISSING + DAMAGED + DOWN) as running,
        visited(browser, url_of(running), size=size, dark=look == "dark", routes=given) as visit,
    ):
        visit.wait("document.querySelectorAll('#conditions li').length === 5")
        visit.wait_for_text("#verdict", "Needs you.")
        visit.wait_for_text("#why", "Waiting for the disk: 71 % of the time")
        visit.wait_for_text("#rejected", "Rejected · 3")
        visit.wait_for_text("#verdict", "32 records wait for remote sinks.")
        said = visit.text("#conditions")
        assert "shop0.jsonl: no such file" in said
        assert "What to do: start its writer, or correct sources.shop0.path" in said
        assert "old.jsonl.gz: cannot be decoded after byte 0" in said
        assert said.index("Needs you: ") < said.index("Note: sink down: its service takes nothing now")
        assert "waits" in visit.text("#sinks")
        assert "Everything that can be read is counted." in visit.text("#verdict")
        assert visit.overflow_px() <= 0
        assert not visit.faults_of_accessibility()
        assert not visit.complaints
        if look == "light":
            picture(visit, tmp_path, "page-bad-day.png")


def test_what_comes_from_the_log_is_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    log = (
        json.dumps({"id": EVIL, "category": EVIL, "value": 1}) + "\n" + json.dumps({"id": EVIL, "category": 5, EVIL: EVIL}) + "\n"
    )
    with served_in(tmp_path, log.encode()) as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#categories tbody", EVIL)
        visit.wait_for_text("#rejected .record", "<img src=x")
        visit.page.fill("#wanted", EVIL)
        visit.page.press("#wanted", "Enter")
        visit.wait_for_text("#found", "accepted")
        assert EVIL in visit.text("#found")
        assert visit.page.locator("img").count() == 0
        assert visit.page.locator("script").count() == 2
        assert "pipeline" in visit.page.title()
        assert not visit.complaints


def test_everything_can_be_done_with_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    with (
        served_in(
            tmp_path,
            events(5),
        ) as running,
        visited(browser, url_of(running), routes=answers(BAD_DAY)) as visit,
    ):
        visit.wait_for_text("#throughput", "Records a second, last hour")
        is_drawn(visit)
        visit.page.keyboard.press("/")
        visit.page.keyboard.type("3")
        visit.page.keyboard.press("Enter")
        visit.wait_for_text("#found", "accepted events.jsonl:4 (byte ")
        assert visit.page.evaluate("document.activeElement.id") == "found-title"
        assert visit.page.evaluate("location.hash") == "#id=3"
        visit.page.focus("#throughput input")
        visit.page.keyboard.press("ArrowLeft")
        said = visit.page.get_attribute("#throughput input", "aria-valuetext")
        assert said is not None
        assert "accepted: " in said
        assert "rejected: " in visit.text("#throughput .tip")
        visit.page.focus("#categories th button")
        visit.page.keyboard.press("Enter")
        visit.wait("document.querySelector('#categories th').getAttribute('aria-sort') === 'ascending'")


def test_each_number_says_which_command_prints_it_to_the_keyboard_and_to_a_screen_reader(
    browser: Browser, tmp_path: Path
) -> None:
    more = b'{"id": 77, "category": "it\'s tea", "value": 4}\nbad\n'
    with served_in(tmp_path, events(5) + more) as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#categories tbody", "it's tea")
        is_drawn(visit)
        # Every cell that shows a number, and every part, says one.
        untold = "[...document.querySelectorAll('td:not(.text):not(.barcell)')].filter((each) => /[0-9]/.test(each.textContent) && !each.title)"
        assert visit.page.evaluate(f"{untold}.map((each) => each.textContent)") == ["0", "0"], (
            "of the sink, which is in the commit"
        )
        stops = "[...document.querySelectorAll('main > section:not([hidden])')].map((each) => each.querySelectorAll('.n[tabindex=\\'0\\']').length)"
        assert set(visit.page.evaluate(stops)) <= {1}, "one stop of the Tab key for each part"
        visit.page.focus("#categories-title")
        assert visit.text("#says") == "$ event-processor inspect"
        visit.page.keyboard.press("ArrowRight")
        assert visit.text("#says") == "$ event-processor inspect --category=a"
        visit.page.keyboard.press("ArrowDown")
        assert visit.text("#says") == "$ event-processor inspect --category='it'\\''s tea'"
        focused = "document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"
        assert visit.page.evaluate(focused) == visit.text("#says")
        running.append(b'{"id": 78, "category": "it\'s tea", "value": 4}\n')
        visit.wait("document.activeElement.textContent === '2'")
        assert visit.page.is_visible("#says"), "an update leaves the focus where it is"
        assert not visit.faults_of_accessibility()
        visit.page.keyboard.press("Tab")
        assert not visit.page.evaluate("document.activeElement.matches('#categories .n')"), "the next stop is outside the numbers"
        assert "--category" not in visit.text("#says")
        assert not visit.complaints
        assert running.pipeline.command_of("inspect", "--category=it's tea").exit_code == 0


def test_charts_have_values_on_their_axes_and_under_the_pointer(browser: Browser, tmp_path: Path) -> None:
    made = history()
    with (
        served_in(tmp_path, events(5)) as running,
        visited(browser, url_of(running), routes=answers({"/v1/history": made})) as visit,
    ):
        visit.wait_for_text("#throughput svg", "2.5K")
        words = visit.page.locator("#throughput svg text").all_text_contents()
        assert words[:3] == ["0", "2.5K", "5K"]
        assert len(words) >= 6, "three values and times"
        drawn = visit.page.get_attribute("#throughput svg path", "d")
        assert drawn is not None
        assert drawn.count("M") == 2, "before and after the time without a daemon"
        assert visit.text("#lag-words").startswith("at most 9.3 s at ")
        # The 161st step of 300, in the middle of the burst: 46 and 6 pixels are beside the axis.
        wide = visit.page.evaluate("document.querySelector('#throughput .chart').clientWidth")
        visit.page.hover("#throughput input", position={"x": 46 + (wide - 52) * 160 / 299, "y": 60})
        accepted = made["columns"]["accepted"][160] / made["step_s"]
        assert f"accepted: {accepted:,.2f}".removesuffix(".00") in visit.text("#throughput .tip")
        visit.page.hover("#throughput input", position={"x": 46 + (wide - 52) * 70 / 299, "y": 60})
        assert "accepted: no value" in visit.text("#throughput .tip"), "no daemon ran"


def test_another_span_is_asked_for_and_named(browser: Browser, tmp_path: Path) -> None:
    def answer(route: Route) -> None:
        route.fulfill(json=history(step_s={"300": 1, "86400": 288}.get(route.request.url.split("span_s=")[1].split("&")[0], 12)))

    with (
        served_in(tmp_path, events(5)) as running,
        visited(browser, url_of(running), routes=answers({"/v1/history": answer})) as visit,
    ):
        visit.wait_for_text("#throughput", "last hour")
        visit.page.click("button:text-is('1 day')")
        visit.wait_for_text("#throughput", "Records a second, last day")
        assert visit.page.get_attribute("button:text-is('1 day')", "aria-pressed") == "true"


def test_a_rejected_record_is_repaired_tried_and_retried(browser: Browser, tmp_path: Path) -> None:
    sent: list[Any] = []

    def answer(route: Route) -> None:
        body: Any = route.request.post_data_json
        sent.append(body)
        refused = [{**body["records"][0], "reason": "still not JSON"}] if body["records"][0]["record"] == "worse" else []
        route.fulfill(json={"retried": 1 - len(refused), "refused": refused, "dry_run": body["dry_run"]})

    with (
        served_in(tmp_path, events(1) + b"bad\n") as running,
        visited(browser, url_of(running), routes=answers({RETRY: answer})) as visit,
    ):
        visit.wait_for_text("#rejected", "Rejected · 1")
        visit.page.click("#rejected button:text-is('Repair')")
        visit.page.fill("#rejected textarea", "worse")
        visit.page.click("#rejected li button:text-is('Try')")
        visit.wait_for_text("#rejected li", "still not JSON")
        visit.page.fill("#rejected textarea", '{"id": 8, "category": "a", "value": 1}')
        running.append(b"bad again\n")
        visit.wait_for_text("#rejected-title", "Rejected · 2")
        assert visit.page.input_value("#rejected textarea").startswith('{"id": 8'), "an update leaves the repair alone"
        visit.page.click("#rejected li button:text-is('Retry')")
        visit.wait("document.querySelectorAll('#rejected .letters > li').length === 2")
        place = {"source": "events", "generation": 1, "offset": len(events(1))}
        repaired = {**place, "record": '{"id": 8, "category": "a", "value": 1}'}
        assert sent == [
            {"records": [{**place, "record": "worse"}], "sink": None, "dry_run": True},
            {"records": [repaired], "sink": None, "dry_run": False},
        ]


def test_a_repaired_record_comes_back_through_the_intake_and_is_counted(browser: Browser, tmp_path: Path) -> None:
    with served_in(tmp_path, events(1) + b"bad\n") as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#rejected", "Rejected · 1")
        visit.page.click("#rejected button:text-is('Repair')")
        visit.page.click("#rejected li button:text-is('Try')")
        visit.wait_for_text("#rejected li", "0 records would be retried; byte ")
        visit.page.fill("#rejected textarea", '{"id": 8, "category": "b", "value": 2}')
        visit.page.click("#rejected li button:text-is('Retry')")
        visit.wait_for_text("#verdict", "Right. 3 records = 2 accepted + 0 duplicates + 1 rejected + 0 blank.")
        visit.wait_for_text("#sources", "intake")
        assert not visit.complaints


def test_all_on_the_page_are_chosen_and_retried_together(browser: Browser, tmp_path: Path) -> None:
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"retried": 3, "refused": [], "dry_run": True})

    with (
        served_in(tmp_path, b"bad\n" * 3) as running,
        visited(browser, url_of(running), routes=answers({RETRY: answer})) as visit,
    ):
        visit.wait_for_text("#rejected", "Rejected · 3")
        visit.page.check("#rejected .actions input")
        visit.page.click("#rejected button:text-is('Try chosen')")
        visit.wait_for_text("#rejected .actions", "3 records would be retried")
        assert [each["offset"] for each in sent[0]["records"]] == [8, 4, 0]


def test_a_hidden_page_asks_nothing_until_it_is_seen_again(browser: Browser, tmp_path: Path) -> None:
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"
    with served_in(tmp_path, events(1)) as running, visited(browser, url_of(running)) as visit:
        visit.wait_for_text("#verdict", "Right. 1 record")
        visit.wait_for_update()
        visit.page.evaluate(hide, True)
        assert visit.text("#pulse") == "paused"
        before = len(visit.urls)
        running.append(b'{"id": 8, "category": "a", "value": 1}\n')
        running.wait_for_records(2)
        assert visit.page.evaluate("stream") is None, "it follows nothing"
        assert len(visit.urls) == before
        visit.page.evaluate(hide, False)
        visit.wait_for_text("#verdict", "Right. 2 records")
        assert visit.text("#pulse") == "live"


def test_with_a_token_the_page_asks_for_it_once(browser: Browser, tmp_path: Path) -> None:
    with served_in(tmp_path, events(1), token="a-token-of-some-length") as running, visited(browser, url_of(running)) as visit:
        visit.wait("!document.getElementById('asking').hidden")
        assert not visit.page.is_visible("#verdict")
        visit.page.fill("#token", "another-token-of-length")
        visit.page.click("#token-form button")
        visit.wait_for_text("#token-words", "this is not the token")
        visit.page.fill("#token", "a-token-of-some-length")
        visit.page.click("#token-form button")
        visit.wait_for_text("#verdict", "Right. 1 record")
        visit.page.wait_for_selector("#asking", state="hidden")
        visit.page.reload()
        visit.wait_for_text("#verdict", "Right. 1 record")


def script_s_per_update(visit: Visit, running: Served, first_id: int, rounds: int) -> float:
    """The script time of an update, in seconds. In each, the charts are drawn again too."""
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Performance.enable")

    def script_s() -> float:
        return float(
            next(each["value"] for each in session.send("Performance.getMetrics")["metrics"] if each["name"] == "ScriptDuration")
        )

    began, updates = script_s(), visit.updates()
    for number in range(rounds):
        visit.page.click(f"#throughput button:text-is('{'1 h' if number % 2 else '1 day'}')")
        running.append(b'{"id": %d, "category": "a", "value": 1}\nbad\n' % (first_id + number))
        visit.page.evaluate(
            "(wanted) => new Promise((done) => new MutationObserver(() => +document.body.dataset.updates >= wanted && done())"
            ".observe(document.body, {attributes: true}))",
            visit.updates() + 1,
        )
    return (script_s() - began) / (visit.updates() - updates)


def test_a_day_of_history_and_ten_thousand_dead_letters_do_not_double_the_work_of_an_update(
    browser: Browser, tmp_path: Path
) -> None:
    small = answers({"/v1/history": lambda route: route.fulfill(json=history(is_quiet=True))})
    large = answers({"/v1/history": lambda route: route.fulfill(json=history(step_s=288))})
    with (
        served_in(tmp_path / "small", events(20) + b"bad\n" * 10) as few,
        served_in(tmp_path / "large", events(20) + b"bad\n" * 10_000) as many,
        visited(browser, url_of(few), routes=small) as before,
        visited(browser, url_of(many), routes=large) as after,
    ):
        before.wait_for_text("#rejected", "Rejected · 10")
        after.wait_for_text("#rejected", "Rejected · 10,000")
        ratios = []
        for turn in range(5):
            base = script_s_per_update(before, few, 100 + 10 * turn, 2)
            ratios.append(script_s_per_update(after, many, 100 + 10 * turn, 2) / base)
        print(
            "script time of an update, a day and 10,000 dead letters against a small state:", [round(each, 2) for each in ratios]
        )
        assert sorted(ratios)[2] < 2
        assert after.page.locator("#rejected .letters > li").count() == 10


def test_a_failed_delivery_is_repaired_on_the_page_and_goes_to_its_sink_alone(browser: Browser, tmp_path: Path) -> None:
    def answer(request: Received) -> Reply:
        return Reply(422, b"no stock") if request.json()["value"] < 0 else Reply()

    bad = b'{"id": -9007199254740993, "category": "a", "value": -2}\n'
    with HttpService(answer) as service:
        keys = DOWN.replace("down", "shop").replace("http://127.0.0.1:9", service.base_url)
        with served_in(tmp_path, bad + events(12), keys) as running, visited(browser, url_of(running)) as visit:
            visit.wait_for_text("#failed-shop-title", "Failed at the sink shop · 1")
            assert "no stock" in visit.text("#failed-shop")
            assert "events.jsonl:1 (byte 0)" in visit.text("#failed-shop")
            visit.page.click("#failed-shop button:text-is('Repair')")
            field = "#failed-shop textarea"
            shown = visit.page.input_value(field)
            assert '"id": -9007199254740993' in shown, "with every digit"
            assert not visit.faults_of_accessibility()
            visit.page.fill(field, shown.replace("-2", "5"))
            visit.page.click("#failed-shop li button:text-is('Try')")
            visit.wait_for_text("#failed-shop li", "1 record would be retried")
            visit.page.click("#failed-shop li button:text-is('Retry')")
            visit.wait_for_text("#failed-shop", "Retried: 1 delivered, 0 pending, 0 failed again.")
            assert service.received[-1].json() == {"id": -9007199254740993, "category": "a", "value": 5}
            visit.page.check("#failed-shop li input")
            visit.page.click("#failed-shop button:text-is('Retry chosen')")
            visit.wait_for_text("#failed-shop", "a retry of it waits, or was delivered")
            assert not visit.complaints


def test_a_report_is_the_same_page_without_a_daemon_or_a_network(browser: Browser, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(
        events(30)
        + json.dumps({"id": "x", "category": EVIL, "value": -1}).encode()
        + b"\n"
        + b"</script>" * 12
        + b"\n"
        + b"bad\n" * 11
    )
    assert pipeline.run().exit_code == 0
    assert pipeline.verify().exit_code == 0
    ticket = tmp_path / "ticket.html"
    assert pipeline.command_of("report", str(ticket)).exit_code == 0
    with visited(browser, ticket.as_uri()) as visit:
        visit.wait_for_text("#verdict", "Right. 43 records = 31 accepted + 0 duplicates + 12 rejected + 0 blank.")
        is_drawn(visit)
        assert re.search(r"Verified \d.* ago: ok\. Each was counted exactly once\.", visit.text("#verdict"))
        assert "A report, not live. Made at " in visit.text("#stopped")
        assert visit.text("#pulse") == "report"
        assert not visit.page.is_visible("#search")
        assert EVIL in visit.text("#categories")
        visit.page.click("#categories th button:text-is('sum')")
        visit.wait_for_text("#categories tbody tr:first-child", "a")
        visit.page.click("#categories th button:text-is('sum')")
        visit.wait_for_text("#categories tbody tr:first-child", EVIL)
        visit.page.click("#rejected button:text-is('next')")
        visit.wait_for_text("#rejected", "</script></script>")
        assert not visit.faults_of_accessibility()
        assert not visit.complaints
        assert visit.urls == [ticket.as_uri()] or all(url.startswith("data:") for url in visit.urls[1:])


def sample_in(folder: Path) -> Pipeline:
    """The pipeline of `make run`. Its address is left to the caller."""
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(b"")
    text = (ROOT / "event-processor.toml").read_text()
    (folder / "pipeline.toml").write_text(re.sub(r"(?s)# Health, the committed.*", '[state]\nname = "shop"\n', text))
    (folder / "events").mkdir()
    (folder / "events" / "events.jsonl").write_bytes((ROOT / "events" / "events.jsonl").read_bytes())
    return pipeline


def append_some(log: Path, turn: int) -> None:
    """Appends some events: a rhythm, a burst, one duplicate and one without a number in fifty."""
    random = Random(turn)
    with log.open("a") as file:
        for place in range(int(40 + 25 * sin(turn / 9) + (120 if 90 <= turn < 96 else 0))):
            number = 1000 + turn * 200 + place
            values = {"order": 97.0, "payment": 88.5, "shipping": 8.0, "refund": -50.0}
            category = random.choices(list(values), (32, 35, 20, 13))[0]
            value: float | str = round(values[category] * random.uniform(0.5, 1.5), 2)
            event = {
                "id": f"evt-{number - (place % 50 == 7):06}",
                "category": category,
                "value": "49.90" if place % 50 == 11 else value,
                "timestamp": f"2026-03-02T10:{turn // 60:02}:{turn % 60:02}Z",
            }
            file.write(json.dumps(event) + "\n")


def test_the_sample_is_shown_in_light_in_dark_and_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    # Pictures want a past. A round is a little less than a second.
    rounds = 180 if "PAGE_SCREENSHOTS" in os.environ else 1
    with served(sample_in(tmp_path)) as running:
        url, given = url_of(running), answers({"/v1/state": as_of_a_server(tmp_path)})
        with visited(browser, url, routes=given) as visit:
            visit.wait_for_text("#verdict", "Right. 302 records = 285 accepted + 8 duplicates + 8 rejected + 1 blank.")
            for turn in range(rounds):
                append_some(tmp_path / "events" / "events.jsonl", turn)
                wanted = visit.updates() + 1
                visit.wait("(wanted) => +document.body.dataset.updates >= wanted", wanted)
        for look, size in {"light": (1200, 900), "dark": (1200, 900), "phone": PHONE}.items():
            with visited(browser, url, size=size, dark=look == "dark", routes=given) as visit:
                visit.wait_for_text("#rejected", "is not a number")
                is_drawn(visit)
                assert visit.overflow_px() <= 0
                assert not visit.faults_of_accessibility()
                assert not visit.complaints
                picture(visit, tmp_path, f"page-{look}.png")
