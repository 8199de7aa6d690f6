import errno
import json
import stat
from pathlib import Path

import pytest

from event_processor import __version__
from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.cli.init import write_template
from event_processor.kernels.library import LIBRARY
from event_processor.model.errors import ExitCode, StorageError
from event_processor.storage.durable import OperatingSystem


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path


def configure(text: str) -> None:
    Path("event-processor.toml").write_text(text, encoding="utf-8")


class FullAfterCreate(OperatingSystem):
    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("options", [(), ("--full",)])
def test_init_writes_a_configuration_that_is_right(
    options: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", *options, "new/place"], COMMANDS) == ExitCode.OK
    written = folder / "new" / "place" / "event-processor.toml"
    assert stat.S_IMODE(written.stat().st_mode) & 0o137 == 0
    assert "new/place/event-processor.toml" in capsys.readouterr().out
    assert run(["validate", "--config", str(written)], COMMANDS) == ExitCode.OK


def test_init_does_not_touch_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure("mine")
    assert run(["init"], COMMANDS) == ExitCode.USAGE
    assert Path("event-processor.toml").read_text(encoding="utf-8") == "mine"
    assert "this file already exists" in capsys.readouterr().err


def test_init_does_not_follow_a_link_that_leads_nowhere(folder: Path) -> None:
    Path("event-processor.toml").symlink_to(folder / "elsewhere")
    assert run(["init"], COMMANDS) == ExitCode.USAGE
    assert not (folder / "elsewhere").exists()


def test_init_on_a_full_disk_leaves_no_half_of_a_configuration(folder: Path) -> None:
    with pytest.raises(StorageError):
        write_template(FullAfterCreate(), str(folder / "event-processor.toml"), "x")
    assert list(folder.iterdir()) == []


def test_config_is_toml_with_the_origin_behind_each_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure('[order]\nby = "timestamp"\n')
    assert run(["config", "--state", "s"], COMMANDS) == ExitCode.OK
    lines = {line.partition(" = ")[0]: line.partition(" = ")[2].split() for line in capsys.readouterr().out.splitlines()}
    assert lines["order.by"] == ['"timestamp"', "#", "event-processor.toml:2"]
    assert lines["order.buffer_events"] == ["1024", "#", "default"]
    assert lines["state.dir"] == [f'"{folder}/s"', "#", "--state"]


def test_config_as_json_keeps_its_contract(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure('[sinks.out]\npath = "out.jsonl"\n')
    assert run(["config", "--json"], COMMANDS) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["files", "config_hash", "configuration", "origins"]
    assert document["files"] == ["event-processor.toml"]
    assert document["configuration"]["sinks"]["out"]["path"] == f"{folder}/out.jsonl"
    assert document["origins"]["sinks.out.path"] == {"from": "file", "place": "event-processor.toml", "line": 2}
    assert document["origins"]["dedup.enabled"] == {"from": "default", "place": None, "line": None}
    assert len(bytes.fromhex(document["config_hash"])) == 16


def test_the_state_directory_of_systemd_is_said_to_come_from_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/event-processor")
    assert run(["config", "--json"], COMMANDS) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["configuration"]["state"]["dir"] == "/var/lib/event-processor"
    assert document["origins"]["state.dir"] == {"from": "environment", "place": "STATE_DIRECTORY", "line": None}


def test_validate_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    configure("")
    assert run(["validate"], COMMANDS) == ExitCode.OK
    assert capsys.readouterr().out == "ok: event-processor.toml\n"


def test_validate_as_json_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "--json"], COMMANDS) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == {"ok": True, "files": [], "faults": [], "sinks": []}


SINKS = """
[sinks.growing]
path = "out/ordered.jsonl"
[sinks.parts]
path = "out/part-{n}.jsonl"
part_events = 10
[services.api]
base_url = "http://127.0.0.1:9"
[sinks.remote]
type = "http"
service = "api"
[sinks.own]
type = "python"
class = "collections:OrderedDict"
"""


def test_validate_says_what_each_sink_guarantees_and_by_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure(SINKS)
    assert run(["validate"], COMMANDS) == ExitCode.OK
    *lines, _ = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["sink growing", "exactly once, for readers that stop at the committed length"],
        ["sink parts", "exactly once, in the parts with their final names"],
        ["sink remote", "at least once, with a stable key"],
        ["sink own", "at least once, with a stable key"],
    ]
    assert run(["validate", "--json"], COMMANDS) == ExitCode.OK
    sinks = json.loads(capsys.readouterr().out)["sinks"]
    assert [list(sink) for sink in sinks] == [["name", "type", "guarantee", "by"]] * 4
    assert [sink["type"] for sink in sinks] == ["file", "file", "http", "python"]
    assert "Idempotency-Key" in sinks[2]["by"]


def test_validate_says_every_fault_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure("[order]\nby = 1\nbuffer = 2\n")
    assert run(["validate"], COMMANDS) == ExitCode.CONFIGURATION
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "event-processor: 2 faults in the configuration:",
        '  event-processor.toml:2: order.by = 1: wanted: "id" or "timestamp"',
        "  event-processor.toml:3: order.buffer = 2: not a known key; did you mean order.buffer_events?",
        "  fix these, then run 'event-processor validate'",
    ]


def test_validate_as_json_keeps_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    configure("[order]\nbuffer = 2\n")
    assert run(["validate", "--json"], COMMANDS) == ExitCode.CONFIGURATION
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "ok": False,
        "files": ["event-processor.toml"],
        "faults": [
            {
                "from": "file",
                "place": "event-processor.toml",
                "line": 2,
                "key": "order.buffer",
                "value": "2",
                "wanted": "a known key",
                "suggestion": "order.buffer_events",
                "message": "event-processor.toml:2: order.buffer = 2: not a known key; did you mean order.buffer_events?",
            }
        ],
    }


def test_a_configuration_that_is_not_there_is_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "--config", "gone.toml"], COMMANDS) == ExitCode.CONFIGURATION
    assert "gone.toml: file not found" in capsys.readouterr().err


def test_version_as_json_keeps_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"], COMMANDS) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["event_processor", "python", "kernels", "dependencies"]
    assert document["kernels"] is (LIBRARY is not None)
    assert document["event_processor"] == __version__
    assert {"msgspec", "numpy", "orjson", "pydantic", "rich", "typer", "watchdog", "xxhash"} <= document["dependencies"].keys()


def test_version_says_the_same_on_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"], COMMANDS) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"event-processor {__version__}\npython 3.")


def test_validate_names_the_files_beside_a_log_that_are_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("events").mkdir()
    Path("events/events.jsonl").touch()
    Path("events/events.jsonl.bak").touch()
    assert run(["validate", "--json"], COMMANDS) == ExitCode.OK
    [remark] = json.loads(capsys.readouterr().out)["remarks"]
    assert remark.startswith("sources.events: ")
    assert "events.jsonl.bak: beside the log, but not read" in remark
