"""Events over HTTP: `POST /v1/events`.

Owns: when posted records are taken, and the answer to each of them.
Always: `appended` means durable. An answer names each record's position, so a client can ask for its outcome.
Never: says what a record will count as (the pipeline does, when it reads it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from event_processor.model.errors import LockedError
from event_processor.model.rejections import Rejection
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.intake_writer import IntakeWriter, OpenIntake
from event_processor.service.web.posted import PostedJudge, decompressed, posted_records
from event_processor.service.web.pressure import Pressure
from event_processor.service.web.site import Site

__all__ = ["Intake"]

THREAD_BYTES_MIN: Final = 65_536
"""A smaller body is judged faster than a thread is woken."""
Query = Mapping[str, Any]


class _Line(msgspec.Struct, omit_defaults=True):
    """The answer to one record: appended at a position, or invalid for a reason."""

    status: str
    position: str = ""
    reason: str = ""
    field: str = ""


class Intake:
    """Takes posted records. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site
        configuration = site.readings.configuration
        self._is_enabled: Final = configuration.intake.enabled
        self._pressure: Final = Pressure(configuration, site.readings.environment.clock)
        self._judge: PostedJudge | None = None
        if self._is_enabled:
            self._judge = PostedJudge(configuration)

    async def post(self, request: Request, _query: Query) -> Response:
        """202 if a record is durable, otherwise 422; with the answer to each record."""
        writer, opened = self._open()
        records = await self._records(request)
        if not records:
            return json_answer({"appended": 0, "invalid": 0, "lines": []}, 422)
        rejections = await self._judged(records)
        valid = records
        if rejections:
            invalid = {each.row for each in rejections}
            valid = [record for row, record in enumerate(records) if row not in invalid]
        generation = opened.generation()
        offset = await _durable(writer, valid) if valid else 0
        lines = _lines_of(records, rejections, generation, offset)
        answer = {"appended": len(valid), "invalid": len(rejections), "lines": lines}
        return json_answer(answer, 202 if valid else 422)

    def _open(self) -> tuple[IntakeWriter, OpenIntake]:
        """What takes records now. Raises `ProblemError` if nothing does."""
        if not self._is_enabled:
            raise ProblemError(404, "this pipeline takes no events over HTTP", hint="set intake.enabled = true")
        writer = self._site.intake
        opened = writer.opened if writer is not None else None
        if writer is None or opened is None:
            raise ProblemError(503, "the pipeline is being opened", hint="send it again", headers={"Retry-After": "1"})
        self._pressure.require_room(opened)
        return writer, opened

    async def _records(self, request: Request) -> Sequence[bytes]:
        headers = request.headers
        try:
            body = await request.body()
        except ClientDisconnect as error:
            raise ProblemError(400, "the client left before its body was complete") from error
        bytes_max = self._site.options.body_bytes_max
        body = decompressed(body, headers.get("content-encoding", "").strip().lower(), bytes_max)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return posted_records(body, media_type)

    async def _judged(self, records: Sequence[bytes]) -> Sequence[Rejection]:
        judge = self._judge
        assert judge is not None, "it is enabled"
        if judge.is_slow or sum(map(len, records)) >= THREAD_BYTES_MIN:
            return await self._site.threads.call(lambda: judge.judge(records))
        return judge.judge(records)


async def _durable(writer: IntakeWriter, records: Sequence[bytes]) -> int:
    """Appends records. Returns the offset of the first when all are durable."""
    content = b"\n".join(records) + b"\n"
    try:
        # If the client leaves meanwhile, the records are appended all the same, without an answer.
        return await asyncio.shield(writer.submit(content))
    except LockedError as error:
        raise ProblemError(503, error.message, hint="send it again", headers={"Retry-After": "1"}) from error


def _lines_of(records: Sequence[bytes], rejections: Sequence[Rejection], generation: int, offset: int) -> list[_Line]:
    """The answer to each record, in order. The first that is valid was appended at `offset`."""
    reasons = {each.row: each for each in rejections}
    lines = []
    for row, record in enumerate(records):
        if reasons and (rejection := reasons.get(row)) is not None:
            lines.append(_Line("invalid", reason=rejection.reason, field=rejection.field))
            continue
        lines.append(_Line("appended", f"{generation}:{offset}"))
        offset += len(record) + 1
    return lines
