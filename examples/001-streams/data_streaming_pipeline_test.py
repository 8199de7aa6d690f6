"""The document's test: ten seconds of a stream with faults, against an API with a limit and failures; then figures and a verdict.

`python3 data_streaming_pipeline_test.py` ends with 0 if every target is met, otherwise with 1. `--seconds` shortens the stream.
Owns: the summary. `StreamProcessor` is in `stream_processor.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Final

from models import PipelineMetrics
from stream_processor import StreamProcessor
from streaming_test_framework import DownstreamAPI, stream

OFFERED_PER_S: Final = 20.0
"""More than the API accepts."""
RATE_MIN: Final = 5.0
ERROR_RATE_MAX: Final = 0.30
BACKLOG_MAX: Final = 100

__all__ = ["StreamProcessor", "run", "summary"]


async def run(seconds: float, rate: float = OFFERED_PER_S) -> PipelineMetrics:
    """Processes a stream that lasts so long, and returns the figures after everything was sent."""
    processor = StreamProcessor(DownstreamAPI(), max_concurrent_streams=5)
    await processor.start_processing(stream(seconds, rate))
    await processor.stop_processing()
    return processor.get_metrics()


def misses(metrics: PipelineMetrics) -> list[str]:
    """The targets that are missed."""
    found = []
    if metrics.processing_rate_per_second < RATE_MIN:
        found.append(f"processing rate below {RATE_MIN:g}/sec")
    if metrics.error_rate > ERROR_RATE_MAX:
        found.append(f"error rate above {ERROR_RATE_MAX:.0%}")
    if metrics.backlog_size > BACKLOG_MAX:
        found.append(f"backlog above {BACKLOG_MAX} items")
    return found


def summary(metrics: PipelineMetrics) -> list[str]:
    """The lines of the document, and what it has no line for."""
    by_source = ", ".join(f"{name} {count}" for name, count in sorted(metrics.by_source.items()))
    by_priority = ", ".join(f"{priority}: {count}" for priority, count in sorted(metrics.by_priority.items()))
    missed = misses(metrics)
    return [
        f"📈 Total processed: {metrics.total_processed}",
        f"⚡ Processing rate: {metrics.processing_rate_per_second:.1f}/sec",
        f"🕐 Avg processing time: {metrics.avg_processing_time_ms:.1f}ms",
        f"❌ Error rate: {metrics.error_rate:.1%} (before retries: {metrics.error_rate_before_retries:.1%})",
        f"📦 Final backlog: {metrics.backlog_size}",
        f"🚦 Rate limit hits: {metrics.rate_limit_hits}",
        f"🧹 Rejected by validation: {metrics.rejected}",
        f"   By source: {by_source}",
        f"   By priority: {by_priority}",
        "🎉 All performance requirements met!" if not missed else "💥 Missed: " + "; ".join(missed),
    ]


def main() -> int:
    """Runs the test, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Processes a stream for some seconds, and prints figures and a verdict.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the stream lasts (10)")
    seconds = parser.parse_args().seconds
    print("🚀 Testing Stream Processing Pipeline...")
    print(f"📊 Starting stream processing for {seconds:g} seconds...", flush=True)
    metrics = asyncio.run(run(seconds))
    print("✅ Processing completed!")
    print("\n".join(summary(metrics)))
    return 1 if misses(metrics) else 0


if __name__ == "__main__":
    sys.exit(main())
