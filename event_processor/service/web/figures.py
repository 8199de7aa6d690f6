"""The metrics of a running daemon.

Owns: `/metrics`.
Always: counters come from one checkpoint and from the cursors.
Never: names a metric (`operations/metrics.py`, `operations/job_metrics.py` and `exposition.py` do).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from event_processor.operations.job_metrics import job_families
from event_processor.operations.metrics import lag_seconds, metric_families
from event_processor.service.web.exposition import metrics_answer
from event_processor.service.web.site import Site

__all__ = ["Figures"]

Query = Mapping[str, Any]


class Figures:
    """The answer to a scrape."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def metrics(self, request: Request, _query: Query) -> Response:
        """Every metric, in the format that the Accept field asks for."""
        accepted = request.headers.get("accept", "")
        content, media_type = await self._site.threads.call(lambda: self._encoded(accepted))
        return Response(content, headers={"content-type": media_type})

    def _encoded(self, accepted: str) -> tuple[bytes, str]:
        seen = self._site.readings.seen()
        families = list(metric_families(seen.status, seen.checkpoint))
        figures = self._site.readings.figures
        if seen.checkpoint is not None:
            families += lag_seconds(figures.lag_s, figures.lag_s_by_source)
        if self._site.jobs is not None:
            families += job_families(self._site.jobs.jobs.figures())
        return metrics_answer(families, figures.commits.counts(), accepted)
