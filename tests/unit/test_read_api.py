"""What is committed, over HTTP: the same as the commands say; pages, sorting, filters; and what a bad query is answered with."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from event_processor.operations import dead_letters, explanation, window_rows
from event_processor.service.web import records
from event_processor.service.web.answers import json_bytes
from support.asgi import asked
from support.command_line import Shell, shell_in
from support.sites import application_here

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[order]
buffer_events = 2
[sinks.ordered]
path = "out/ordered.jsonl"
[aggregates.by_kind]
group_by = ["kind"]
measures = { events = "count", total = "sum(value)" }
[aggregates.hourly]
group_by = ["kind"]
measures = { events = "count" }
window = { size_s = 3600 }
"""


def line(number: int, category: str, value: float, kind: str) -> str:
    return json.dumps({"id": number, "category": category, "value": value, "kind": kind, "timestamp": 1_700_000_000 + number})


LINES = [
    line(1, "tea", 0.5, "b"),
    line(2, "Coffee", 2, "a"),
    line(3, "tea", 1, "a"),
    line(4, "cocoa", 9, "c"),
    "not an event",
    line(1, "tea", 7, "b"),
    "neither is this",
    '{"id": 9, "category": "tea", "value": "x", "kind": "a", "timestamp": 1700000009}',
]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text(CONFIGURATION)
    shell.path("log.jsonl").write_text("".join(f"{line}\n" for line in LINES))
    assert shell.call("run", "--once") == 0, shell.err
    return shell


@pytest.fixture
def app(shell: Shell) -> ASGIApp:
    return application_here()


def said(app: ASGIApp, url: str, status: int = 200) -> Any:
    answer = asked(app, url)
    assert answer.status == status, answer.content
    return answer.json


def names(document: dict[str, Any]) -> list[str]:
    return [each["category"] for each in document["categories"]]


def test_the_status_is_that_of_the_command_but_for_its_age(shell: Shell, app: ASGIApp) -> None:
    document = said(app, "/v1/state")
    assert shell.call("status", "--json") == 69, "nothing runs"
    expected = json.loads(shell.out)
    del document["committed"]["age_s"], expected["committed"]["age_s"]
    assert document == expected
    assert said(app, "/readyz", 503)["shortfalls"] == expected["shortfalls"]


def test_categories_are_those_of_inspect(shell: Shell, app: ASGIApp) -> None:
    document = said(app, "/v1/categories")
    inspected = shell.json("inspect")
    assert {each.pop("category"): each for each in document["categories"]} == inspected["categories"]
    assert (document["state_id"], document["written_at"]) == (inspected["state_id"], inspected["written_at"])
    assert (document["total"], document["offset"], document["limit"]) == (3, 0, 100)


def test_categories_are_sorted_filtered_and_cut_into_pages(app: ASGIApp) -> None:
    assert names(said(app, "/v1/categories")) == ["Coffee", "cocoa", "tea"]
    assert names(said(app, "/v1/categories?sort=sum&order=desc")) == ["cocoa", "Coffee", "tea"]
    assert names(said(app, "/v1/categories?sort=count&order=asc")) == ["Coffee", "cocoa", "tea"]
    page = said(app, "/v1/categories?filter=CO&limit=1&offset=1")
    assert (names(page), page["total"]) == (["cocoa"], 2)
    assert names(said(app, "/v1/categories?offset=10")) == []


def test_rows_without_a_value_come_last_in_both_orders(shell: Shell) -> None:
    path = shell.path("event-processor.toml")
    path.write_text(
        CONFIGURATION.replace("[order]", '[event]\nvalue_missing = "count_only"\n[order]').replace("log.jsonl", "two.jsonl")
    )
    shell.path("two.jsonl").write_text(
        '{"id": 1, "category": "none", "timestamp": 1, "kind": "a"}\n' + line(2, "some", 3, "a") + "\n"
    )
    assert shell.call("reset", "--yes") == 0
    assert shell.call("run", "--once") == 0, shell.err
    app = application_here()
    for order in ("asc", "desc"):
        assert names(said(app, f"/v1/categories?sort=mean&order={order}")) == ["some", "none"]


def test_aggregates_have_their_groups_and_windows_their_summary(shell: Shell, app: ASGIApp) -> None:
    assert [(each["name"], each["kind"]) for each in said(app, "/v1/aggregates")["aggregates"]] == [
        ("by_kind", "groups"),
        ("hourly", "windows"),
    ]
    groups = said(app, "/v1/aggregates/by_kind?sort=total&order=desc")["groups"]
    assert [(each["group"]["kind"], each["measures"]["events"], each["measures"]["total"]) for each in groups] == [
        ("c", 1, 9),
        ("a", 2, 3),
        ("b", 1, 0.5),
    ]
    page = said(app, "/v1/aggregates/by_kind?sort=kind&filter=A")
    assert ([each["group"] for each in page["groups"]], page["total"]) == ([{"kind": "a"}], 1)
    windows = said(app, "/v1/aggregates/hourly")
    assert windows["groups"] == []
    assert windows["windows"]["held"] == shell.json("inspect")["aggregates"]["hourly"]["held"]
    assert said(app, "/v1/aggregates/none", 404)["hint"] == "committed aggregates: by_kind, hourly"
    assert "kind, events, total" in said(app, "/v1/aggregates/by_kind?sort=other", 400)["hint"]


def test_the_newest_rows_of_windows_are_those_of_a_sink_that_has_them(shell: Shell) -> None:
    none = said(application_here(), "/v1/aggregates/hourly/rows")
    assert (none["sink"], none["rows"]) == ("", []), "no sink reads them"
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text() + '[sinks.hours]\ninput = "aggregates.hourly"\npath = "out/hours.jsonl"\n')
    later = [line(number, "tea", 1, "a").replace("1700000", "1700010") for number in (20, 21)]
    with shell.path("log.jsonl").open("a") as log:
        log.write("".join(f"{each}\n" for each in [*later, line(22, "tea", 1, "b").replace("1700000", "1700020")]))
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    app = application_here()
    answer = said(app, "/v1/aggregates/hourly/rows")
    with shell.path("out", "hours.jsonl").open("a") as file:
        file.write('{"not": "committed"}\n')
    assert said(app, "/v1/aggregates/hourly/rows") == answer
    assert (answer["sink"], answer["group_by"], answer["measures"]) == ("hours", ["kind"], ["events"])
    assert answer["ends"] == ["window_start", "window_end"]
    written = [json.loads(each) for each in shell.path("out", "hours.jsonl").read_text().splitlines()[:-1]]
    assert answer["rows"] == written
    assert said(app, "/v1/aggregates/hourly/rows?limit=1")["rows"] == written[-1:]
    for name in ("by_kind", "none"):
        assert said(app, f"/v1/aggregates/{name}/rows", 404)["hint"]


def test_only_the_end_of_a_long_file_of_rows_is_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text() + '[sinks.hours]\ninput = "aggregates.hourly"\npath = "out/hours.jsonl"\n')
    with shell.path("log.jsonl").open("a") as log:
        for number in range(100, 140):
            log.write(
                json.dumps({"id": number, "category": "tea", "value": 1, "kind": "a", "timestamp": 1_700_000_000 + 3600 * number})
                + "\n"
            )
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    monkeypatch.setattr(window_rows, "TAIL_BYTES", 500)
    written = [json.loads(each) for each in shell.path("out", "hours.jsonl").read_text().splitlines()]
    found = said(application_here(), "/v1/aggregates/hourly/rows")["rows"]
    assert 0 < len(found) < len(written)
    assert found == written[-len(found) :]


def test_the_pipeline_is_named_with_its_parts(app: ASGIApp) -> None:
    about = said(app, "/v1/pipeline")
    assert about["name"] == "event-processor"
    assert about["sources"] == [{"name": "log", "type": "file", "path": "log.jsonl"}]
    assert [(each["name"], each["input"], each["guarantee"].split(",")[0]) for each in about["sinks"]] == [
        ("ordered", "events", "exactly once")
    ]


def test_sources_and_sinks_are_those_of_the_commands(shell: Shell, app: ASGIApp) -> None:
    document = said(app, "/v1/sources")
    assert document["sources"] == shell.json("inspect")["sources"]
    read = {"bytes": 0, "records": 0, "unknown": "", "seconds": 0.0}
    assert document["lags"] == {"intake": read, "log": read}
    with shell.path("log.jsonl").open("a") as log:
        log.write("unread")
    later = said(application_here(), "/v1/sources")
    assert later["lags"] == {"intake": read, "log": {**read, "bytes": 6}}
    metrics = asked(application_here(), "/metrics").content.decode()
    assert 'event_processor_source_lag_bytes{source="log"} 6.0' in metrics
    assert 'event_processor_source_lag_seconds{source="log"} 0.0' in metrics
    assert said(app, "/v1/sinks") == shell.json("sinks", "list")


def test_the_life_of_an_id_is_that_of_explain(shell: Shell, app: ASGIApp) -> None:
    assert said(app, "/v1/records?id=1") == shell.json("explain", "1")
    assert said(app, "/v1/records?id=none") == shell.json("explain", "none")
    assert said(app, "/v1/records?id=1")["ids"][1]["duplicates"][0]["line"] == 6


def test_dead_letters_are_paged_from_the_newest(shell: Shell, app: ASGIApp) -> None:
    listed = shell.json("dead-letters", "list")["dead_letters"]
    assert said(app, "/v1/dead-letters") == {"count": 3, "dead_letters": listed[::-1], "next_offset": None}
    first = said(app, "/v1/dead-letters?limit=2")
    assert (first["dead_letters"], first["next_offset"]) == (listed[:0:-1], 2)
    assert said(app, "/v1/dead-letters?limit=2&offset=2") == {"count": 3, "dead_letters": listed[:1], "next_offset": None}
    assert said(app, "/v1/dead-letters?offset=3")["dead_letters"] == []


def test_a_page_of_large_dead_letters_ends_early_and_says_where_it_goes_on(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "PAGE_BYTES_MAX", 1)
    seen: list[int] = []
    offset: int | None = 0
    while offset is not None:
        page = said(app, f"/v1/dead-letters?offset={offset}")
        seen += [each["line"] for each in page["dead_letters"]]
        offset = page["next_offset"]
    assert seen == [8, 7, 5]


def test_an_export_is_that_of_the_command(shell: Shell, app: ASGIApp) -> None:
    assert shell.call("dead-letters", "export") == 0
    answer = asked(app, "/v1/dead-letters/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content.decode() == shell.out
    assert said(app, "/v1/dead-letters/export?sink=none", 404)["detail"].startswith("none: not a remote sink")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("/v1/categories?limit=0", "limit"),
        ("/v1/categories?limit=1001", "limit"),
        ("/v1/categories?limit=x", "limit"),
        ("/v1/categories?limit=1&limit=2", "limit"),
        ("/v1/categories?offset=-1", "offset"),
        ("/v1/categories?sort=first_id", "sort"),
        ("/v1/categories?order=up", "order"),
        ("/v1/categories?page=2", "page"),
        ("/v1/records", "id"),
        ("/v1/records?id=", "id"),
        ("/v1/state?verbose=1", "verbose"),
        ("/v1/dead-letters/export?sink=..%2F..%2Fother", "sink"),
        ("/v1/dead-letters/export?sink=a%00", "sink"),
        ("/v1/dead-letters/export?sink=a%0A", "sink"),
    ],
)
def test_a_bad_query_is_answered_with_400_and_the_name_of_the_parameter(app: ASGIApp, url: str, word: str) -> None:
    problem = said(app, url, 400)
    assert word in problem["detail"]
    assert problem["hint"]


def test_before_the_first_commit_nothing_is_a_fault(shell: Shell) -> None:
    assert shell.call("reset", "--yes") == 0
    app = application_here()
    assert said(app, "/v1/state")["committed"] is None
    assert said(app, "/v1/dead-letters")["count"] == 0
    assert said(app, "/v1/sinks") == {"sinks": [], "snapshots": []}
    for path in ("/v1/categories", "/v1/aggregates", "/v1/sources", "/v1/records?id=1"):
        assert said(app, path, 503)["detail"]


def test_a_state_that_cannot_be_read_is_answered_with_the_way_out(shell: Shell) -> None:
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        shell.path("state", name).write_text("{}")
    problem = said(application_here(), "/v1/state", 503)
    assert "checkpoint.json" in problem["detail"]
    assert problem["hint"]


def test_a_byte_of_a_path_that_is_no_character_is_escaped() -> None:
    assert json_bytes({"path": "caf\udce9"}) == b'{"path":"caf\\udce9"}'


def test_head_is_answered_as_get_without_its_content(app: ASGIApp) -> None:
    assert asked(app, "/healthz", "HEAD").status == 200
    assert asked(app, "/v1/state", "PUT").json["detail"] == "this path does not have that method"
    assert asked(app, "/v1/none").json["hint"] == "see /openapi.json"


def test_a_search_ends_when_its_client_leaves_and_the_next_one_is_answered(app: ASGIApp) -> None:
    async def leaves() -> None:
        messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

        async def receive() -> Message:
            return messages.pop(0)

        async def send(_message: Message) -> None:
            """Nothing reaches a client that is gone."""

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/records",
            "query_string": b"id=1",
            "headers": [(b"host", b"127.0.0.1")],
        }
        await app(scope, receive, send)

    asyncio.run(leaves())
    assert said(app, "/v1/records?id=1")["ids"][1]["accepted"]


def test_two_searches_at_a_time_are_one_too_many(app: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    is_asked, may_go_on = threading.Event(), threading.Event()
    found = explanation.explain

    def slow(*arguments: Any, **options: Any) -> Any:
        is_asked.set()
        assert may_go_on.wait(30)
        return found(*arguments, **options)

    monkeypatch.setattr(records, "explain", slow)
    first: list[int] = []
    thread = threading.Thread(target=lambda: first.append(asked(app, "/v1/records?id=1").status))
    thread.start()
    assert is_asked.wait(30)
    refused = asked(app, "/v1/records?id=2")
    may_go_on.set()
    thread.join(30)
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert first == [200]
