"""What `[aggregates.NAME]` may say, and what is said where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_processor.assembly import CONNECTOR_OPTIONS
from event_processor.configuration import ConfigurationFaultsError, ConfigurationRequest, load_configuration
from event_processor.configuration.aggregates import Measure
from event_processor.configuration.configuration import Configuration
from event_processor.configuration.parts import config_hash, config_parts

AGGREGATE = """
[aggregates.delivery]
measures = { events = "count", average = "mean( duration )" }
[aggregates.delivery.window]
size_s = 600
"""


def load(folder: Path, text: str) -> Configuration:
    (folder / "event-processor.toml").write_text(text)
    return load_configuration(ConfigurationRequest(working_directory=str(folder)), CONNECTOR_OPTIONS).configuration


def fault(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationFaultsError) as raised:
        load(folder, text)
    (found,) = raised.value.faults
    return str(found).partition(": ")[2]


def test_measures_are_functions_of_fields_and_windows_follow_one_another_by_default(tmp_path: Path) -> None:
    options = load(tmp_path, AGGREGATE).aggregates["delivery"]
    assert options.columns() == (Measure("events", "count", ""), Measure("average", "mean", "duration"))
    assert options.window is not None
    assert options.window.step_s == 600
    assert options.row_names() == ["window_start", "window_end", "events", "average"]


@pytest.mark.parametrize(
    ("changed", "into", "said"),
    [
        (
            '"count"',
            '"median(x)"',
            'aggregates.delivery.measures.events = "median(x)": wanted: "count", or count, sum, mean, min, max, first or last of a field',
        ),
        ('"count"', '"sum"', 'last of a field, such as "mean(duration)"'),
        ('"count"', '"sum(*)"', 'last of a field, such as "mean(duration)"'),
        (
            "[aggregates.delivery]",
            '[aggregates.delivery]\ngroup_by = ["duration.unit"]',
            'wanted: fields that are not inside one another, as "duration.unit" is inside "duration"',
        ),
        (
            '"count"',
            '"mean( )"',
            'last of a field, such as "mean(duration)"',
        ),
        (
            "size_s = 600",
            "size_s = 20_238_336_001",
            "aggregates.delivery.window.size_s = 20_238_336_001: wanted: 20238336000 or less",
        ),
        ("size_s = 600", "size_s = 600\nempty = nan", "aggregates.delivery.window.empty = nan: wanted:"),
        ("size_s = 600", "size_s = 600\nempty = -inf", "aggregates.delivery.window.empty = -inf: wanted:"),
        (
            "size_s = 600",
            "size_s = 20_000_000_000",
            "aggregates.delivery.window.every_s: wanted: a number up to 9,000,000,000: the default, size_s, is larger",
        ),
        ("size_s = 600", "size_s = 0", "aggregates.delivery.window.size_s = 0: wanted: 1 or more"),
        ("size_s = 600", "size_s = 600\nclose = 1", "aggregates.delivery.window.close = 1: not a known key"),
        ("[aggregates.delivery]", "[aggregates.delivery]\ngroup = []", "aggregates.delivery.group = []: not a known key"),
        (
            "[aggregates.delivery]",
            '[aggregates.delivery]\ngroup_by = ["events"]',
            "aggregates.delivery: wanted: a different name for each column of the row",
        ),
        (
            "size_s = 600",
            'size_s = 600\nempty = 0\n[aggregates.other]\nmeasures = {n = "count"}\ngroup_by = ["a"]\nwindow = {size_s = 1, empty = 1}',
            "aggregates.other.window.empty = 1: wanted: no value together with group_by",
        ),
        ("[aggregates.delivery]", '[event]\ntimestamp = ""\n[aggregates.delivery]', "wanted: the field of the timestamp"),
        (
            "size_s = 600",
            'size_s = 600\n[sinks.rows]\ninput = "aggregates.deliveries"\npath = "out"',
            'sinks.rows.input = "aggregates.deliveries": wanted: "events", "dead_letters", "aggregates.delivery"',
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changed: str, into: str, said: str, tmp_path: Path) -> None:
    assert said in fault(tmp_path, AGGREGATE.replace(changed, into, 1))


def test_an_aggregate_without_a_window_has_no_rows_for_a_sink(tmp_path: Path) -> None:
    text = '[aggregates.all]\nmeasures = {n = "count"}\n[sinks.rows]\ninput = "aggregates.all"\npath = "out"'
    assert "an aggregate with a window" in fault(tmp_path, text)


def test_the_state_depends_on_aggregates_and_on_the_order_of_their_columns(tmp_path: Path) -> None:
    texts = ["", AGGREGATE, AGGREGATE.replace("600", "60"), AGGREGATE.replace('events = "count", ', "") + '[event]\nid = "id"']
    swapped = AGGREGATE.replace(
        'events = "count", average = "mean( duration )"', 'average = "mean( duration )", events = "count"'
    )
    hashes = [config_hash(config_parts(load(tmp_path, text))) for text in [*texts, swapped]]
    assert len(set(hashes)) == len(hashes)


def test_a_window_alone_makes_events_wait_for_their_order(tmp_path: Path) -> None:
    without, with_window = load(tmp_path, ""), load(tmp_path, AGGREGATE)
    assert (without.order_is_active, without.timestamps_are_used) == (False, False)
    assert (with_window.order_is_active, with_window.timestamps_are_used) == (True, True)


def test_counting_everything_is_written_in_two_ways_with_one_hash(tmp_path: Path) -> None:
    two = [load(tmp_path, AGGREGATE.replace('"count"', text)) for text in ('"count"', '"count( * )"')]
    assert [options.aggregates["delivery"].columns()[0] for options in two] == [Measure("events", "count", "")] * 2
    assert config_hash(config_parts(two[0])) == config_hash(config_parts(two[1]))


@pytest.mark.parametrize(
    ("written", "size_s", "every_s"),
    [
        ('size = "10m"', 600, None),
        ("size = 600", 600, None),
        ('size = "10m", every = "1m"', 600, 60),
        ('size = "1h 30m", every = "90s"', 5400, 90),
        ('size = "1w", every = "1d"', 604_800, 86_400),
        ('size = "10m", size_s = 600, every_s = 60', 600, 60),
    ],
)
def test_a_window_is_written_as_a_text_or_in_seconds_with_one_hash(
    written: str, size_s: int, every_s: int | None, tmp_path: Path
) -> None:
    text = '[aggregates.a]\nmeasures = { n = "count" }\nwindow = { %s }\n'
    in_seconds = f"size_s = {size_s}" + (f", every_s = {every_s}" if every_s else "")
    one, other = load(tmp_path, text % written), load(tmp_path, text % in_seconds)
    window = one.aggregates["a"].window
    assert window is not None
    assert (window.size_s, window.every_s) == (size_s, every_s)
    assert config_parts(one) == config_parts(other)


def test_seconds_that_follow_from_a_text_come_from_its_line(tmp_path: Path) -> None:
    (tmp_path / "event-processor.toml").write_text(
        '[aggregates.a]\nmeasures = { n = "count" }\n[aggregates.a.window]\nsize = "1m"\n'
    )
    request = ConfigurationRequest(working_directory=str(tmp_path))
    origins = load_configuration(request, CONNECTOR_OPTIONS).origins
    assert str(origins["aggregates.a.window.size_s"]) == "event-processor.toml:4"
    assert str(origins["aggregates.a.window.every_s"]) == "default"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('size = "10 minutes"', 'window.size = "10 minutes": wanted: a time such as "90s", "15m"'),
        ('size = ""', 'window.size = "": wanted: a time such as'),
        ('size = "0s"', 'window.size = "0s": wanted: a time such as'),
        ("size = 1.5", "window.size = 1.5: wanted: a time such as"),
        ('size_s = 60, every = "x"', 'window.every = "x": wanted: a time such as'),
        ('size = "10m", size_s = 60', "wanted: size or size_s, not both with different values"),
    ],
)
def test_a_duration_that_cannot_be_read_is_one_fault(written: str, said: str, tmp_path: Path) -> None:
    assert said in fault(tmp_path, f'[aggregates.a]\nmeasures = {{ n = "count" }}\nwindow = {{ {written} }}\n')


SINK = """
[sinks.rows]
input = "{input}"
path = "out/rows.jsonl"
columns = {columns}
"""


@pytest.mark.parametrize(
    ("input_name", "columns", "unknown", "more"),
    [
        ("aggregates.delivery", ["window_end", "avrage as mean"], "avrage", ""),
        ("dead_letters", ["line", "why"], "why", ""),
        ("events", ["id", "b"], "b", '[[transforms]]\nkeep = ["id", "category", "value", "a"]\n'),
    ],
)
def test_a_column_that_the_input_never_has_is_a_fault(
    tmp_path: Path, input_name: str, columns: list[str], unknown: str, more: str
) -> None:
    said = fault(tmp_path, more + AGGREGATE + SINK.format(input=input_name, columns=columns))
    assert f"wanted: columns of {input_name} (" in said
    assert said.endswith(f'it has no "{unknown}"')


@pytest.mark.parametrize(
    ("input_name", "columns", "more"),
    [
        ("aggregates.delivery", ["window_start", "events as n", '"average"'], ""),
        ("events", ["id", "a.b", "z", "w.x"], '[[transforms]]\nkeep = ["id", "a", "w.x.y"]\n[[transforms]]\nset = { z = 1 }\n'),
        ("events", ["u", "v"], '[[transforms]]\nkeep = ["id"]\n[[transforms]]\nrename = { u = "id" }\nuuid5 = { v = "u" }\n'),
        ("events", ["anything"], '[[transforms]]\nkeep = ["id"]\n[[transforms]]\nclass = "json:JSONDecoder"\n'),
        ("events", ["anything"], ""),
    ],
)
def test_a_column_that_the_input_may_have_is_no_fault(tmp_path: Path, input_name: str, columns: list[str], more: str) -> None:
    load(tmp_path, more + AGGREGATE + SINK.format(input=input_name, columns=columns))
