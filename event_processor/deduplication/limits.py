"""The sizes of the index: what a pipeline is given, before anything of the index is imported.

Owns: `IndexLimits` and `Geometry`.
Always: the defaults fit every use; tests make them tiny.
Never: does anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Geometry", "IndexLimits"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The rows per block, the least that is read and checked (2 KiB), and the blocks per section (1 MiB)."""

    block_rows: int = 128
    section_blocks: int = 512

    @property
    def section_rows(self) -> int:
        return self.block_rows * self.section_blocks


@dataclass(frozen=True, slots=True)
class IndexLimits:
    """The index's sizes. The defaults fit every use; tests make them tiny."""

    seal_ids: int = 524_288
    """A generation becomes a segment before it holds more (8 MiB). Only a single larger batch makes a larger one."""
    frames_max: int = 131_072
    """Or at the commit at which it has this number of frames in its file: a restart reads them one by one, in 0.2 s."""
    merge_segments: int = 8
    """Segments of level 0 (sealed generations) in one merge. They are small, and quick to search."""
    merge_segments_above: int = 4
    """Segments of a higher level in one merge. Each id is rewritten once per power of this number, and searched in every segment.
    The larger the segments, the more an answer costs, so there should be few."""
    merge_segments_max: int = 64
    """The maximum in one merge. It is reached if merging has fallen behind: then it catches up with fewer passes."""
    geometry: Geometry = field(default_factory=Geometry)
