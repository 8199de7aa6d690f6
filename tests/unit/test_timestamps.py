"""Reading timestamps: by hand, and against the standard library."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.columns.number_texts import written_number
from event_processor.columns.timestamps import TimestampReader, canonical
from event_processor.model.errors import ConfigurationError
from event_processor.model.time_patterns import pattern_fault

NS = 1_000_000_000
NEW_YEAR_2026_S = 1_767_225_600
BERLIN = TimestampReader("Europe/Berlin")
READER = TimestampReader("UTC")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR_2026_S * NS),
        ("2026-01-01t00:00:00z", NEW_YEAR_2026_S * NS),
        ("2026-01-01 00:00:00", NEW_YEAR_2026_S * NS),
        ("2026-01-01T00:00:00", NEW_YEAR_2026_S * NS),
        ("2026-01-01T00:00:00.5Z", NEW_YEAR_2026_S * NS + 500_000_000),
        ("2026-01-01 00:00:00.000001", NEW_YEAR_2026_S * NS + 1_000),
        ("2026-01-01T00:00:00.123456789Z", NEW_YEAR_2026_S * NS + 123_456_789),
        ("2026-01-01T00:00:00.1234567899Z", NEW_YEAR_2026_S * NS + 123_456_789),
        ("2026-01-01T02:30:00+02:30", NEW_YEAR_2026_S * NS),
        ("2025-12-31T18:30:00-05:30", NEW_YEAR_2026_S * NS),
        ("2026-01-01T00:00:00-00:00", NEW_YEAR_2026_S * NS),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * NS),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * NS),
        ("2017-01-01T01:59:60.25+02:00", 1_483_228_800 * NS + 250_000_000),
        ("1677-09-21T00:12:43.145224193Z", -(2**63) + 1),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("2026-01-01", NEW_YEAR_2026_S * NS),
        ("2026-01-01 00:00:00,25", NEW_YEAR_2026_S * NS + 250_000_000),
        ("2026-01-01T02:00:00.5+0200", NEW_YEAR_2026_S * NS + 500_000_000),
        ("01/Jan/2026:01:00:00 +0100", NEW_YEAR_2026_S * NS),
    ],
)  # fmt: skip
def test_a_timestamp_is_the_instant_that_it_spells(text: str, ns: int) -> None:
    assert READER.read(text) == ns


@pytest.mark.parametrize(
    "raw",
    [
        "", "now", "2026-01", "2026-1-01", "2026-01-1", "20260101", "2026-01-32", "2026-01-01T00:00Z", "2026-1-1T00:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+2:00",
        "2026-01-01T00:00:00+02", "01/01/2026:01:00:00 +0100", "01/Jan/2026:01:00:00", "1/Jan/2026:01:00:00 +0100", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+02:60", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T12:00:60Z", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n", "2026-01-01  00:00:00", "2026/01/01 00:00:00", "２０２６-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
        None, True, False, [], {}, [1],
    ],
)  # fmt: skip
def test_what_is_no_timestamp_is_said_to_be_none(raw: object) -> None:
    assert READER.read(raw) is None
    assert READER.explain(raw) == "is not a timestamp"


@pytest.mark.parametrize(
    "raw",
    [
        "1677-09-21T00:12:43Z",
        "2262-04-12T00:00:00Z",
        "2300-01-01T00:00:00Z",
        9_223_372_037,
        -(10**30),
        1e300,
        -9.3e9,
        float("inf"),
    ],
)
def test_an_instant_beyond_64_bits_of_nanoseconds_is_out_of_range(raw: object) -> None:
    assert READER.read(raw) is None
    assert READER.explain(raw) == "is not between 1677-09-21 and 2262-04-11"


@pytest.mark.parametrize(
    ("formats", "raw", "words"),
    [
        (["auto"], 1767225600123, '"epoch_ms"'),
        (["auto"], 1767225600123456, '"epoch_us"'),
        (["auto"], 1767225600123456789, '"epoch_ns"'),
        (["auto"], "1767225600", '"epoch_s"'),
        (["auto"], "1767225600123", '"epoch_ms"'),
        (["epoch_s"], 1767225600123, '"epoch_ms"'),
    ],
)
def test_a_number_in_another_unit_is_said_to_look_like_it(formats: list[str], raw: object, words: str) -> None:
    reader = TimestampReader("UTC", formats)
    assert reader.read(raw) is None
    assert reader.explain(raw).endswith(f"timestamp_format = {words}")


@pytest.mark.parametrize(("form", "digits"), [("epoch_s", 9), ("epoch_ms", 6), ("epoch_us", 3), ("epoch_ns", 0)])
def test_a_number_or_its_text_is_read_in_the_unit_that_is_configured(form: str, digits: int) -> None:
    """By its digits: the expected instant is the number times a power of ten, to the nearest, ties to even."""
    reader = TimestampReader("UTC", [form])
    texts = [
        "0",
        "-1",
        "1767225600",
        "1767225600123",
        "1767225600123.5",
        "-12.25",
        "17672256.0000000005",
        "9223372036854775807",
        "12.3456789015",
    ]
    expected = [round(Fraction(text) * 10**digits) for text in texts]
    wanted = [ns if abs(ns) < 2**63 else None for ns in expected]
    assert [reader.read(text) for text in texts] == wanted
    assert [reader.read(int(text) if text.lstrip("-").isdigit() else written_number(text)) for text in texts] == wanted
    encoded = ",".join(texts).encode()
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1
    begins = ends - np.array([len(text) for text in texts], np.int64)
    for read in (reader.read_spans, reader.read_numbers):
        ns, bad = read(encoded, begins, ends)
        assert [None if no else one for one, no in zip(ns.tolist(), bad.tolist(), strict=True)] == wanted
    assert reader.read("2026-01-01T00:00:00Z") is None
    assert reader.read("1e9") is None


def test_with_a_pattern_no_number_is_a_timestamp() -> None:
    reader = TimestampReader("UTC", ["%d.%m.%Y"])
    assert reader.read("31.01.2026") == (NEW_YEAR_2026_S + 30 * 86_400) * NS
    assert reader.read(NEW_YEAR_2026_S) is None
    assert reader.explain("2026-01-31") == "is not a timestamp in the form '%d.%m.%Y'"
    both = TimestampReader("UTC", ["%d.%m.%Y", "auto"])
    assert [both.read(raw) for raw in ("01.01.2026", "2026-01-01", NEW_YEAR_2026_S)] == [NEW_YEAR_2026_S * NS] * 3


def test_an_instant_up_to_the_year_9999_is_read_for_what_can_hold_it() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert READER.read("9999-12-31") is None
    assert READER.read_wide("9999-12-31") == last // timedelta(microseconds=1) * 1000
    assert canonical(READER.read_wide("9999-12-31T23:59:59.5Z") or 0) == "9999-12-31T23:59:59.5Z"
    assert canonical(READER.read_wide("0001-01-01") or 0) == "0001-01-01T00:00:00Z"
    assert READER.read_wide(10**30) is None


def test_a_fraction_of_a_fixed_number_of_digits_is_cut_and_filled() -> None:
    assert canonical(0, 6) == "1970-01-01T00:00:00.000000Z"
    assert canonical(1_999_999_999, 3) == "1970-01-01T00:00:01.999Z"
    assert canonical(1_999_999_999, 0) == "1970-01-01T00:00:01Z"
    assert canonical(-1, 9) == "1969-12-31T23:59:59.999999999Z"


PATTERNS = [
    "%Y/%m/%d %H:%M:%S.%f", "%d/%b/%Y:%H:%M:%S %z", "%d.%m.%Y %H:%M", "%b %d %Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%A, %d %B %Y %H:%M:%S",
    "%y-%j %H", "%m/%d/%Y", "%a %b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%S%z",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    times=st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2067, 12, 31)), min_size=1, max_size=8),  # noqa: DTZ001
    offset=st.sampled_from(["+0000", "+0130", "-05:00"]),
    plain=st.booleans(),
    spoilt=st.integers(0, 40),
)
def test_a_pattern_is_read_as_the_standard_library_reads_it(
    pattern: str, times: list[datetime], offset: str, plain: bool, spoilt: int
) -> None:
    texts = [time.strftime(pattern.replace("%z", offset)) for time in times]
    if plain:
        texts = [text.replace("/0", "/") for text in texts]
    texts[0] = texts[0][:spoilt] + "x" + texts[0][spoilt + 1 :] if spoilt < len(texts[0]) else texts[0]
    expected = [read_by_the_library(text, pattern) for text in texts]
    reader = TimestampReader("UTC", [pattern])
    assert [reader.read(text) for text in texts] == expected
    ns, bad = reader.read_all(texts)
    assert [None if no else one for one, no in zip(ns.tolist(), bad.tolist(), strict=True)] == expected


def read_by_the_library(text: str, pattern: str) -> int | None:
    try:
        found = datetime.strptime(text, pattern)  # noqa: DTZ007 -- a text without an offset is in UTC here
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def test_local_times_of_the_days_on_which_clocks_change_are_read_together_as_each_alone() -> None:
    """Each tenth minute of two such days, among them hours that are skipped and hours that occur twice."""
    texts = [f"2026-{day} {minute // 60:02d}:{minute % 60:02d}:00" for day in ("03-29", "10-25") for minute in range(0, 1440, 10)]
    assert BERLIN.read_all(texts)[0].tolist() == [BERLIN.read(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(times=st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=30))  # noqa: DTZ001
def test_local_times_read_together_are_read_as_each_alone(times: list[datetime]) -> None:
    reader = TimestampReader("America/New_York", ["%d.%m.%Y %H:%M:%S"])
    auto = TimestampReader("America/New_York")
    texts = [time.strftime("%d.%m.%Y %H:%M:%S") for time in times]
    alone = [auto.read(time.strftime("%Y-%m-%d %H:%M:%S")) for time in times]
    assert [reader.read(text) for text in texts] == alone
    assert reader.read_all(texts)[0].tolist() == alone
    assert auto.read_all([time.strftime("%Y-%m-%d %H:%M:%S") for time in times])[0].tolist() == alone


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("%H:%M:%S", "no whole date"),
        ("%b %d %H:%M:%S", "no whole date"),
        ("%Y-%m-%d %Q", "%Q, which is not read"),
        ("%Y-%m-%d %I", "%I and %p together"),
        ("%Y-%m-%d %Y", "%Y twice"),
        ("%Y-%m-%d%", "ends with %"),
    ],
)
def test_a_pattern_that_names_no_date_is_a_fault_of_the_configuration(pattern: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        TimestampReader("UTC", [pattern])


@pytest.mark.parametrize(
    ("raw", "ns"),
    [
        (0, 0),
        (-1, -NS),
        (NEW_YEAR_2026_S, NEW_YEAR_2026_S * NS),
        (1.5, 1_500_000_000),
        (-0.25, -250_000_000),
        (0.1, 100_000_000),
        (1767225600.1, 1_767_225_600_100_000_000),
        (5e-10, 0),  # half a nanosecond: ties to even
        (1.5e-9, 2),
        (1767225600.1234567, 1_767_225_600_123_456_700),
        (1 / 2**31 / 1e9, 0),
    ],
)
def test_epoch_seconds_are_read_to_the_nearest_nanosecond(raw: float, ns: int) -> None:
    assert READER.read(raw) == ns


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-15 12:00:00", "2026-01-15T11:00:00Z"),
        ("2026-07-15 12:00:00", "2026-07-15T10:00:00Z"),
        ("2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),  # occurs twice: the first time, still in summer time
        ("2026-03-29 02:30:00", "2026-03-29T01:30:00Z"),  # skipped: as if the clocks had not been put forward yet
        ("2026-07-15 12:00:00Z", "2026-07-15T12:00:00Z"),
    ],
)
def test_a_timestamp_without_an_offset_is_in_the_configured_zone(text: str, utc: str) -> None:
    assert BERLIN.read(text) == READER.read(utc)
    assert BERLIN.read_all([text, text])[0].tolist() == [READER.read(utc)] * 2


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_a_zone_that_is_not_known_is_a_fault_of_the_configuration(zone: str) -> None:
    with pytest.raises(ConfigurationError, match="timestamp_zone"):
        TimestampReader(zone)


instants = st.datetimes(datetime(1678, 1, 1), datetime(2261, 12, 31))  # noqa: DTZ001 -- local, the offset is put beside it
offsets = st.integers(-1439, 1439).map(
    lambda minutes: f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A valid timestamp, or one with a character changed."""
    fraction = draw(st.sampled_from(["", "", ".5", ",5", ".000001", ".123456789", ".1234567891"]))
    zone = draw(st.one_of(st.sampled_from(["Z", "Z", "z", "", "+0230"]), offsets))
    text = (
        draw(instants).strftime("%Y-%m-%d")
        + draw(st.sampled_from("TTt "))
        + draw(instants).strftime("%H:%M:%S")
        + fraction
        + zone
    )
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from("0123456789-:.TZ+ xé٣")) + text[at + 1 :]
    return text


@settings(max_examples=150, deadline=None)
@given(
    raw=st.lists(
        st.one_of(spellings(), st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-30T00:00:00Z"])), min_size=1, max_size=12
    )
)
def test_texts_read_together_are_read_as_each_alone(raw: list[str]) -> None:
    ns, bad = READER.read_all(raw)
    assert [None if no else one for one, no in zip(ns.tolist(), bad.tolist(), strict=True)] == [READER.read(text) for text in raw]


@settings(max_examples=300, deadline=None)
@given(st.lists(spellings(), max_size=12), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_texts_read_where_they_stand_are_read_as_each_alone(raw: list[str], zone: str) -> None:
    reader = TimestampReader(zone)
    encoded = [text.encode() for text in raw]
    ends = np.cumsum([len(text) + 1 for text in encoded], dtype=np.int64)
    begins = ends - np.array([len(text) for text in encoded], np.int64)
    ns, bad = reader.read_spans(b"".join(b"," + text for text in encoded), begins, ends)
    expected = [reader.read(text) for text in raw]
    assert [None if is_bad else instant for instant, is_bad in zip(ns.tolist(), bad.tolist(), strict=True)] == expected


@settings(max_examples=100, deadline=None)
@given(
    raw=st.lists(
        st.one_of(st.floats(-1e10, 1e10), st.floats(), st.integers(-(2**70), 2**70), st.none(), st.booleans(), spellings()),
        max_size=8,
    )
)
def test_mixed_values_read_together_are_read_as_each_alone(raw: list[object]) -> None:
    ns, bad = READER.read_all(raw)
    assert [None if no else one for one, no in zip(ns.tolist(), bad.tolist(), strict=True)] == [READER.read(one) for one in raw]


@settings(max_examples=200, deadline=None)
@given(raw=st.lists(st.floats(-9.2e9, 9.2e9), min_size=1, max_size=5))
def test_floats_are_read_by_their_shortest_decimal_text_to_the_nearest_nanosecond(raw: list[float]) -> None:
    ns, bad = READER.read_all(raw)
    assert not bad.any()
    assert ns.tolist() == [round(Fraction(repr(seconds)) * NS) for seconds in raw]


@settings(max_examples=200, deadline=None)
@given(local=instants, offset=offsets, separator=st.sampled_from("Tt "))
def test_rfc_3339_is_read_as_the_standard_library_reads_it(local: datetime, offset: str, separator: str) -> None:
    text = local.isoformat(separator) + offset
    elapsed = datetime.fromisoformat(local.isoformat() + offset) - datetime(1970, 1, 1, tzinfo=UTC)
    assert READER.read(text) == elapsed // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (500_000_000, "1970-01-01T00:00:00.5Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (10 * NS, "1970-01-01T00:00:10Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_the_canonical_form_has_as_many_digits_as_it_needs(ns: int, text: str) -> None:
    assert canonical(ns) == text


@given(ns=st.integers(-(2**63) + 1, 2**63 - 1))
def test_the_canonical_form_is_read_as_the_same_instant(ns: int) -> None:
    assert READER.read(canonical(ns)) == ns


@pytest.mark.parametrize(("pattern", "other"), [("%Y-%j %m", "m"), ("%j %b %Y", "b"), ("%B %Y %j", "B")])
def test_a_day_of_the_year_beside_a_month_is_refused_since_they_could_contradict_each_other(pattern: str, other: str) -> None:
    assert pattern_fault(pattern) == f"has both %j and %{other}"
