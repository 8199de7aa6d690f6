from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.cli.invocation import Invocation
from event_processor.configuration import (
    ConfigurationFaultsError,
    ConfigurationRequest,
    ConnectorOptions,
    LoadedConfiguration,
    Origin,
    load_configuration,
)
from event_processor.configuration.toml_files import FileFaultError, key_lines, parse
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.model.errors import ExitCode, UsageError
from support.tape_options import TapeOptions

CONNECTOR_OPTIONS = ConnectorOptions(
    sources={"tape": TapeOptions, "disk": TapeOptions},
    sinks={"file": FileSinkOptions, "tape": FileSinkOptions},
    default_type="tape",
    default_sources={"events": {"path": "events/events.jsonl"}},
)


def request(
    folder: Path,
    *config_paths: str,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, tuple[object, str]] | None = None,
) -> ConfigurationRequest:
    return ConfigurationRequest(
        working_directory=str(folder),
        environment=environment or {},
        config_paths=config_paths,
        overrides=overrides or {},
        system_path=str(folder / "etc" / "event-processor.toml"),
    )


def load(folder: Path, text: str = "", *, environment: Mapping[str, str] | None = None) -> LoadedConfiguration:
    (folder / "event-processor.toml").write_text(text, encoding="utf-8")
    return load_configuration(request(folder, environment=environment), CONNECTOR_OPTIONS)


def faults(folder: Path, content: str | bytes) -> list[str]:
    raw = content.encode() if isinstance(content, str) else content
    (folder / "event-processor.toml").write_bytes(raw)
    with pytest.raises(ConfigurationFaultsError) as raised:
        load_configuration(request(folder), CONNECTOR_OPTIONS)
    assert raised.value.exit_code == ExitCode.CONFIGURATION
    return [str(fault) for fault in raised.value.faults]


def test_without_a_file_everything_is_a_default(tmp_path: Path) -> None:
    loaded = load_configuration(request(tmp_path), CONNECTOR_OPTIONS)
    assert loaded.files == ()
    assert list(loaded.configuration.sources) == ["events"]
    assert loaded.configuration.sources["events"].patterns() == (f"{tmp_path}/events/events.jsonl",)
    assert loaded.configuration.state.dir == f"{tmp_path}/state"
    assert set(loaded.origins.values()) == {Origin()}


def test_a_table_that_names_the_default_source_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    source = load(tmp_path, '[sources.events]\ntype = "tape"').configuration.sources["events"]
    assert source.patterns() == (f"{tmp_path}/events/events.jsonl",)


def test_a_named_source_takes_the_place_of_the_default_one(tmp_path: Path) -> None:
    assert list(load(tmp_path, '[sources.a]\npath = "a"').configuration.sources) == ["a"]


def test_files_are_looked_for_here_and_then_for_the_system(tmp_path: Path) -> None:
    system = tmp_path / "etc" / "event-processor.toml"
    system.parent.mkdir()
    system.write_text("[order]\nbuffer_events = 1")
    assert load_configuration(request(tmp_path), CONNECTOR_OPTIONS).files == (str(system),)
    (tmp_path / "event-processor.toml").write_text("[batch]\nlinger_ms = 1")
    loaded = load_configuration(request(tmp_path), CONNECTOR_OPTIONS)
    assert loaded.files == ("event-processor.toml",)
    assert loaded.configuration.order.buffer_events == 1024


def test_the_variable_goes_before_the_usual_places_and_the_option_before_the_variable(tmp_path: Path) -> None:
    for name in ("event-processor.toml", "variable.toml", "option.toml"):
        (tmp_path / name).write_text("")
    environment = {"EVENT_PROCESSOR_CONFIG": "variable.toml"}
    assert load_configuration(request(tmp_path, environment=environment), CONNECTOR_OPTIONS).files == ("variable.toml",)
    assert load_configuration(request(tmp_path, "option.toml", environment=environment), CONNECTOR_OPTIONS).files == (
        "option.toml",
    )
    assert load_configuration(request(tmp_path, environment={"EVENT_PROCESSOR_CONFIG": ""}), CONNECTOR_OPTIONS).files == (
        "event-processor.toml",
    )


def test_later_files_win_tables_are_merged_and_arrays_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[event]\nid = ["x", "y"]\nvalue = "v"\n[sinks.s]\npath = "s.jsonl"')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.toml").write_text('[event]\nid = ["z"]\n[sinks.t]\npath = "t.jsonl"')
    loaded = load_configuration(request(tmp_path, "a.toml", "sub/b.toml"), CONNECTOR_OPTIONS)
    assert loaded.configuration.event.id == ("z",)
    assert loaded.configuration.event.value == "v"
    assert {name: tuple(sink.paths()) for name, sink in loaded.configuration.sinks.items()} == {
        "s": (f"{tmp_path}/s.jsonl",),
        "t": (f"{tmp_path}/sub/t.jsonl",),
    }
    assert loaded.origins["event.id"] == Origin("file", "sub/b.toml", 2)
    assert loaded.origins["event.value"] == Origin("file", "a.toml", 3)
    assert loaded.origins["event.category"] == Origin()


def test_the_command_line_goes_before_the_variable_and_the_variable_before_the_file(tmp_path: Path) -> None:
    text = '[state]\ndir = "from-file"'
    from_file = load(tmp_path, text)
    assert (from_file.configuration.state.dir, str(from_file.origins["state.dir"])) == (
        f"{tmp_path}/from-file",
        "event-processor.toml:2",
    )
    from_variable = load(tmp_path, text, environment={"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"})
    assert (from_variable.configuration.state.dir, str(from_variable.origins["state.dir"])) == ("/var/lib/a", "$STATE_DIRECTORY")
    asked = request(tmp_path, environment={"STATE_DIRECTORY": "/var/lib/a"}, overrides={"state.dir": ("mine", "--state")})
    from_option = load_configuration(asked, CONNECTOR_OPTIONS)
    assert (from_option.configuration.state.dir, str(from_option.origins["state.dir"])) == (f"{tmp_path}/mine", "--state")


def test_every_effective_value_has_an_origin(tmp_path: Path) -> None:
    origins = load(tmp_path, 'sinks.s = {path = "s.jsonl"}\norder.by = "timestamp"').origins
    assert str(origins["sinks.s.path"]) == "event-processor.toml:1"
    assert str(origins["sinks.s.format"]) == "default"
    assert str(origins["order.by"]) == "event-processor.toml:2"


def test_a_pace_is_a_number_or_auto_and_has_one_name(tmp_path: Path) -> None:
    assert load(tmp_path, "").configuration.batch.pace_s is None
    assert load(tmp_path, "batch.pace_ms = 0").configuration.batch.pace_s == 0.0
    assert load(tmp_path, "batch.linger_ms = 50").configuration.batch.pace_s == 0.05
    fault = 'event-processor.toml:1: batch.pace_ms = {}: wanted: a whole number from 0 to 60,000, or "auto"'
    for value in ("-1", "60_001", '"fast"', "0.5", "true"):
        assert faults(tmp_path, f"batch.pace_ms = {value}") == [fault.format(value)]
    both = faults(tmp_path, 'batch.linger_ms = 50\nbatch.pace_ms = "auto"')
    assert both == [
        "event-processor.toml:1: batch.linger_ms = 50: wanted: only pace_ms: linger_ms is its former name, and both are given"
    ]


def test_all_faults_come_at_once_with_file_line_key_value_and_what_is_wanted(tmp_path: Path) -> None:
    text = """\
buffer_events = 3
[evnt]
[order]
by = "timestmp"
bufer_events = 12
buffer_events = "many"
[event]
id = ["a", 5]
[sinks.a]
path = "out.jsonl"
[sinks.b]
path = "./out.jsonl"
hue = "red"
[sinks.c]
type = "kafka"
[sinks.d]
[sources.intake]
path = 5
[dedup]
enabled = 1
[batch]
bytes_max = 1
linger_ms = 1.5
[log]
level = 1979-05-27
"""
    assert faults(tmp_path, text) == [
        "event-processor.toml:1: buffer_events = 3: not a known key; did you mean order.buffer_events?",
        "event-processor.toml:2: evnt: not a known key; did you mean event?",
        'event-processor.toml:4: order.by = "timestmp": wanted: "id" or "timestamp"',
        "event-processor.toml:5: order.bufer_events = 12: not a known key; did you mean order.buffer_events?",
        'event-processor.toml:6: order.buffer_events = "many": wanted: a whole number',
        "event-processor.toml:8: event.id[1] = 5: wanted: a string",
        'event-processor.toml:12: sinks.b.path = "./out.jsonl": wanted: a different path: sinks.a.path writes this file too',
        'event-processor.toml:13: sinks.b.hue = "red": not a known key',
        'event-processor.toml:15: sinks.c.type = "kafka": wanted: "file" or "tape"',
        "event-processor.toml:16: sinks.d.path: wanted: a value: this key has no default",
        "event-processor.toml:17: sources.intake: wanted: another name: this one is the source of retried dead letters",
        "event-processor.toml:18: sources.intake.path = 5: wanted: a path",
        "event-processor.toml:20: dedup.enabled = 1: wanted: true or false",
        "event-processor.toml:22: batch.bytes_max = 1: wanted: 1024 or more",
        "event-processor.toml:23: batch.linger_ms = 1.5: wanted: a whole number",
        'event-processor.toml:25: log.level = 1979-05-27: wanted: "debug", "info", "warning" or "error"',
    ]


def test_an_id_that_is_neither_says_both_that_it_may_be(tmp_path: Path) -> None:
    assert faults(tmp_path, "event.id = 5") == ["event-processor.toml:1: event.id = 5: wanted: a string or an array"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("order = 5", "event-processor.toml:1: order = 5: wanted: a table"),
        ("\n[[sinks]]\npath = 'x'", "event-processor.toml:2: sinks = [a table]: wanted: a table"),
        ("sources.a = 5", "event-processor.toml:1: sources.a = 5: wanted: a table: [sources.NAME]"),
        ("sources.a.type = 5", 'event-processor.toml:1: sources.a.type = 5: wanted: "disk" or "tape"'),
        ("[transformations]", "event-processor.toml:1: transformations: not a known key; did you mean transforms?"),
    ],
)
def test_a_table_of_the_wrong_kind_is_a_fault(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[order]\nby = = 1", "event-processor.toml:2: column 6: not TOML"),
        (b"[order]\nby = [1,", "event-processor.toml:2: not TOML"),
        (b"a = 1\na = 2\n", "event-processor.toml:2: column 6: not TOML"),
        (b"# ok\nby = '\xff'", "event-processor.toml:2: byte 11 is not UTF-8"),
        (b"a = " + b"[" * 20_000, "event-processor.toml: nested too deeply"),
        (b"a = " + b"9" * 5_000, "event-processor.toml: not TOML"),
        (b"#" * ((1 << 20) + 1), "event-processor.toml: larger than 1048576 bytes"),
        (b"\0", "event-processor.toml:1: column 1: not TOML"),
    ],
)
def test_what_is_no_toml_is_a_fault_with_its_place(tmp_path: Path, content: bytes, place: str) -> None:
    (fault,) = faults(tmp_path, content)
    assert fault.startswith(place)


def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path: Path) -> None:
    (tmp_path / "event-processor.toml").write_bytes(b"\xef\xbb\xbf[order]\r\nbuffer_events = 3\r\n")
    assert load_configuration(request(tmp_path), CONNECTOR_OPTIONS).configuration.order.buffer_events == 3


def test_every_file_that_cannot_be_read_is_named_beside_the_faults_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bad.toml").write_text("order.by = 1")
    with pytest.raises(ConfigurationFaultsError) as raised:
        load_configuration(request(tmp_path, "gone.toml", "folder.toml", "bad.toml"), CONNECTOR_OPTIONS)
    assert [str(fault) for fault in raised.value.faults] == [
        'bad.toml:1: order.by = 1: wanted: "id" or "timestamp"',
        "folder.toml: cannot be read: Is a directory",
        "gone.toml: file not found",
    ]
    assert str(raised.value).startswith("3 faults in the configuration:\n  bad.toml:1:")


@pytest.mark.parametrize("key", ["token", "password", "api_key", "client_secret"])
def test_a_secret_that_was_written_into_the_file_is_not_shown(tmp_path: Path, key: str) -> None:
    (fault,) = faults(tmp_path, f'[sinks.a]\npath = "x"\n{key} = "hunter2"')
    assert "hunter2" not in fault
    assert "(not shown)" in fault


def test_a_reference_to_a_secret_is_shown(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '[sinks.a]\npath = "x"\ntoken_file = "/run/token"')
    assert '"/run/token"' in fault


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, f'order.by = "{"x" * 5_000}"')
    assert len(fault) < 200


def test_the_line_of_a_key_is_found_past_strings_over_several_lines() -> None:
    text = 'a = """\nb = 1\n"""\nb = 2\n[t . "u v"]\n  c.d = 3\n[[w]]\ne=4'
    assert key_lines(text) == {
        ("a",): 1,
        ("b",): 4,
        ("t",): 5,
        ("t", "u v"): 5,
        ("t", "u v", "c"): 6,
        ("t", "u v", "c", "d"): 6,
        ("w",): 7,
        ("w[0]",): 7,
        ("w[0]", "e"): 8,
    }


@given(st.binary(max_size=80) | st.text(alphabet="[]=\"a.\n1{},'#", max_size=40).map(str.encode))
def test_whatever_stands_in_a_file_the_answer_is_its_tables_or_a_fault_that_names_it(content: bytes) -> None:
    try:
        answer = parse("x.toml", content, folder="/").path
    except FileFaultError as error:
        answer = str(error)[: len("x.toml")]
    assert answer == "x.toml"


@pytest.mark.parametrize("pattern", ["*/*.jsonl", "state/*", "./state/journal.jsonl", "s*/lo[c]k"])
def test_a_source_that_would_read_our_own_files_is_a_fault(tmp_path: Path, pattern: str) -> None:
    (said,) = faults(tmp_path, f'[sources.all]\npath = "{pattern}"\n')
    assert "a path that leaves out the state directory" in said


@pytest.mark.parametrize("pattern", ["*.jsonl", "events/*.jsonl", "*/events-*.jsonl", "state.jsonl"])
def test_a_source_beside_the_state_directory_is_no_fault(tmp_path: Path, pattern: str) -> None:
    load(tmp_path, f'[sources.all]\npath = "{pattern}"\n')


def test_a_variable_in_a_value_is_that_of_the_environment(tmp_path: Path) -> None:
    text = '[sources.a]\npath = "${LOGS}/a-${KIND}.jsonl"\n[event]\ncategory = "$${KIND}"\n[[transforms]]\nset = { k = "x${KIND}" }\n'
    loaded = load(tmp_path, text, environment={"LOGS": "/var/log", "KIND": "b"})
    path = loaded.configuration.sources["a"].path  # type: ignore[attr-defined]
    assert (path, path.written) == ("/var/log/a-b.jsonl", "${LOGS}/a-${KIND}.jsonl")
    assert loaded.configuration.event.category == "${KIND}"
    assert '"xb"' in loaded.configuration.transforms[0].model_dump_json()


def test_a_relative_path_after_its_variable_starts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[sources.a]\npath = "${NAME}/a.jsonl"\n', environment={"NAME": "logs"})
    assert loaded.configuration.sources["a"].path == str(tmp_path / "logs" / "a.jsonl")  # type: ignore[attr-defined]


def test_a_variable_that_is_not_set_is_one_fault_with_its_name(tmp_path: Path) -> None:
    found = faults(tmp_path, '[sources.a]\npath = "${NO_SUCH}/${NEITHER}"\n[batch]\nbytes_max = "${NUMBER}"\n')
    assert [each.partition(": ")[2] for each in found] == [
        "sources.a.path: wanted: the variable NO_SUCH of the environment, which is not set; write $${NO_SUCH} if you mean the text",
        "batch.bytes_max: wanted: the variable NUMBER of the environment, which is not set; write $${NUMBER} if you mean the text",
    ]


def test_given_values_win_over_files_and_are_as_in_toml(tmp_path: Path) -> None:
    (tmp_path / "event-processor.toml").write_text('[batch]\nbytes_max = 5000\n[event]\nid = "a"\n', encoding="utf-8")
    given = Invocation(
        values=("batch.bytes_max=7_000", 'event.id=["x", "y"]', "event.category=plain", "sources.a.path=logs/a")
    ).overrides()
    loaded = load_configuration(request(tmp_path, overrides=given), CONNECTOR_OPTIONS)
    configuration = loaded.configuration
    assert (configuration.batch.bytes_max, configuration.event.id, configuration.event.category) == (7000, ("x", "y"), "plain")
    assert configuration.sources["a"].path == str(tmp_path / "logs" / "a")  # type: ignore[attr-defined]
    assert str(loaded.origins["batch.bytes_max"]) == "--set"


@pytest.mark.parametrize("argument", ["batch.bytes_max", "=1", "batch..x=1"])
def test_a_given_value_without_a_key_is_a_usage_error(argument: str) -> None:
    with pytest.raises(UsageError, match="not KEY=VALUE"):
        Invocation(values=(argument,)).overrides()


def test_an_unknown_given_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFaultsError) as raised:
        load_configuration(request(tmp_path, overrides=Invocation(values=("batch.byte_max=1",)).overrides()), CONNECTOR_OPTIONS)
    assert "batch.bytes_max" in str(raised.value.faults[0])
    assert str(raised.value.faults[0]).startswith("--set")
