"""The recipes of docs/logs.md, each on a sample in the documented form of its program, against an independent count."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in

PAGE = Path(__file__).parents[2] / "docs" / "logs.md"
LINES_MAX = 10
Row = tuple[str, str | None, datetime | None]
"""What the independent reading knows of an event: its category, the text of its value, its time."""


def access() -> str:
    return (
        '203.0.113.9 - - [10/Oct/2026:13:55:36 +0200] "GET /a?b=1 HTTP/1.1" 200 2326 "-" "Mozilla/5.0 (X11; Linux)"\n'
        '2001:db8::1 - frank m [10/Oct/2026:13:55:37 +0200] "GET /caf\\xC3\\xA9 HTTP/1.1" 404 153 "http://x/\\"q\\"" "curl/8"\n'
        '203.0.113.9 - - [10/Oct/2026:11:55:38 +0000] "\\x16\\x03\\x01" 400 - "-" "-"\n'
        '203.0.113.9 - - [10/Oct/2026:13:55:39 +0200] "POST /a HTTP/2.0" 200 5 "-" "x"\n'
    )


def access_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        found = re.search(r'\[(\d+)/Oct/(\d+):(\d+):(\d+):(\d+) \+0(\d)00\] "(?:\\.|[^"\\])*" (\d+) (\S+)', line)
        assert found
        day, year, hour, minute, second, offset = map(int, found.groups()[:6])
        at = datetime(year, 10, day, hour, minute, second, tzinfo=timezone(timedelta(hours=offset)))
        yield found[7], None if found[8] == "-" else found[8], at


def access_json() -> str:
    rows = [
        ("a1", "200", "0.004", "1791637200.123"),
        ("a2", "502", "60.000", "1791637201.004"),
        ("a3", "200", "0.100", "1791637201.999"),
    ]
    return "".join(
        f'{{"request_id":"{name}","msec":"{msec}","status":"{status}","request_time":{took}}}\n'
        for name, status, took, msec in rows
    )


def access_json_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        said = json.loads(line, parse_float=str)
        seconds, _, ms = said["msec"].partition(".")
        yield said["status"], said["request_time"], datetime.fromtimestamp(int(seconds), UTC) + timedelta(milliseconds=int(ms))


def trail() -> str:
    names = ["ConsoleLogin", "PutObject", "PutObject"]
    records = [
        {
            "eventVersion": "1.08",
            "userIdentity": {"type": "IAMUser", "sessionContext": {"attributes": {"mfaAuthenticated": "false"}}},
            "eventTime": f"2026-07-19T21:17:2{n}Z",
            "eventName": name,
            "eventID": f"e-{n}",
            "resources": [{"ARN": "arn:aws:s3:::b"}],
        }
        for n, name in enumerate(names)
    ]
    return json.dumps({"Records": records})


def trail_rows(text: str) -> Iterator[Row]:
    for each in json.loads(text)["Records"]:
        yield each["eventName"], None, datetime.strptime(each["eventTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def traces() -> str:
    def span(number: int, name: str) -> dict[str, object]:
        started = 1544712660000000000 + number * 1_000_000
        return {
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": f"{number:016x}",
            "name": name,
            "startTimeUnixNano": str(started),
        }

    batches = [[span(1, "GET /"), span(2, "query")], [span(3, "query")]]
    documents = [
        {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}]}]}
        for spans in batches
    ]
    return "".join(json.dumps(document) + "\n" for document in documents)


def traces_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    us = int(span["startTimeUnixNano"]) // 1000
                    yield span["name"], None, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def quakes() -> str:
    return (
        "DateTime,Latitude,Longitude,Depth,Magnitude,MagType,NbStations,Gap,Distance,RMS,Source,EventID\n"
        "2016/01/01 00:30:04.91,38.7882,-122.7650,2.00,1.06,Md,12,84,1,0.02,NC,72573000\n"
        "2016/01/01 01:02:03.50,36.5,-121.1,5.1,2.31,ML,40,52,3,0.07,NC,72573005\n"
        "2016/01/02 00:00:00.00,36.5,-121.1,5.1,0.10,Md,9,152,3,0.07,NC,72573010\n"
    )


def quakes_rows(text: str) -> Iterator[Row]:
    for row in csv.DictReader(text.splitlines()):
        at = datetime.strptime(row["DateTime"], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
        yield row["MagType"], row["Magnitude"], at


def sheet() -> str:
    return (
        "\ufeffid;date;category;text;amount\r\n"
        '1;31.01.2026;4711;"Miete\r\nJanuar; bar";-950,50\r\n'
        '2;1.02.2026;4712;"sagt ""ja""";12,25\r\n'
        "3;02.02.2026;4711;;1000\r\n"
    )


def sheet_rows(text: str) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=";"):
        yield row["category"], row["amount"].replace(",", "."), datetime.strptime(row["date"], "%d.%m.%Y").replace(tzinfo=UTC)


def journal() -> str:
    return "".join(
        json.dumps(
            {
                "__CURSOR": f"s=1;i={n}",
                "__REALTIME_TIMESTAMP": str(1791637200123456 + n),
                "__MONOTONIC_TIMESTAMP": "91",
                "PRIORITY": priority,
                "_SYSTEMD_UNIT": "ssh.service",
                "MESSAGE": message,
            }
        )
        + "\n"
        for n, (priority, message) in enumerate([("6", "started"), ("3", [102, 195]), ("6", "stopped")])
    )


def journal_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        said = json.loads(line)
        yield said["PRIORITY"], None, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(said["__REALTIME_TIMESTAMP"]))


def container() -> str:
    return "".join(
        json.dumps({"log": f"line {n}\n", "stream": stream, "time": f"2026-10-10T11:55:3{n}.12345600{n}Z"}) + "\n"
        for n, stream in enumerate(["stdout", "stderr", "stdout"])
    )


def container_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        said = json.loads(line)
        yield said["stream"], None, datetime.fromisoformat(said["time"][:26] + "+00:00")


def app() -> str:
    return "2026-10-10 11:55:36,120 INFO app.db: ready\n2026-10-10 11:55:37,5 ERROR app.web: no: such file\n"


def app_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        date, time, level = line.split(" ")[:3]
        seconds, _, fraction = time.partition(",")
        at = datetime.fromisoformat(f"{date}T{seconds}+00:00") + timedelta(milliseconds=int(fraction.ljust(3, "0")))
        yield level, None, at


def syslog() -> str:
    return (
        "<34>1 2026-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8\n"
        "<165>1 2026-10-11T22:14:16.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.\n"
        '<165>1 2026-10-11T22:14:17.003Z m su - ID47 [x@32473 iut="3"][y@1 a="b c"] An application event\n'
    )


def syslog_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        words = line.split(" ")
        yield words[3], None, datetime.fromisoformat(words[1])


def messages() -> str:
    return (
        "Oct  1 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8\n"
        "<13>Oct 11 22:14:16 mymachine sshd[812]: Accepted publickey for root\n"
        "Oct 11 22:14:17 mymachine kernel: [   12.000] eth0: link is up\n"
        "Oct 11 22:14:18 mymachine sshd[813]: Accepted: no\n"
    )


def messages_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        yield line.split(": ")[0].split(" ")[-1].partition("[")[0], None, None


def iis() -> str:
    head = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Date: 2026-10-10 11:55:00\n"
    fields = "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer)"
    head += f"#Fields: {fields} sc-status sc-substatus sc-win32-status time-taken\n"
    return (
        f"{head}2026-10-10 11:55:36 10.0.0.5 GET /a.htm - 80 - 203.0.113.9 Mozilla/5.0+(Windows+NT+10.0) - 200 0 0 15\n"
        f"2026-10-10 11:55:37 10.0.0.5 POST /a q=1 80 DOMAIN\\me 203.0.113.9 curl/8 http://x/ 500 0 64 1203\n"
        f"{head}2026-10-10 12:00:01 10.0.0.5 GET / - 80 - 203.0.113.10 - - 200 0 0 7\n"
    )


def iis_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        if not line.startswith("#"):
            words = line.split(" ")
            yield words[11], words[14], datetime.fromisoformat(f"{words[0]}T{words[1]}+00:00")


def haproxy() -> str:
    said = "Feb  6 12:14:1{} localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2026:12:14:1{}] {}\n"
    return (
        said.format(
            4, "4.655", 'http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /a HTTP/1.1"'
        )
        + said.format(5, "5.001", 'http-in~ static/<NOSRV> -1/-1/-1/-1/0 503 212 - - SC-- 1/1/1/1/0 0/0 "GET / HTTP/1.1"')
        + said.format(6, "6.020", 'http-in static/srv2 1/0/3/6/+12 200 9 - - ---- 1/1/1/1/0 0/0 "GET /[b]: HTTP/1.1"')
    )


def haproxy_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        words = line.split(" haproxy[14389]: ")[1].split(" ")
        at = datetime.strptime(words[1], "[%d/%b/%Y:%H:%M:%S.%f]").replace(tzinfo=UTC)
        yield words[5], words[4].split("/")[-1], at


def postgres() -> str:
    return (
        '2026-10-10 11:55:36.120 UTC,"app","shop",812,"10.0.0.7:51",6ad0.32c,1,"SELECT",2026-10-10 11:50:00 UTC,3/17,0,ERROR,'
        '42P01,"relation ""x"" does not exist",,,,,,"select *\nfrom x",15,,"psql","client backend",,0\n'
        '2026-10-10 11:55:37.004 UTC,,,700,,6ad0.2bc,1,,2026-10-10 11:50:00 UTC,,0,LOG,00000,"checkpoint, time",,,,,,,,,"","x",,0\n'
        '2026-10-10 11:55:37.004 UTC,,,700,,6ad0.2bc,2,,2026-10-10 11:50:00 UTC,,0,LOG,00000,"done",,,,,,,,,"","x",,0\n'
    )


def postgres_rows(text: str) -> Iterator[Row]:
    for cells in csv.reader(io.StringIO(text, newline="")):
        yield cells[11], None, datetime.strptime(cells[0], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)


def balancer() -> str:
    end = '- - arn:aws:x "Root=1-5" "-" "-" 0 2026-10-10T11:55:36.185000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1'
    start = "http 2026-10-10T11:55:3{}Z app/lb/50dc6c495c0c9188 192.168.131.39:2817"
    return (
        start.format("6.186641") + f' 10.0.0.1:80 0.000 0.001 0.000 200 200 34 366 "GET http://x:80/ HTTP/1.1" "curl/7.46.0" {end}\n'
        + start.format("7.000000") + f' - -1 -1 -1 502 - 34 366 "- http://x:80- -" "Mozilla/5.0 (X11; \\x22q\\x22)" {end}\n'
        + start.format("8.000000") + f' 10.0.0.1:80 0.1 0.2 0.1 200 200 34 12 "GET http://x:80/b HTTP/1.1" "-" {end}\n'
    )  # fmt: skip


def balancer_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        words = line.split(" ")
        yield words[8], words[11], datetime.fromisoformat(words[1])


def caddy() -> str:
    request = {"remote_ip": "127.0.0.1", "method": "GET", "uri": "/", "headers": {"User-Agent": ["curl/7.82.0"]}}
    return "".join(
        json.dumps({"level": "info", "ts": at, "msg": "handled request", "request": request, "duration": took, "status": status})
        + "\n"
        for at, took, status in [(1791637200.25, 0.000929675, 200), (1791637201.5, 1.5, 502), (1791637202.75, 0.25, 200)]
    )


def caddy_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        said = json.loads(line)
        yield str(said["status"]), repr(said["duration"]), datetime.fromtimestamp(said["ts"], UTC)


def gelf() -> str:
    return "".join(
        json.dumps({"version": "1.1", "host": host, "short_message": "m", "timestamp": at, "level": level}) + "\n"
        for at, host, level in [(1791637200.25, "a", 1), (1791637201, "b", 6), (1791637202.5, "a", 6)]
    )


def gelf_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        said = json.loads(line)
        yield said["host"], None, datetime.fromtimestamp(said["timestamp"], UTC)


SAMPLES = {
    "access.log": (access, access_rows),
    "access.json.log": (access_json, access_json_rows),
    "trail.json": (trail, trail_rows),
    "traces.json": (traces, traces_rows),
    "quakes.csv": (quakes, quakes_rows),
    "sheet.csv": (sheet, sheet_rows),
    "journal.json": (journal, journal_rows),
    "container-json.log": (container, container_rows),
    "app.log": (app, app_rows),
    "syslog.log": (syslog, syslog_rows),
    "messages": (messages, messages_rows),
    "iis.log": (iis, iis_rows),
    "haproxy.log": (haproxy, haproxy_rows),
    "postgresql.csv": (postgres, postgres_rows),
    "balancer.log": (balancer, balancer_rows),
    "caddy.log": (caddy, caddy_rows),
    "gelf.log": (gelf, gelf_rows),
}


def recipes() -> dict[str, str]:
    """The configurations of the page, by the name of the file that each reads."""
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return {re.search(r'^path = "(.*)"', block, re.MULTILINE)[1]: block for block in blocks}  # type: ignore[index]


def test_every_recipe_is_short_and_has_a_sample() -> None:
    assert recipes().keys() == SAMPLES.keys()
    assert max(block.count("\n") for block in recipes().values()) <= LINES_MAX


@pytest.mark.parametrize("name", SAMPLES)
def test_a_recipe_gives_what_an_independent_script_counts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell: Shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text(recipes()[name], encoding="utf-8")
    make, read = SAMPLES[name]
    text = make()
    shell.path(name).write_bytes(text.encode())
    assert shell.call("process", name) == 0, shell.err
    rows = list(read(text))
    assert f"{len(rows)} accepted, 0 duplicate, 0 rejected" in shell.err
    found = {each["category"]: each for each in map(json.loads, shell.out.splitlines())}
    assert found.keys() == {category for category, _, _ in rows}
    for category, total in found.items():
        mine = [(value, at) for each, value, at in rows if each == category]
        assert total["count"] == len(mine)
        assert total["sum"] == float(sum(Fraction(float(value)) for value, _ in mine if value is not None))
        last = total["last_timestamp"] and re.sub(r"(\.\d{6})\d*Z", r"\1Z", total["last_timestamp"])
        assert (last and datetime.fromisoformat(last)) == mine[-1][1]
