from pathlib import Path

import pytest

from support.command_line import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    assert shell.call("run", "--once") == 0
    return shell


def test_verify_says_ok_and_0(shell: Shell) -> None:
    assert shell.call("verify") == 0
    assert shell.out == f"ok: 5 records, {shell.path('log.jsonl').stat().st_size} bytes, 1 dead letter\n"


def test_verify_works_while_a_daemon_runs(shell: Shell) -> None:
    with shell.daemon():
        assert shell.call("verify") == 0


def test_verify_names_the_difference_and_says_65(shell: Shell) -> None:
    sink = shell.path("out", "ordered.jsonl")
    sink.write_bytes(sink.read_bytes().replace(b"0.5", b"0.7"))
    assert shell.call("verify") == 65
    assert shell.out.startswith("sinks.ordered (byte ")


def test_verify_as_json_keeps_its_contract(shell: Shell) -> None:
    document = shell.json("verify")
    assert list(document) == [
        "ok",
        "counts",
        "size_bytes",
        "dead_letters",
        "dead_letters_purged",
        "sinks",
        "differences",
        "lost",
        "lost_unlisted",
    ]
    assert (document["ok"], document["differences"]) == (True, [])
    assert list(document["sinks"][0]) == ["name", "path", "size_bytes", "skipped_bytes", "parts", "parts_gone", "not_compared"]
    shell.path("out", "ordered.jsonl").unlink()
    assert shell.call("verify", "--json") == 65
    assert '"ok": false' in shell.out


def test_verify_that_cannot_tell_is_66(shell: Shell) -> None:
    shell.path("log.jsonl").write_bytes(b"")
    assert shell.call("verify") == 66
    assert "source 'log', generation 1" in shell.err


def test_verify_under_another_configuration_is_78(shell: Shell) -> None:
    with shell.path("event-processor.toml").open("a") as configuration:
        configuration.write('[event]\nvalue = ""\n')
    assert shell.call("verify") == 78
    assert "event.value" in shell.err


def test_a_csv_whose_header_came_after_the_lines_before_it_is_verified_as_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part was committed by itself, with another source between, so `verify` reads the header in a part that is not the first."""
    shell = shell_in(tmp_path, monkeypatch, capsys)
    keys = 'format = "csv"\ncsv_skip_lines = 1\ncsv_comment = "#"\ncsv_types = { id = "integer" }'
    shell.path("event-processor.toml").write_text(
        f'[sources.table]\npath = "table.csv"\n{keys}\n[sources.other]\npath = "other.jsonl"\n'
    )
    for number, part in enumerate((b"Export of May\n# by hand\n", b"id,category,value\n", b"1,a,5\n2,b,7\n")):
        with shell.path("table.csv").open("ab") as table, shell.path("other.jsonl").open("ab") as other:
            table.write(part)
            other.write(b'{"id": "o%d", "category": "o", "value": 1}\n' % number)
        assert shell.call("run", "--once") == 0, shell.err
    counts = shell.json("inspect")["sources"]["table"]["counts"]
    assert (counts["blank"], counts["accepted"], counts["rejected"]) == (3, 2, 0)
    assert shell.call("verify") == 0, shell.out + shell.err
