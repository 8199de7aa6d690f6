"""The independent model, against small cases worked out by hand."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from support.reference import CategoryTotal, Fields, Options, Piece, Rejected, evaluate, evaluate_pieces, expansion

FINISHED = Options(finished=True)


def line(event_id: object, category: object = "a", value: object = 1, **others: object) -> bytes:
    return json.dumps({"id": event_id, "category": category, "value": value, **others}).encode()


def log(*lines: bytes) -> bytes:
    return b"".join(one + b"\n" for one in lines)


def counts(accepted: int = 0, duplicate: int = 0, rejected: int = 0, blank: int = 0, late: int = 0) -> dict[str, int]:
    records = accepted + duplicate + rejected + blank
    return {
        "records": records,
        "accepted": accepted,
        "duplicate": duplicate,
        "rejected": rejected,
        "blank": blank,
        "late": late,
    }


def is_accepted(record: bytes, **options: object) -> bool:
    result = evaluate(b"\n" + record, Options(finished=True, fields=Fields(**options)))  # type: ignore[arg-type]
    assert result.counts["records"] == 2
    return result.counts["accepted"] == 1


def test_an_empty_log_gives_nothing() -> None:
    result = evaluate(b"")
    assert (result.counts, result.categories, result.released, result.rejected) == (counts(), {}, [], [])


def test_every_record_has_one_outcome_and_rejected_ones_their_place() -> None:
    content = log(line("x"), b" \t\r", b"nonsense\r", line("x", value=9), b"", b"{}", line("y"))
    result = evaluate(content, source="log")
    assert result.counts == counts(accepted=2, duplicate=1, rejected=2, blank=2)
    assert result.source_counts["log"] == {k: v for k, v in result.counts.items() if k != "late"}
    first = len(line("x")) + 1 + 4
    second = first + 10 + len(line("x")) + 1 + 1
    assert result.rejected == [
        Rejected("log", 0, 3, first, 8, "event"),
        Rejected("log", 0, 6, second, 2, "event"),
    ]


def test_totals_of_a_category_by_hand() -> None:
    content = log(
        line("b", "shop", 0.5, timestamp="2026-01-02T03:04:05.120+01:00"),
        line(7, "shop", 0.25, timestamp="2026-01-01"),
        line("a", "shop", -2),
        line("z", "other", -0.0),
    )
    result = evaluate(content)
    assert result.categories == {
        "other": CategoryTotal(1, 0.0, [], 0.0, 0.0, 0.0, "z", "z", None, 1),
        "shop": CategoryTotal(3, -1.25, [-1.25], -2.0, 0.5, -1.25 / 3, 7, "b", "2026-01-02T02:04:05.12Z", 3),
    }
    assert str(result.categories["other"].min) == "0.0"


def test_a_sum_is_rounded_once_and_its_parts_hold_the_rest() -> None:
    content = log(line(1, value=1e16), line(2, value=1), line(3, value=1), line(4, value=-1e16), line(5, value=1e16))
    total = evaluate(content).categories["a"]
    assert (total.sum, total.sum_parts) == (1e16 + 2, [1e16 + 2])
    assert expansion(Fraction(10**16 + 1)) == [1e16, 1.0]
    tenth = Fraction(0.1)
    assert expansion(3 * tenth) == [0.30000000000000004, float(3 * tenth - Fraction(0.30000000000000004))]
    assert expansion(Fraction(0)) == []


def test_a_torn_last_line_is_a_record_only_in_finished_input() -> None:
    content = log(line(1)) + line(2)
    assert evaluate(content).counts == counts(accepted=1)
    assert evaluate(content, FINISHED).counts == counts(accepted=2)
    assert evaluate(log(line(1)), FINISHED).counts == counts(accepted=1)
    assert evaluate(log(line(1)) + line(2) + b"\r", FINISHED).released == [line(1), line(2)]


def test_only_the_line_feed_cuts_lines() -> None:
    inside = '{"id":"u\u2028\x85v","category":"a","value":1}'.encode()
    assert evaluate(log(inside, line(1) + b"\r", line(2) + b"\r" + line(3))).counts == counts(accepted=2, rejected=1)


def test_a_line_over_the_limit_is_rejected_with_its_length() -> None:
    record = line("x")
    limit = Options(record_bytes_max=len(record))
    assert evaluate(log(record + b"\r"), limit).counts == counts(accepted=1)
    result = evaluate(log(record + b" ", b" " * 99), limit)
    assert [(one.offset, one.length, one.stage) for one in result.rejected] == [
        (0, len(record) + 1, "source"),
        (len(record) + 2, 99, "source"),
    ]


def test_a_byte_order_mark_counts_at_the_start_of_a_file_alone() -> None:
    result = evaluate(b"\xef\xbb\xbf" + log(line(1), b"\xef\xbb\xbf" + line(2)))
    assert result.counts == counts(accepted=1, rejected=1)
    assert result.released == [line(1)]


@pytest.mark.parametrize(
    "event_id", ['"A"', '"\\u0041"', "1", "-0", str(2**63 - 1), str(-(2**63)), json.dumps("x" * 1024), '"\\ud83d\\ude00"']
)
def test_ids_that_are_ids(event_id: str) -> None:
    assert is_accepted(f'{{"id":{event_id},"category":"a","value":1}}'.encode())


@pytest.mark.parametrize(
    "event_id",
    [
        '""',
        "1.0",
        "1e2",
        "true",
        "null",
        "[1]",
        str(2**63),
        str(-(2**63) - 1),
        json.dumps("x" * 1025),
        '"\\ud800"',
        '"\x00"',
        "01",
    ],
)
def test_ids_that_are_none(event_id: str) -> None:
    assert not is_accepted(f'{{"id":{event_id},"category":"a","value":1}}'.encode())


@pytest.mark.parametrize("category", ['""', json.dumps("x" * 257), "1", "null", "false"])
def test_categories_that_are_none(category: str) -> None:
    assert not is_accepted(f'{{"id":1,"category":{category},"value":1}}'.encode())


@pytest.mark.parametrize(
    ("written", "read"),
    [("1", 1.0), ("-0.0", 0.0), ("5e-324", 5e-324), ("1e-999", 0.0), ("0." + "1" * 400, 1 / 9), (str(2**959), 2.0**959)],
)
def test_values_are_read_as_the_nearest_double(written: str, read: float) -> None:
    result = evaluate(log(f'{{"id":1,"category":"a","value":{written}}}'.encode()))
    assert (result.categories["a"].sum, result.categories["a"].max) == (read, read)


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, str(2**960), str(2**960 - 1), '"5"', "true", "null", "[1]", ".5", "+1"],
)
def test_values_that_are_none(value: str) -> None:
    assert not is_accepted(f'{{"id":1,"category":"a","value":{value}}}'.encode())


@pytest.mark.parametrize(
    "record",
    [
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b"{",
        line(1) + line(2),
        line(1)[:-1] + b",}",
        line("x").replace(b"x", b"\xff"),
        line(1, other="x").replace(b'"x"', b'"\\udfff"'),
        line(1, other="x").replace(b"other", b"\\ud800"),
        line(1, other=["x"]).replace(b'"x"', b'"\\ud800\\ud800"'),
        b'{"a":"\\ud800","a":1,' + line(1)[1:],
        line(1, other="x").replace(b"x", b"\n"),
        line(1, other="x").replace(b"x", b"\x01"),
        line(1).replace(b" ", b"\x00"),
    ],
)
def test_records_that_are_none(record: bytes) -> None:
    content = record.replace(b"\n", b"\r")
    assert not is_accepted(content)


def test_nesting_is_allowed_to_a_hundred_levels_the_record_itself_among_them() -> None:
    for levels, accepted in ((99, True), (100, True), (101, False), (5000, False)):
        inner = b"[" * (levels - 1) + b"]" * (levels - 1)
        assert is_accepted(b'{"id":1,"category":"a","value":1,"deep":' + inner + b"}") is accepted
    assert is_accepted(line(1, other='[{"' * 200))


def test_of_a_key_given_twice_the_last_counts() -> None:
    record = b'{"id":1,"id":2,"category":"a","value":"x","value":3}'
    assert evaluate(log(record)).categories["a"].first_id == 2
    assert not is_accepted(b'{"id":1,"category":"a","value":3,"value":"x"}')


def test_an_integer_and_a_string_of_its_digits_are_two_ids_and_an_escape_is_none() -> None:
    content = log(line(1), line("1"), b'{"id":"\\u0031","category":"a","value":1}', line(1))
    assert evaluate(content).counts == counts(accepted=2, duplicate=2)


def test_a_rejected_record_reserves_no_id() -> None:
    assert evaluate(log(line(1, value="x"), line(1), line(1))).counts == counts(accepted=1, duplicate=1, rejected=1)


def test_an_event_of_one_category_too_many_is_rejected_and_reserves_no_id() -> None:
    content = log(line(1, "a"), line(2, "b"), line(1, "b"), line(2, "a"))
    result = evaluate(content, Options(categories_max=1))
    assert result.counts == counts(accepted=2, duplicate=1, rejected=1)
    assert [(one.line, one.stage) for one in result.rejected] == [(2, "totals")]


def test_without_dedup_the_earliest_is_first_and_the_latest_last() -> None:
    content = log(line(1, timestamp=1), line(1, timestamp=2))
    total = evaluate(content, Options(dedup=False)).categories["a"]
    assert (total.count, total.last_timestamp) == (2, "1970-01-01T00:00:02Z")


def test_integers_stand_before_strings_and_strings_go_by_code_point() -> None:
    ids = ["A10", 10, "A2", "A1", 9, "\U0001f600", "\uffff"]
    result = evaluate(log(*[line(one) for one in ids]))
    assert [json.loads(record)["id"] for record in result.released] == [9, 10, "A1", "A10", "A2", "\uffff", "\U0001f600"]
    assert (result.categories["a"].first_id, result.categories["a"].last_id) == (9, "\U0001f600")


def released_ids(ids: list[int], **options: object) -> tuple[list[int], list[int], int]:
    result = evaluate(log(*[line(one) for one in ids]), Options(**options))  # type: ignore[arg-type]
    released, held = ([json.loads(record)["id"] for record in records] for records in (result.released, result.held))
    return released, held, result.counts["late"]


def test_the_order_stage_releases_the_least_when_it_is_over_its_size() -> None:
    assert released_ids([5, 3, 4, 1, 6], buffer_events=2) == ([3, 1, 4, 5, 6], [], 1)
    assert released_ids([5, 3, 4, 1, 6], buffer_events=2, drained=False) == ([3, 1, 4], [5, 6], 1)
    assert released_ids([3, 1, 2], buffer_events=3, drained=False) == ([], [1, 2, 3], 0)


def test_a_late_event_does_not_move_the_line_behind_which_events_are_late() -> None:
    assert released_ids([5, 6, 1, 4, 7], buffer_events=1) == ([5, 1, 4, 6, 7], [], 2)


def test_without_a_buffer_events_pass_in_log_order_and_none_is_late() -> None:
    assert released_ids([5, 3, 4], buffer_events=0) == ([5, 3, 4], [], 0)


def test_order_by_timestamp_keeps_ties_in_their_places_and_refuses_events_without_one() -> None:
    content = log(
        line("c", timestamp="1970-01-01 00:00:02"),
        line("b", timestamp=1),
        line("a", timestamp=1.0),
        line("x", timestamp="soon"),
        line("y"),
    )
    result = evaluate(content, Options(order_by="timestamp", fields=Fields(timestamp_needed=True)))
    assert [json.loads(record)["id"] for record in result.released] == ["b", "a", "c"]
    assert result.counts == counts(accepted=3, rejected=2)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01 00:00:00.509654", "2026-01-01T00:00:00.509654Z"),
        ("2026-01-01T00:00:00.100-05:30", "2026-01-01T05:30:00.1Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
        (0.25, "1970-01-01T00:00:00.25Z"),
        ("2026-01-01T00:00:00.1234567899Z", "2026-01-01T00:00:00.123456789Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60Z", None),
        ("2300-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00+24:00", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01", None),
        ("tomorrow", None),
        (True, None),
        (None, None),
        (10**300, None),
    ],
)
def test_timestamps_have_one_form(written: object, canonical: str | None) -> None:
    assert evaluate(log(line(1, timestamp=written))).categories["a"].last_timestamp == canonical


def test_a_timestamp_without_a_zone_is_in_the_configured_one() -> None:
    options = Options(fields=Fields(timestamp_zone="Europe/Berlin"))
    total = evaluate(log(line(1, timestamp="2026-07-01 12:00:00")), options).categories["a"]
    assert total.last_timestamp == "2026-07-01T10:00:00Z"


def test_an_event_may_be_counted_without_a_value() -> None:
    options = Options(fields=Fields(value_missing="count_only"))
    content = log(line(1, value=3), line(2, value=None), b'{"id":3,"category":"a"}', line(4, value="x"))
    total = evaluate(content, options).categories["a"]
    assert (total.count, total.sum, total.min, total.mean, total.values) == (3, 3.0, 3.0, 3.0, 1)
    counted = evaluate(log(b'{"id":3}'), Options(fields=Fields(category="", value=""))).categories[""]
    assert (counted.count, counted.sum, counted.sum_parts, counted.min, counted.max) == (1, 0.0, [], None, None)


def test_fields_may_stand_deeper_and_several_may_be_the_id() -> None:
    record = b'{"meta":{"host":"h","seq":1,"kind":"a"},"size":{"bytes":2}}'
    fields = {"id": ("meta.host", "meta.seq"), "category": "meta.kind", "value": "size.bytes"}
    assert is_accepted(record, **fields)
    assert not is_accepted(record.replace(b'{"bytes":2}', b"2"), **fields)
    assert not is_accepted(record.replace(b'"seq":1', b'"seq":1.5'), **fields)
    total = evaluate(log(record), Options(fields=Fields(**fields))).categories["a"]  # type: ignore[arg-type]
    assert total.first_id == ("h", 1)


def test_the_position_can_be_the_id() -> None:
    content = log(line(1), line(1))
    total = evaluate(content, Options(fields=Fields(id="@position"))).categories["a"]
    assert (total.first_id, total.last_id) == (("events", 0, 0), ("events", 0, len(line(1)) + 1))


def test_several_sources_are_read_in_the_given_order_and_share_ids() -> None:
    pieces = [
        Piece("one", log(line(3), line(1)) + line(4)[:5]),
        Piece("two", log(line(1), b"bad")),
        Piece("one", line(4)[5:] + b"\n"),
        Piece("two", log(line(2)), generation=1),
    ]
    result = evaluate_pieces(pieces, Options(buffer_events=1))
    assert [json.loads(record)["id"] for record in result.released] == [1, 3, 2, 4]
    assert result.counts == counts(accepted=4, duplicate=1, rejected=1, late=1)
    assert result.source_counts["two"] == {"records": 3, "accepted": 1, "duplicate": 1, "rejected": 1, "blank": 0}
    assert result.rejected == [Rejected("two", 0, 2, len(line(1)) + 1, 3, "event")]
