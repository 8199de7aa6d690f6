"""The page and the plot: `docs/benchmarks.md` between its markers, and `docs/benchmarks.svg`, from the results of the last measurements.

Always: what was not measured is not touched; every row says what it promises. Each part has its own machine and day beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import ROOT
from benchmarks.plot import Bar, plot
from benchmarks.results import RESULTS, Json, load_results
from benchmarks.side_by_side import OURS

__all__ = ["PAGE", "PLOT", "bars", "between_markers", "table_of", "write_report"]

PAGE: Final = ROOT / "docs" / "benchmarks.md"
PLOT: Final = ROOT / "docs" / "benchmarks.svg"
PICTURE: Final = "![Nanoseconds an event, side by side](benchmarks.svg)"
NOTHING: Final = "–"
NOTE_CHARACTERS_MAX: Final = 24


def write_report(results: Path = RESULTS, page: Path = PAGE, picture: Path = PLOT) -> list[str]:
    """Writes both; returns the parts that there are results of."""
    documents = load_results(results)
    text = page.read_text(encoding="utf-8")
    for part, document in documents.items():
        if part in TABLES:
            text = between_markers(text, part, table_of(document))
    page.write_text(text, encoding="utf-8")
    found: Json = documents["peers"]["results"] if "peers" in documents else {}
    if bars(found):
        records = max(each.get("records", 0) for each in found.values())
        subtitle = f"deduplicate by id, count and sum per category; slope up to {records:,} records; shorter is better"
        picture.write_text(plot(bars(found), "Nanoseconds an event, side by side", subtitle), encoding="utf-8")
    return sorted(documents)


def between_markers(page: str, name: str, content: str) -> str:
    """The page with `content` between the markers of that name. Raises `ValueError` where they are not there."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"no markers {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def table_of(document: Json) -> str:
    """The tables of one part, with the machine and the day below."""
    made_on = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in made_on["packages"].items())
    place = f"{made_on['cpu']}, {made_on['cores']} cores, {made_on['memory_gb']} GB, {made_on['file_system']}"
    versions = f"Linux {made_on['linux']}, Python {made_on['python']}, {packages}"
    stolen = (
        f" Others on its host took {made_on['stolen_share'] * 100:.0f} % of its processors meanwhile."
        if "stolen_share" in made_on
        else ""
    )
    return f"{TABLES[document['part']](document['results'])}\n\n{document['day']}: {place}, {versions}.{stolen}"


def bars(results: Json) -> list[Bar]:
    """A bar for each that has a figure (a tiny run may give a negative one, which is noise)."""
    return [
        Bar(name, each["wall_ns"], durable=each["durable"], promises=_promises(each), ours=name.startswith(OURS))
        for name, each in results.items()
        if each.get("wall_ns", 0.0) > 0
    ]


def _promises(each: Json) -> str:
    """What stands beside its bar: there is room for a few words."""
    held = ", ".join(name for name in ("durable", "dedup", "exact") if each[name])
    return held or (each["note"] if 0 < len(each["note"]) <= NOTE_CHARACTERS_MAX else "none of the three")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: bool = True) -> str:
    """A Markdown table; all but the first column to the `right`."""
    lines = [" | ".join(head), " | ".join(["---", *["---:" if right else "---"] * (len(head) - 1)])]
    lines += [" | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(each: Json, key: str, form: str, scale: float = 1.0) -> str:
    """One figure, or a dash."""
    if key not in each:
        return NOTHING
    return format(each[key] if scale == 1.0 else each[key] * scale, form)


def _why_not(each: Json) -> str:
    return str(each.get("missing") or each.get("failed") or "").split("\n")[0]


def _peers(results: Json) -> str:
    def row(name: str, each: Json) -> Sequence[object]:
        held = ["yes" if each[promise] else "no" for promise in ("durable", "dedup", "exact")]
        figures = [_shown(each, "wall_ns", ",.0f"), _shown(each, "cpu_ns", ",.0f"), _shown(each, "times_ours", ".2f")]
        rest = [_shown(each, "startup_s", ".1f"), _shown(each, "peak_bytes", ",.0f", 1e-6), _shown(each, "records", ",")]
        return [name, *held, *figures, _shown(each, "times_decode_only", ".2f"), *rest]

    names = sorted(results, key=lambda name: results[name].get("wall_ns", math.inf))
    head = [
        "program",
        "durable",
        "dedup",
        "exact",
        "ns an event",
        "CPU ns",
        "times ours",
        "times decoding",
        "start-up s",
        "peak MB",
        "records",
    ]
    told = [[name, results[name]["describes"], results[name]["note"], _why_not(results[name])] for name in names]
    head_told = ["program", "what it does", "what it does not", "why there is no figure"]
    tables = [_table(head, (row(name, results[name]) for name in names)), _table(head_told, told, right=False)]
    return "\n\n".join([PICTURE, *tables])


def _whole(results: Json) -> str:
    def row(name: str, each: Json) -> Sequence[object]:
        spread = f"{each['wall_ns_min']:,.0f}–{each['wall_ns_max']:,.0f}" if "wall_ns" in each else _why_not(each)
        against = f"{each['times_plain']:.2f} × {each['plain']}" if "plain" in each else NOTHING
        figures = [
            _shown(each, "wall_ns", ",.0f"),
            spread,
            _shown(each, "cpu_ns", ",.0f"),
            _shown(each, "times_decode_only", ".2f"),
            against,
        ]
        return [name, *figures, _shown(each, "written_bytes_per_event", ",.0f"), _shown(each, "peak_bytes", ",.0f", 1e-6)]

    head = ["backlog", "ns an event", "least–most", "CPU ns", "times decoding", "against", "bytes written an event", "peak MB"]
    return _table(head, (row(name, each) for name, each in results.items()))


def _shares(results: Json) -> str:
    def row(name: str, each: Json) -> Sequence[object]:
        if "times_plain" not in each:
            return [name, _shown(each, "wall_ns", ",.0f"), _shown(each, "cpu_ns", ",.0f"), NOTHING, NOTHING, _why_not(each)]
        low, high = each["times_plain_middle"]
        share = f"{(1 - 1 / each['times_plain']) * 100:.0f} %"
        return [
            name,
            _shown(each, "wall_ns", ",.0f"),
            _shown(each, "cpu_ns", ",.0f"),
            f"{each['times_plain']:.2f}",
            f"{low:.2f}–{high:.2f}",
            share,
        ]

    rows = {name: each for name, each in results.items() if not name.startswith("decode only")}
    head = ["backlog", "ns an event", "CPU ns", "times the plain row", "middle half", "of its throughput lost"]
    turns = max(each.get("turns", 0) for each in results.values())
    return _table(head, (row(name, each) for name, each in rows.items())) + f"\n\n{turns} turns."


def _order(results: Json) -> str:
    def row(name: str, each: Json) -> Sequence[object]:
        against, middle = _why_not(each) or NOTHING, NOTHING
        if "plain" in each:
            low, high = each["times_plain_middle"]
            against, middle = f"{each['times_plain']:.2f} × {each['plain']}", f"{low:.2f}–{high:.2f}"
        figures = [_shown(each, "wall_ns", ",.0f"), _shown(each, "cpu_ns", ",.0f"), against, middle]
        rest = [_shown(each, "times_plain_cpu", ".2f"), _shown(each, "peak_bytes", ",.0f", 1e-6)]
        return [name, *figures, *rest, _shown(each, "records", ",")]

    head = ["input of `process`", "ns an event", "CPU ns", "against", "middle half", "of CPU time", "peak MB", "records"]
    return _table(head, (row(name, each) for name, each in results.items()))


def _stages(results: Json) -> str:
    rows = [[each["stage"], each["main_ns"], each["other_ns"] or NOTHING] for each in results["stages"]]
    rows.append(["sum", round(sum(each["main_ns"] for each in results["stages"]), 1), ""])
    words = f"Undisturbed, the same run took {results['undisturbed_ns']:,.0f} ns an event; with clocks {results['with_clocks_ns']:,.0f}."
    return _table(["stage", "main thread, ns an event", "other threads"], rows) + f"\n\n{words}"


def _decode(results: Json) -> str:
    rows = [[name, _shown(each, "ns", ",.0f"), f"{each['rejected']:,}"] for name, each in results["kinds"].items()]
    return _table(["lines", "ns a line", f"rejected of {results['events']:,}"], rows)


def _live(results: Json) -> str:
    def row(rate: str, each: Json) -> Sequence[object]:
        keys = ("median_ms", "p99_ms", "max_ms", "fsync_median_ms", "fsync_p99_ms")
        return [f"{int(rate):,}", *[_shown(each, key, ".2f") for key in keys], f"{each['written_bytes_per_event']:,}",
                f"{each['dirtied_bytes_per_event']:,}", f"{each['cpu_percent']:.1f} %"]  # fmt: skip

    head = ["events a second", "median ms", "p99 ms", "most ms", "fsync median ms", "fsync p99 ms", "bytes written an event",
            "bytes of pages an event", "CPU"]  # fmt: skip
    tables = [_table(head, (row(rate, each) for rate, each in results["rates"].items()))]
    idle = ([f"{int(files):,}", f"{each['cpu_percent']:.2f} %"] for files, each in results["idle"].items())
    tables.append(_table(["watched files, idle", "of a core"], idle))
    restart = results["restart"]
    tables.append(_table(["start to first commit", "caches warm", "state, log and program not cached"],
                         [[f"{restart['records']:,} records", f"{restart['warm_s']:.2f} s", f"{restart['cold_s']:.2f} s"]]))  # fmt: skip
    return "\n\n".join(tables)


def _quiet(results: Json) -> str:
    keys = (
        ("cpu_percent", ".1f"),
        ("bytes_per_event", ",.0f"),
        ("commits_per_s", ".1f"),
        ("median_ms", ",.1f"),
        ("p99_ms", ",.1f"),
        ("resident_bytes", ",.0f", 1e-6),
    )
    shippers = results.get("shippers", {})

    def row(rate: str, name: str, each: Json) -> Sequence[object]:
        times = [_shown(each.get("times", {}), shipper, ".1f") for shipper, why in shippers.items() if not why]
        return [f"{int(rate):,}", name if name in shippers else f"ours, {name}", *[_shown(each, *key) for key in keys], *times]

    head = [
        "events a second",
        "program, pace",
        "% of a core",
        "bytes written an event",
        "commits a second",
        "median ms",
        "p99 ms",
    ]
    head += ["resident MB", *[f"times the CPU of {shipper}" for shipper, why in shippers.items() if not why]]
    rates = (row(rate, pace, each) for rate, paces in results["rates"].items() for pace, each in paces.items())
    rest = results["rest"]
    starts = [[f"`{command}`", f"{seconds:.2f} s"] for command, seconds in rest["starts_cpu_s"].items()]
    of_single = (("single_median_ms", ".1f"), ("single_p90_ms", ".1f"), ("fsync_median_ms", ".1f"), ("single_ratio", ".2f"))
    singles = [[*[_shown(rest, *key) for key in of_single], f"{rest['resident_bytes'] / 1e6:.0f}"]]
    single_head = ["one event after a silence: median ms", "p90 ms", "an fsync ms", "times (fsync + 2 ms)", "resident MB at rest"]
    tables = [_table(head, rates), *[f"{name} has no figure: {why.splitlines()[0]}." for name, why in shippers.items() if why]]
    tables += [*_quiet_stages(results.get("stages", ())), _table(single_head, singles)]
    return "\n\n".join([*tables, _table(["command", "CPU"], starts)])


def _quiet_stages(runs: Sequence[Json]) -> list[str]:
    """Where the CPU time of a commit goes, for each run; none if that was not measured."""
    if not runs:
        return []
    head = ["µs of CPU for a commit", *[f"{run['rate']:,} a second, {run['pace']}" for run in runs], "calls of the file system"]
    rows: list[Sequence[object]] = [
        [stage, *[f"{run['stages'][stage]['cpu_us']:,.0f}" for run in runs], f"{each['calls']:g}"]
        for stage, each in runs[0]["stages"].items()
    ]
    rows.append(["other threads", *[f"{max(0.0, run['other_threads_us']):,.0f}" for run in runs], NOTHING])
    sums = [sum(each["cpu_us"] for each in run["stages"].values()) + run["other_threads_us"] for run in runs]
    calls = sum(each["calls"] for each in runs[0]["stages"].values())
    return [_table(head, [*rows, ["together", *[f"{each:,.0f}" for each in sums], f"{calls:g}"]])]


def _deliver(results: Json) -> str:
    def limited(name: str, each: Json) -> Sequence[object]:
        keys = ("share", "worst_window", "rtt_ms", "requests", "written", "repeats", "failed")
        peaks = (("peak_bytes", ",.0f", 1e-6), ("outbox_bytes_max", ",.0f", 1e-3), ("backlog_max", ",", 1.0))
        return [name, *[each.get(key, NOTHING) for key in keys], *[_shown(each, *peak) for peak in peaks]]

    def slope(name: str, each: Json, key: str) -> Sequence[object]:
        rate = f"{1e9 / each['wall_ns']:,.0f}" if each.get("wall_ns", 0) > 0 else _why_not(each) or NOTHING
        return [name, rate, *[_shown(each, figure, ",.1f", 1e-3) for figure in ("wall_ns", "cpu_ns")], each.get(key, NOTHING)]

    head = ["an API of 15 requests a second", "share of the limit used", "most in a second", "mean RTT ms", "requests under load",
            "records", "repeats", "dead letters", "peak MB of the daemon", "largest outbox kB", "largest backlog"]  # fmt: skip
    tables = [_table(head, (limited(name, each) for name, each in results["limited"].items()))]
    for title, part, key in (("no limit", "unlimited", "share_of_loop"), ("events committed", "commit", "times_live")):
        label = {"share_of_loop": "of the loop's rate", "times_live": "times the live service"}[key]
        rows = (slope(name, each, key) for name, each in results[part].items())
        tables.append(_table([title, "a second", "µs each", "CPU µs each", label], rows))
    return "\n\n".join(tables)


def _sql(results: Json) -> str:
    def row(database: str, name: str, each: Json) -> Sequence[object]:
        rate = f"{1e9 / each['wall_ns']:,.0f}" if each.get("wall_ns", 0) > 0 else _why_not(each) or NOTHING
        times = [_shown(each, key, ",.1f", 1e-3) for key in ("wall_ns", "cpu_ns", "server_cpu_ns")]
        shares = [_shown(each, key, ".2f") for key in ("share_of_loop", "cpu_share_of_loop")]
        return [database, name, rate, *times, *shares, _shown(each, "startup_s", ".1f"), _shown(each, "peak_bytes", ",.0f", 1e-6)]

    head = ["database", "program", "rows a second", "µs each", "CPU µs each", "the server's", "of the loop's rate", "by CPU time",
            "start-up s", "peak MB"]  # fmt: skip
    return _table(head, (row(database, name, each) for database, rows in results.items() for name, each in rows.items()))


def _kafka(results: Json) -> str:
    return _read_from("a topic", results)


def _s3(results: Json) -> str:
    return _read_from("an object", results)


def _read_from(place: str, results: Json) -> str:
    def row(name: str, each: Json) -> Sequence[object]:
        rate = f"{1e9 / each['wall_ns']:,.0f}" if each.get("wall_ns", 0) > 0 else _why_not(each) or NOTHING
        times = [_shown(each, key, ",.1f", 1e-3) for key in ("wall_ns", "cpu_ns", "server_cpu_ns")]
        share = NOTHING
        if "share_of_loop" in each:
            share = f"{each['share_of_loop']:.2f} ({each['share_least']:.2f}–{each['share_most']:.2f}) of {each['beside']}"
        rest = [
            _shown(each, "cpu_share_of_loop", ".2f"),
            _shown(each, "startup_s", ".1f"),
            _shown(each, "peak_bytes", ",.0f", 1e-6),
        ]
        return [name, rate, *times, share, *rest]

    head = [f"from {place}", "records a second", "µs each", "CPU µs each", "the server's", "rate (least–most of the turns)",
            "by CPU time", "start-up s", "peak MB"]  # fmt: skip
    return _table(head, (row(name, each) for name, each in results.items()))


def _intake(results: Json) -> str:
    def row(shape: str, each: Json) -> Sequence[object]:
        rates = [f"{rate:,}" for rate in each["events_per_s"].values()]
        return [shape, *rates, f"{each['share_of_bare']:.2f}", ", ".join(f"{share:.2f}" for share in each["shares_of_bare"])]

    head = ["32 clients", "event-processor, events a second", "a bare application", "share, the median", "share in each turn"]
    return _table(head, (row(shape, each) for shape, each in results.items()))


def _siege(results: Json) -> str:
    rates = [f"{rate:,.1f}" for rate in results["commits_per_s"].values()]
    row = [*rates, f"{results['ratio']:.2f}", ", ".join(f"{each:.2f}" for each in results["ratios"])]
    head = ["commits a second without them", "with them", "ratio, the median", "ratio in each turn"]
    came = ", ".join(f"{name} {count:,} times" for name, count in results["came"].items())
    return f"{_table(head, [row])}\n\nAll of {results['events']:,} events were counted. The clients came: {came}."


def _scale(results: Json) -> str:
    runs: list[tuple[str, Json]] = []
    for kind, each in results.items():
        if kind != "index_only":
            runs.append((kind, each))
            if "in_cgroup" in each:
                runs.append(
                    (f"{kind}, in a cgroup of {each['in_cgroup'].get('memory_bytes', 0) / 1e9:.0f} GB", each["in_cgroup"])
                )

    def times(each: Json) -> str:
        of_all = [f"{ratio:.2f}" for ratio in each.get("late_times_early_all", ())]
        return f"{_shown(each, 'late_times_early', '.2f')}{f' ({of_all[0]}–{of_all[-1]})' if len(of_all) > 1 else ''}"

    def row(name: str, each: Json) -> Sequence[object]:
        why_not = each.get("skipped") or _why_not(each)
        restart = each.get("restart", {})
        return [f"{name}: {why_not}" if why_not else name, _shown(each, "records", ","), _shown(each, "early_ns", ",.0f"),
                _shown(each, "late_ns", ",.0f"), times(each), _shown(each, "anonymous_bytes_max", ",.0f", 1e-6),
                _shown(each, "peak_bytes", ",.0f", 1e-6), _shown(each, "written_bytes_per_event", ".0f"), _shown(each, "checkpoint_bytes", ","),
                f"{_shown(restart, 'warm_s', '.2f')}, {_shown(restart, 'cold_s', '.2f')}"]  # fmt: skip

    head = ["ids", "records", "ns an event, 1–11 %", "last 10 %", "times", "anonymous MB", "peak MB", "bytes written an event",
            "checkpoint bytes", "restart s: warm, cold"]  # fmt: skip
    tables = [_table(head, (row(name, each) for name, each in runs))]
    if "index_only" in results:
        keys = (("ids", ",", 1.0), ("early_ns", ",.0f", 1.0), ("late_ns", ",.0f", 1.0), ("slowest_batch_ms", ",.0f", 1.0),
                ("anonymous_bytes_max", ",.0f", 1e-6), ("written_bytes_per_id", ".0f", 1.0), ("reopen_s", ".2f", 1.0))  # fmt: skip
        rows = [[kind, *[_shown(each, *key) for key in keys]] for kind, each in results["index_only"].items()]
        head = [
            "the index alone",
            "ids",
            "ns an id, 1–11 %",
            "last 10 %",
            "slowest batch ms",
            "anonymous MB",
            "bytes written an id",
            "reopen s",
        ]
        tables.append(_table(head, rows))
    return "\n\n".join(tables)


TABLES: Final[dict[str, Callable[[Any], str]]] = {
    "peers": _peers,
    "whole": _whole,
    "shares": _shares,
    "order": _order,
    "stages": _stages,
    "decode": _decode,
    "live": _live,
    "quiet": _quiet,
    "deliver": _deliver,
    "sql": _sql,
    "kafka": _kafka,
    "s3": _s3,
    "intake": _intake,
    "siege": _siege,
    "scale": _scale,
}
