"""Events over HTTP: `POST /v1/events`.

Owns: when posted records are taken, and the answer to each of them.
Always: `appended` means durable. An answer names each record's position, so a client can ask for its outcome. If anything fails after
the append, the answer is as if the client had not waited long enough.
Never: decides what a record counts as (the pipeline does, when it reads it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, zip_longest
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from event_processor.model.errors import EventProcessorError, LockedError
from event_processor.service.web.answers import ProblemError, json_answer, json_bytes
from event_processor.service.web.intake_writer import IntakeWriter, OpenIntake, Taken
from event_processor.service.web.posted import PostedJudge, decompressed, posted_records
from event_processor.service.web.pressure import Pressure
from event_processor.service.web.receipts import Receipts, wait_of
from event_processor.service.web.site import Site

__all__ = ["Intake"]

Query = Mapping[str, Any]


class _Invalid(msgspec.Struct, omit_defaults=True, tag_field="status", tag="invalid"):
    """The answer to a record that was not appended. `field` is left out if the fault is of none."""

    reason: str
    field: str = ""


class Intake:
    """Takes posted records. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site
        configuration = site.readings.configuration
        self._is_enabled: Final = configuration.intake.enabled
        self._pressure: Final = Pressure(configuration, site.readings.environment.clock)
        self._receipts: Final = Receipts(site)
        self._wait_s_max: Final = configuration.intake.wait_s_max
        self._judge: PostedJudge | None = None
        if self._is_enabled:
            self._judge = PostedJudge(configuration)

    async def post(self, request: Request, _query: Query) -> Response:
        """202 if a record is durable, 200 if the client waited until all are counted, otherwise 422; with the answer to each record."""
        if not self._is_enabled:
            raise ProblemError(404, "this pipeline takes no events over HTTP", hint="set intake.enabled = true")
        # Before a refusal too: after an answer to half a request the connection is closed, and a client that comes again finds it so.
        records = await self._records(request)
        writer, opened = self._open()
        if not records:
            return json_answer({"appended": 0, "invalid": 0, "lines": []}, 422)
        assert self._judge is not None, "it is enabled"
        taken = await _taken(writer.submit(records, self._judge, opened))
        generation = taken.generation
        invalid = len(taken.rejections)
        appended = len(records) - invalid
        outcomes: Sequence[str] = ()
        begin, status, headers = "{", 202 if appended else 422, {}
        wait_s = wait_of(request.headers.get("prefer", ""), self._wait_s_max) if appended else None
        if wait_s is not None:
            is_counted, outcomes = await self._waited(records, taken, wait_s)
            begin, status = f'{{"counted":{str(is_counted).lower()},', 200 if is_counted else 202
            headers = {"Preference-Applied": f"wait={wait_s:.0f}"}
        lines = _lines_of(records, taken, generation, outcomes)
        content = f'{begin}"appended":{appended},"invalid":{invalid},"lines":[{",".join(lines)}]}}'
        return Response(content, status, headers, media_type="application/json")

    async def _waited(self, records: Sequence[bytes], taken: Taken, wait_s: float) -> tuple[bool, Sequence[str]]:
        """Whether all appended records are counted, and then what each counted as. Raises nothing: they are durable already.

        A client takes 503 for "not appended", and would be told no position.
        """
        try:
            if await self._receipts.wait(taken.generation, taken.end, wait_s):
                return True, await self._outcomes(records, taken, taken.generation)
        except (ProblemError, EventProcessorError, OSError):
            # Too many requests are being answered, or the disk fails. A receipt tells the same later.
            pass
        except Exception as error:  # noqa: BLE001 - a fault of ours, which the answer must not turn into a false one
            self._site.report("POST", "/v1/events", f"{type(error).__name__}: {error}")
        return False, ()

    async def _outcomes(self, records: Sequence[bytes], taken: Taken, generation: int) -> Sequence[str]:
        """What each appended record counted as, in order, as the end of a JSON object."""
        offsets = list(_offsets_of(records, taken))
        outcomes = self._receipts.outcomes(generation, offsets)
        rejected = [(generation, offset) for offset, outcome in zip(offsets, outcomes, strict=True) if outcome == "rejected"]
        reasons = await self._receipts.reasons(rejected)
        return [
            f',"outcome":"{outcome or "unknown"}"'
            if outcome != "rejected"
            else f',"outcome":"rejected","reason":{json_bytes(reasons[generation, offset]).decode()}'
            for offset, outcome in zip(offsets, outcomes, strict=True)
        ]

    def _open(self) -> tuple[IntakeWriter, OpenIntake]:
        """What takes records now. Raises `ProblemError` if nothing does."""
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


async def _taken(answer: Awaitable[Taken]) -> Taken:
    """Returns when all valid records are durable."""
    try:
        # If the client leaves meanwhile, the records are appended all the same, without an answer.
        return await answer
    except LockedError as error:
        raise ProblemError(503, error.message, hint="send it again", headers={"Retry-After": "1"}) from error


def _offsets_of(records: Sequence[bytes], taken: Taken) -> Iterator[int]:
    """The offset of each appended record, in order."""
    refused = {each.row for each in taken.rejections}
    offset = taken.offset
    for row, record in enumerate(records):
        if row not in refused:
            yield offset
            offset += len(record) + 1


def _lines_of(records: Sequence[bytes], taken: Taken, generation: int, outcomes: Sequence[str]) -> Sequence[str]:
    """The answer to each record as JSON, in order. `outcomes`: of each appended record, to be added to its answer; empty if unknown."""
    begin = f'{{"status":"appended","position":"{generation}:'
    if not taken.rejections and not outcomes:
        ends = accumulate((len(record) + 1 for record in records), initial=taken.offset)
        return [f'{begin}{place}"}}' for place in islice(ends, len(records))]
    reasons = {each.row: each for each in taken.rejections}
    appended = zip_longest(_offsets_of(records, taken), outcomes, fillvalue="")
    lines = []
    for row in range(len(records)):
        if (rejection := reasons.get(row)) is not None:
            lines.append(json_bytes(_Invalid(rejection.reason, rejection.field)).decode())
            continue
        offset, outcome = next(appended)
        lines.append(f'{begin}{offset}"{outcome}}}')
    return lines
