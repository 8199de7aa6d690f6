"""The plot of the programs side by side, as SVG written by hand: bars, shorter is better, readable on light and dark.

Always: the scale is linear and the same for all; a bar beyond `LONGEST_TIMES` times ours is cut, and says so by a gap and its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Bar", "plot"]

WIDTH: Final = 920
BARS_X: Final = 270
BARS_WIDTH: Final = 370
ROW: Final = 34
BAR: Final = 18
TOP: Final = 96
LONGEST_TIMES: Final = 12.0
TICKS: Final = 5
STEPS: Final = (1, 2, 2.5, 5)
STYLE: Final = """
    text { font: 13px system-ui, sans-serif; fill: #24292f; }
    .title { font-size: 16px; font-weight: 600; }
    .quiet { fill: #57606a; font-size: 12px; }
    .ours { font-weight: 600; }
    .durable { fill: #1a7f6b; }
    .fleeting { fill: #b4532a; }
    .grid { stroke: #d0d7de; stroke-width: 1; }
    .gap { stroke: #ffffff; stroke-width: 4; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .quiet { fill: #9198a1; }
      .durable { fill: #3fb89f; }
      .fleeting { fill: #e0805a; }
      .grid { stroke: #3d444d; }
      .gap { stroke: #0d1117; }
    }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One program: nanoseconds an event, whether what it counted survives a crash, what else it promises, whether it is this one."""

    name: str
    ns: float
    durable: bool
    promises: str
    ours: bool = False


def plot(bars: Sequence[Bar], title: str, subtitle: str) -> str:
    """The plot, the fastest on top. `bars` is not empty."""
    ordered = sorted(bars, key=lambda bar: bar.ns)
    cap_ns = LONGEST_TIMES * min([bar.ns for bar in ordered if bar.ours] or [ordered[-1].ns])
    top_ns = min(cap_ns, ordered[-1].ns)
    step_ns = _step(top_ns)
    scale = BARS_WIDTH / top_ns
    height = TOP + ROW * len(ordered) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"  <title>{escape(title)}</title>",
        f"  <style>{STYLE}  </style>",
        f'  <text class="title" x="16" y="28">{escape(title)}</text>',
        f'  <text class="quiet" x="16" y="48">{escape(subtitle)}</text>',
    ]
    bottom = TOP + ROW * len(ordered)
    for tick in range(int(top_ns / step_ns) + 1):
        x = BARS_X + tick * step_ns * scale
        parts.append(f'  <line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}"/>')
        label = f"{tick * step_ns:,.0f}{' ns' if tick == 0 else ''}"
        parts.append(f'  <text class="quiet" x="{x:.1f}" y="{TOP - 14}" text-anchor="middle">{label}</text>')
    for row, bar in enumerate(ordered):
        parts += _bar(bar, TOP + row * ROW, scale, cap_ns)
    parts += _legend(bottom + 28)
    return "\n".join([*parts, "</svg>", ""])


def _step(top_ns: float) -> float:
    """A round distance between two lines of the grid."""
    power = 1.0
    while True:
        for step in STEPS:
            if top_ns / (power * step) <= TICKS:
                return power * step
        power *= 10


def _bar(bar: Bar, y: int, scale: float, cap_ns: float) -> list[str]:
    """One row: the name, the bar, its number and what it promises."""
    end = BARS_X + min(bar.ns, cap_ns) * scale
    middle = y + BAR - 4
    parts = [
        f'  <text x="{BARS_X - 12}" y="{middle}" text-anchor="end"{_bold(bar)}>{escape(bar.name)}</text>',
        f'  <rect class="{"durable" if bar.durable else "fleeting"}" x="{BARS_X}" y="{y}" width="{end - BARS_X:.1f}" height="{BAR}" rx="2"/>',
    ]
    if bar.ns > cap_ns:
        parts.append(f'  <line class="gap" x1="{end - 26:.1f}" y1="{y + BAR + 3}" x2="{end - 18:.1f}" y2="{y - 3}"/>')
    parts.append(
        f'  <text x="{end + 8:.1f}" y="{middle}"{_bold(bar)}>{bar.ns:,.0f} ns <tspan class="quiet" dx="4">{escape(bar.promises)}</tspan></text>'
    )
    return parts


def _bold(bar: Bar) -> str:
    return ' class="ours"' if bar.ours else ""


def _legend(y: int) -> list[str]:
    """What the colours mean."""
    return [
        f'  <rect class="durable" x="{BARS_X}" y="{y - 11}" width="12" height="12" rx="2"/>',
        f'  <text class="quiet" x="{BARS_X + 18}" y="{y}">durable: what is counted survives a crash</text>',
        f'  <rect class="fleeting" x="{BARS_X + 280}" y="{y - 11}" width="12" height="12" rx="2"/>',
        f'  <text class="quiet" x="{BARS_X + 298}" y="{y}">not durable: in memory until the end</text>',
    ]
