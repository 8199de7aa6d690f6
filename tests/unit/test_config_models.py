from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import (
    BatchOptions,
    Configuration,
    ConfiguredPath,
    DedupOptions,
    EventOptions,
    LocatedText,
    OrderOptions,
    StateOptions,
    TotalsOptions,
    name_fault,
)
from event_processor.configuration.contradictions import cautions, contradictions
from event_processor.configuration.parts import PartChange, changed_parts, config_hash, config_parts
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.model.event import Json
from support.tape_options import TapeOptions


def configured(
    path: str = "log.jsonl", *, sinks: Mapping[str, str] | None = None, state: str = "state", **sections: object
) -> Configuration:
    context = {"folder": "/srv"}
    return Configuration.model_validate(
        {
            "sources": {"tape": TapeOptions.model_validate({"path": path}, context=context)},
            "sinks": {
                name: FileSinkOptions.model_validate({"path": sink}, context=context) for name, sink in (sinks or {}).items()
            },
            "state": StateOptions.model_validate({"dir": state}, context=context),
            **sections,
        }
    )


def wanted_at(configuration: Configuration) -> list[str]:
    return [key for key, _ in contradictions(configuration)]


@pytest.mark.parametrize(
    ("batch", "buffer_events", "sinks", "note"),
    [
        ({"pace_ms": 5000}, 10, {"out": "out.jsonl"}, "batch.pace_ms = 5000: it is over order.idle_release_ms = 2000."),
        ({"linger_ms": 5000}, 10, {"out": "out.jsonl"}, "batch.linger_ms = 5000: it is over order.idle_release_ms = 2000."),
        ({"pace_ms": 2000}, 10, {"out": "out.jsonl"}, ""),
        ({"pace_ms": "auto"}, 10, {"out": "out.jsonl"}, ""),
        ({"pace_ms": 5000}, 0, {"out": "out.jsonl"}, ""),
        ({"pace_ms": 5000}, 10, {}, ""),
    ],
)
def test_a_pace_that_releases_held_events_late_is_noted(
    batch: Mapping[str, object], buffer_events: int, sinks: Mapping[str, str], note: str
) -> None:
    order = OrderOptions(buffer_events=buffer_events, idle_release_ms=2000)
    found = list(cautions(configured(sinks=sinks, batch=BatchOptions.model_validate(batch), order=order)))
    assert [each.partition(" While")[0] for each in found] == ([note] if note else [])


def test_the_parts_are_what_the_state_depends_on_and_nothing_else() -> None:
    assert config_parts(configured()) == {
        "sources.tape.type": "tape",
        "sources.tape.path": "log.jsonl",
        "event.id": "id",
        "event.category": "category",
        "event.value": "value",
        "event.value_missing": "reject",
        "event.timestamp": "timestamp",
        "event.timestamp_zone": "UTC",
        "event.model": "",
        "dedup.enabled": True,
        "dedup.fingerprint": "xxh3",
        "order.by": "id",
        "order.buffer_events": 1024,
        "totals.categories_max": 100_000,
    }


WINDOWS = {"a": AggregateOptions.model_validate({"measures": {"n": "count"}, "window": {"size_s": 1}})}


@pytest.mark.parametrize(
    ("sections", "by"),
    [
        ({}, "id"),
        ({"aggregates": WINDOWS}, "timestamp"),
        ({"aggregates": WINDOWS, "order": OrderOptions(buffer_events=3)}, "timestamp"),
        ({"aggregates": WINDOWS, "order": OrderOptions(by="id")}, "id"),
        ({"aggregates": {"a": AggregateOptions.model_validate({"measures": {"n": "count"}})}}, "id"),
    ],
)
def test_windows_imply_an_order_by_timestamp_and_the_hash_holds_the_effective_value(sections: dict[str, Any], by: str) -> None:
    found = configured(**sections)
    assert (found.order.by, config_parts(found)["order.by"]) == (by, by)
    assert config_parts(found) == config_parts(configured(**{**sections, "order": found.order.model_copy(update={"by": by})}))


def test_what_only_steers_the_process_does_not_change_the_hash() -> None:
    plain = config_hash(config_parts(configured()))
    steered = configured(batch=BatchOptions(bytes_max=1024), order=OrderOptions(idle_release_ms=0), state="elsewhere")
    assert config_hash(config_parts(steered)) == plain


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"event": EventOptions(value="amount")}, "event.value"),
        ({"event": EventOptions(id=("a", "b"))}, "event.id"),
        ({"event": EventOptions(timestamp_format="epoch_ms")}, "event.timestamp_format"),
        ({"dedup": DedupOptions(enabled=False)}, "dedup.enabled"),
        ({"order": OrderOptions(buffer_events=7)}, "order.buffer_events"),
        ({"totals": TotalsOptions(categories_max=9)}, "totals.categories_max"),
    ],
)
def test_a_change_that_the_state_depends_on_changes_the_hash_and_is_named(section: dict[str, Any], key: str) -> None:
    before, after = config_parts(configured()), config_parts(configured(**section))
    assert config_hash(before) != config_hash(after)
    assert [change.key for change in changed_parts(before, after)] == [key]


def test_a_moved_folder_keeps_the_hash() -> None:
    here, there = (TapeOptions(path=ConfiguredPath(f"{folder}/log.jsonl", "log.jsonl")) for folder in ("/a", "/b"))
    hashes = {config_hash(config_parts(Configuration(sources={"tape": options}))) for options in (here, there)}
    assert len(hashes) == 1


def test_sinks_do_not_change_the_hash() -> None:
    one, other, none = (config_hash(config_parts(configured(sinks=sinks))) for sinks in ({"a": "x"}, {"b": "y"}, {}))
    assert one == other == none


def test_a_change_shows_both_values_and_what_is_absent() -> None:
    changes = changed_parts({"a": 1, "b": "x", "c": True}, {"a": 1, "b": ["x"], "d": 2})
    assert changes == [PartChange("b", "x", ["x"]), PartChange("c", True, None), PartChange("d", None, 2)]
    assert [str(change) for change in changes] == ['b: "x" -> ["x"]', "c: true -> (absent)", "d: (absent) -> 2"]


def test_true_and_one_are_two_values() -> None:
    assert [change.key for change in changed_parts({"a": True}, {"a": 1})] == ["a"]


def test_a_table_whose_keys_come_in_another_order_is_no_change() -> None:
    before: dict[str, Json] = {"a": {"x": 1, "y": 2}, "b": 1}
    after: dict[str, Json] = {"a": {"y": 2, "x": 1}, "b": 2}
    assert [change.key for change in changed_parts(before, after)] == ["b"]


json_parts = st.dictionaries(st.text(max_size=5), st.booleans() | st.integers(-9, 9) | st.text(max_size=3), max_size=6)


@given(json_parts, json_parts)
def test_two_hashes_are_equal_exactly_where_no_part_changed(before: dict[str, Json], after: dict[str, Json]) -> None:
    assert (config_hash(before) == config_hash(after)) == (not changed_parts(before, after))
    assert config_hash(before) == config_hash(dict(reversed(before.items())))


def test_a_path_starts_from_the_folder_of_the_file_that_set_it() -> None:
    options = TapeOptions.model_validate({"path": LocatedText("./in/a.jsonl", "/etc/x")}, context={"folder": "/srv"})
    assert options.path == "/etc/x/in/a.jsonl"
    assert options.path.written == "./in/a.jsonl"


def test_a_default_path_starts_from_the_working_directory() -> None:
    assert TapeOptions.model_validate({}, context={"folder": "/srv"}).path == "/srv/log.jsonl"


def test_a_path_through_a_parent_folder_is_left_to_the_kernel() -> None:
    assert TapeOptions.model_validate({"path": LocatedText("../a", "/srv/link")}).path == "/srv/link/../a"


@pytest.mark.parametrize("path", ["", "a\0b", 5, None])
def test_what_cannot_be_a_path_is_refused(path: object) -> None:
    with pytest.raises(ValidationError, match="a path"):
        TapeOptions.model_validate({"path": path})


def test_two_sinks_do_not_share_a_file() -> None:
    assert wanted_at(configured(sinks={"a": "out/x", "b": "./out//x"})) == ["sinks.b.path"]


@pytest.mark.parametrize(
    ("state", "sink", "is_refused"), [("s", "s/x", True), ("s", "s", True), ("s", "sx", False), ("s", "t/../s/x", True)]
)
def test_a_sink_stays_out_of_the_state_directory(state: str, sink: str, is_refused: bool) -> None:
    assert wanted_at(configured(sinks={"a": sink}, state=state)) == (["sinks.a.path"] if is_refused else [])


@pytest.mark.parametrize(
    ("source", "sink", "is_refused"),
    [
        ("log.jsonl", "log.jsonl", True),
        ("logs/*.jsonl", "logs/out.jsonl", True),
        ("logs/*.jsonl", "logs/out/x.jsonl", False),
        ("a[1].jsonl", "a[1].jsonl", True),
        ("log.jsonl", "out.jsonl", False),
    ],
)
def test_a_sink_does_not_write_what_a_source_reads(source: str, sink: str, is_refused: bool) -> None:
    assert wanted_at(configured(source, sinks={"a": sink})) == (["sinks.a.path"] if is_refused else [])


def test_an_order_by_timestamp_needs_a_timestamp() -> None:
    without = EventOptions(timestamp="")
    assert wanted_at(configured(event=without, order=OrderOptions(by="timestamp"))) == ["event.timestamp"]
    assert wanted_at(configured(event=without)) == []


@pytest.mark.parametrize(
    ("kind", "name", "is_refused"),
    [
        ("sources", "a-B_9", False),
        ("sources", "a.b", True),
        ("sources", "", True),
        ("sources", "é", True),
        ("sources", "x" * 65, True),
        ("sources", "x\n", True),
        ("sources", "intake", True),
        ("sinks", "intake", False),
    ],
)
def test_a_name_is_a_bare_key_and_not_reserved(kind: str, name: str, is_refused: bool) -> None:
    assert bool(name_fault(kind, name)) == is_refused


def test_a_form_of_timestamps_is_a_name_or_a_pattern_of_a_date() -> None:
    assert EventOptions(timestamp_format=("%d.%m.%Y", "epoch_ms")).timestamp_formats == ("%d.%m.%Y", "epoch_ms")
    assert EventOptions().timestamp_formats == ("auto",)
    for wrong in ("rfc3339", "%H:%M", ("auto", "%Y-%m-%d %Q"), ()):
        with pytest.raises(ValidationError):
            EventOptions.model_validate({"timestamp_format": wrong})


@pytest.mark.parametrize("zone", ["UTC", "Europe/Lisbon"])
def test_a_known_zone_is_taken(zone: str) -> None:
    assert EventOptions(timestamp_zone=zone).timestamp_zone == zone


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Europe", "a\0"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="time zone"):
        EventOptions(timestamp_zone=zone)


@pytest.mark.parametrize("reference", ["shop", "shop:", ":Order", "shop Order", "shop:Order()", "1shop:Order"])
def test_a_model_is_named_by_package_and_class(reference: str) -> None:
    with pytest.raises(ValidationError, match=r"package\.module:Model"):
        EventOptions(model=reference)


@pytest.mark.parametrize("fields", [(), ("a", ""), ("@position", "a"), "", 5])
def test_an_id_is_a_field_or_several_or_the_position_alone(fields: object) -> None:
    with pytest.raises(ValidationError):
        EventOptions.model_validate({"id": fields})


def test_a_section_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        OrderOptions().by = "timestamp"  # type: ignore[misc]
