"""The description of the API, OpenAPI 3.1: made from the operations and from the types that are answered.

Owns: the schemas of the answers, by name.
Always: schemas of our types are made from the types. A test sends requests that are made from this description.
Never: describes what no operation has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from event_processor import __version__
from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.stages import STAGES
from event_processor.engine.state import Counts, SourceState
from event_processor.operations.conditions import Condition
from event_processor.operations.explanation import Occurrence
from event_processor.operations.history import COLUMNS, NOT_WHOLE
from event_processor.operations.last_verification import Verdict
from event_processor.operations.omissions import Omission
from event_processor.operations.retried_letters import RETRIED_MAX
from event_processor.operations.sinks import SinkLane
from event_processor.service.jobs.job import JobInput
from event_processor.service.jobs.jobs import JobPage, ShownJob
from event_processor.service.jobs.uploads import Upload
from event_processor.service.web.answers import PROBLEM_TYPE
from event_processor.service.web.operation import Content, Operation

__all__ = ["JOB", "NOT_FOUND", "POSTED", "RETRY", "UNREAD_ENCODING", "UPLOAD", "described", "named", "problem"]

Schema = dict[str, Any]
_OURS: Final = (
    *(
        CategoryTotal,
        Condition,
        Counts,
        JobInput,
        JobPage,
        LaneReport,
        Occurrence,
        Omission,
        ShownJob,
        SinkLane,
        SourceState,
        Upload,
    ),
)
_PLACE: Final = "#/components/schemas/{name}"


def _ref(name: str) -> Schema:
    return {"$ref": _PLACE.format(name=name)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
WHOLE: Final[Schema] = {"type": "integer"}
YES_OR_NO: Final[Schema] = {"type": "boolean"}
ANY_OBJECT: Final[Schema] = {"type": "object"}
_POSITION: Final[Mapping[str, Schema]] = {"total": WHOLE, "offset": WHOLE, "limit": WHOLE}
_AS_OF: Final[Mapping[str, Schema]] = {"state_id": TEXT, "written_at": _or_null(TEXT)}
_LAG: Final[Mapping[str, Schema]] = {"bytes": WHOLE, "records": WHOLE, "unknown": TEXT}
_COMMITTED: Final = _object(
    **_AS_OF,
    age_s=_or_null(NUMBER),
    counts=_ref("Counts"),
    categories=WHOLE,
    lag_bytes=WHOLE,
    held_events=WHOLE,
    dead_letters=WHOLE,
    lost=WHOLE,
    first_lost=TEXT,
    left_out=_list(_ref("Omission")),
    lag_records=WHOLE,
    lag_unknown=_list(TEXT),
    lag_by_source={"type": "object", "additionalProperties": _object(**_LAG)},
)
_VERIFIED: Final = _object(
    at=TEXT,
    state_id=TEXT,
    written_at=_or_null(TEXT),
    records=WHOLE,
    verdict={"enum": list(get_args(Verdict))},
    exit_code=WHOLE,
    words=TEXT,
)
_LANE: Final[Schema] = {"allOf": [_ref("LaneReport"), _object(guarantee=_or_null(TEXT))]}
_HISTORY: Final = _object(
    id={},
    accepted=_list(_ref("Occurrence")),
    duplicates=_list(_ref("Occurrence")),
    rejected=_list(_ref("Occurrence")),
    unlisted=WHOLE,
)
"""If a remote sink reads events, there is `lanes` too."""
_GROUP: Final = _object(group=ANY_OBJECT, measures=ANY_OBJECT)
_OUTCOME: Final[Schema] = {"enum": ["accepted", "duplicate", "rejected", "blank", "unknown"]}
_APPENDED: Final = {
    "type": "object",
    "properties": {
        "status": {"const": "appended"},
        "position": {"type": "string", "pattern": "^[0-9]+:[0-9]+$"},
        "outcome": _OUTCOME,
        "reason": TEXT,
    },
    "required": ["status", "position"],
}
_INVALID: Final = {
    "type": "object",
    "properties": {"status": {"const": "invalid"}, "reason": TEXT, "field": TEXT},
    "required": ["status", "reason"],
}
_PLACE_OF_LETTER: Final[Mapping[str, Schema]] = {
    "source": TEXT,
    "generation": {**WHOLE, "minimum": 0},
    "offset": {**WHOLE, "minimum": 0},
}
_KEY_OF_LETTER: Final[Mapping[str, Schema]] = {"key": {**TEXT, "minLength": 1}}
RETRY: Final[Schema] = {
    "type": "object",
    "properties": {
        "records": {
            **_list(
                {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {**names, "record": _or_null(TEXT)},
                            "required": list(names),
                            "additionalProperties": False,
                        }
                        for names in (_PLACE_OF_LETTER, _KEY_OF_LETTER)
                    ]
                }
            ),
            "maxItems": RETRIED_MAX,
        },
        "sink": _or_null({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
        "dry_run": YES_OR_NO,
    },
    "required": ["records"],
    "additionalProperties": False,
}
"""The body of a retry."""
POSTED: Final[Schema] = {"anyOf": [ANY_OBJECT, _list(ANY_OBJECT)]}
"""The body of a post as JSON; it may also be JSON lines."""
_PARAMETER: Final[Schema] = {"anyOf": [TEXT, NUMBER, YES_OR_NO, _list(TEXT)]}
JOB: Final[Schema] = {
    "type": "object",
    "properties": {
        "pipeline": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "input": {
            "type": "object",
            "properties": {"upload": TEXT, "path": TEXT, "url": TEXT},
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        },
        "parameters": {"type": "object", "additionalProperties": _PARAMETER},
    },
    "required": ["pipeline", "input"],
    "additionalProperties": False,
}
"""The body of a request for a job."""
UPLOAD: Final[Schema] = {
    "type": "object",
    "properties": {"length": {**WHOLE, "minimum": 0}},
    "required": ["length"],
    "additionalProperties": False,
}
"""The body of a request for an upload."""
_KIND: Final[Schema] = {"enum": ["groups", "windows"]}
SCHEMAS: Final[Mapping[str, Schema]] = {
    "History": _object(
        state_id=_or_null(TEXT),
        written_at=_or_null(TEXT),
        **{"from": WHOLE},
        step_s=WHOLE,
        columns=_object(
            **{name: _list(_or_null(NUMBER if name in NOT_WHOLE else WHOLE)) for name in COLUMNS},
        ),
    ),
    "Bottleneck": _object(
        state_id=_or_null(TEXT),
        span_s=WHOLE,
        words=TEXT,
        hint=TEXT,
        stages=_list(_object(stage={"enum": list(STAGES)}, share=NUMBER, words=TEXT)),
        sinks=_list(_object(sink=TEXT, words=TEXT, shares={"type": "object", "additionalProperties": NUMBER})),
    ),
    "Problem": _object(title=TEXT, status=WHOLE, detail=TEXT, hint=TEXT),
    "Alive": _object(alive={"const": True}),
    "Ready": _object(ready=YES_OR_NO, shortfalls=_list(TEXT), conditions=_list(_ref("Condition"))),
    "State": _object(
        state_directory=TEXT,
        alive=YES_OR_NO,
        owner=_or_null(TEXT),
        keeping_up=YES_OR_NO,
        shortfalls=_list(TEXT),
        committed=_or_null(_COMMITTED),
        conditions=_list(_ref("Condition")),
        last_known_conditions=_list(_ref("Condition")),
        lanes=_list(_LANE),
        outbox=_or_null(ANY_OBJECT),
        snapshots=_list(ANY_OBJECT),
        verified=_or_null(_VERIFIED),
    ),
    "Categories": _object(**_AS_OF, **_POSITION, categories=_list({"allOf": [_ref("CategoryTotal"), _object(category=TEXT)]})),
    "Aggregates": _object(**_AS_OF, aggregates=_list(_object(name=TEXT, kind=_KIND, rows=_or_null(WHOLE), counts=ANY_OBJECT))),
    "Aggregate": _object(
        **_AS_OF,
        name=TEXT,
        kind=_KIND,
        counts=ANY_OBJECT,
        left_out=_or_null(ANY_OBJECT),
        windows=_or_null(ANY_OBJECT),
        **_POSITION,
        groups=_list(_GROUP),
    ),
    "Rows": _object(
        **_AS_OF, name=TEXT, sink=TEXT, ends=_list(TEXT), group_by=_list(TEXT), measures=_list(TEXT), rows=_list(ANY_OBJECT)
    ),
    "Pipeline": _object(
        name=TEXT,
        version=TEXT,
        sources=_list(_object(name=TEXT, type=TEXT, path=TEXT)),
        sinks=_list(_object(name=TEXT, type=TEXT, input=TEXT, guarantee=TEXT, by=TEXT)),
    ),
    "Sources": _object(
        **_AS_OF,
        sources={"type": "object", "additionalProperties": _ref("SourceState")},
        lags={"type": "object", "additionalProperties": _object(**_LAG, seconds=_or_null(NUMBER))},
    ),
    "Sinks": _object(sinks=_list(_ref("SinkLane")), snapshots=_list(ANY_OBJECT)),
    "Explanation": _object(text=TEXT, ids=_list(_HISTORY), records=WHOLE, size_bytes=WHOLE),
    "Appended": _object(appended=WHOLE, invalid=WHOLE, lines=_list({"anyOf": [_APPENDED, _INVALID]})),
    "Retried": _object(
        retried=WHOLE, refused=_list(_object(source=TEXT, generation=WHOLE, offset=WHOLE, reason=TEXT)), dry_run=YES_OR_NO
    ),
    "Receipt": {
        "type": "object",
        "properties": {
            "position": TEXT,
            "status": {"enum": ["appended", "counted"]},
            "outcome": _OUTCOME,
            "reason": TEXT,
            "lanes": _list(ANY_OBJECT),
        },
        "required": ["position", "status"],
    },
    "DeadLetters": _object(count=WHOLE, dead_letters=_list(ANY_OBJECT), next_offset=_or_null(WHOLE)),
}
"""What is answered, by name."""


def named(name: str, words: str) -> Content:
    """An answer whose schema is one of `SCHEMAS`."""
    return Content(words, schema=_ref(name))


def problem(words: str) -> Content:
    """An answer that says what is wrong."""
    return Content(words, PROBLEM_TYPE, _ref("Problem"))


NOT_FOUND: Final = problem("There is no such thing.")
UNREAD_ENCODING: Final = problem("The body has a Content-Encoding that is not read.")
_PROBLEMS: Final[Mapping[int, Content]] = {
    400: problem("The request or a parameter cannot be read."),
    401: problem("The token is missing or wrong."),
    403: problem("A page of another site asks."),
    408: problem("The client is too slow."),
    413: problem("The body is too long."),
    421: problem("The server is addressed by a foreign name."),
    500: problem("A fault of the program."),
    503: problem("Too many clients, or the state cannot be read."),
}


def described(operations: Sequence[Operation]) -> Schema:
    """The whole document."""
    _, components = msgspec.json.schema_components(_OURS, ref_template=_PLACE)
    paths: dict[str, dict[str, Schema]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "event-processor",
            "version": __version__,
            "description": "What is committed, and whether it needs an operator.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, **SCHEMAS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "event_processor_session"},
            },
        },
    }


def _operation(operation: Operation) -> Schema:
    answers: dict[str, Schema] = {}
    for status in sorted(operation.answers.keys() | _PROBLEMS.keys()):
        contents = [each for each in (operation.answers.get(status), _PROBLEMS.get(status)) if each is not None]
        schemas = {each.media_type: {"schema": dict(each.schema)} for each in reversed(contents) if each.media_type is not None}
        answers[str(status)] = {"description": contents[0].words, **({"content": schemas} if schemas else {})}
    parameters = [_parameter(each.name, each.words, dict(each.schema)) for each in operation.parameters]
    if operation.path_parameter:
        words = "The name."
        parameters.append(
            {"name": operation.path_parameter, "in": "path", "required": True, "description": words, "schema": TEXT}
        )
    parameters += [{**_parameter(each.name, each.words, dict(each.schema)), "in": "header"} for each in operation.headers]
    found: Schema = {"summary": operation.words, "parameters": parameters, "responses": answers}
    if operation.body is not None:
        found["requestBody"] = {
            "required": operation.needs_body,
            "content": {operation.body_type: {"schema": dict(operation.body)}},
        }
    # Without a token in the configuration, no client is asked for one.
    found["security"] = [{}] if operation.is_open else [{}, {"token": []}, {"session": []}]
    return found


def _parameter(name: str, words: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": "default" not in schema, "description": words, "schema": schema}
