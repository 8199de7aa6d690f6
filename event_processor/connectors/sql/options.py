"""The options of a sink in a database.

Owns: the keys of `[sinks.NAME]` with `type = "sql"`, and the form of a database's address.
Always: a relative path of an SQLite database starts from the configuration file's folder.
Never: connects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.transforms import plain_table
from event_processor.connectors.sql.numeric import DIGITS_MAX, Precision
from event_processor.model.event import Json
from event_processor.model.options import ConfiguredPath, LocatedText, SecretPath, Section
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["COLUMN_TYPES", "SQLITE", "ColumnOptions", "ColumnType", "DatabaseUrl", "PlainType", "SqlSinkOptions", "is_postgres"]

PlainType: TypeAlias = Literal["text", "integer", "double", "boolean", "timestamp", "json", "numeric", "uuid"]
COLUMN_TYPES: Final[tuple[str, ...]] = get_args(PlainType)
SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")
_PASSWORD: Final = re.compile(r"://[^@]*:[^@]*@|[?&][^=]*password", re.IGNORECASE)
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_RESERVED: Final = ("event_processor_", "sqlite_", "pg_")


def _precise(type_: str) -> str:
    """A type with a precision, in its one form."""
    if (precision := Precision.of(type_)) is not None:
        return str(precision)
    raise PydanticCustomError("type", f'"numeric(p,s)" with at most {DIGITS_MAX} digits, s of them after the point')


ColumnType: TypeAlias = PlainType | Annotated[str, AfterValidator(_precise)]
"""One of `COLUMN_TYPES`, or "numeric(p,s)"."""


def is_postgres(url: str) -> bool:
    """Whether it is the address of a database of PostgreSQL."""
    return url.startswith(POSTGRES)


def _has_password(url: str) -> bool:
    """Whether an address may hold a password: before its host, also with a slash in it, or in its query."""
    return _PASSWORD.search(url) is not None


class DatabaseUrl(ConfiguredPath):
    """The address of a database without a secret: `sqlite:///` and a path, or `postgresql://…`."""

    __slots__ = ()

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> ConfiguredPath:
        if isinstance(value, DatabaseUrl):
            return value
        written = value.written if isinstance(value, LocatedText) else str(value)
        if isinstance(value, str) and is_postgres(value):
            if _has_password(value):
                raise PydanticCustomError(
                    "password", "an address without a password; one with a password comes from url_file or url_env"
                )
            return cls(str(value), written)
        if not isinstance(value, str) or not value.startswith(SQLITE) or value == SQLITE or "?" in value:
            raise PydanticCustomError(
                "database", 'an address such as "sqlite:///out/results.db" or "postgresql://user@host:5432/database"'
            )
        path = value.removeprefix(SQLITE)
        located = LocatedText(path, value.folder) if isinstance(value, LocatedText) else path
        return cls(f"{SQLITE}{super()._validate(located, info)}", written)


class ColumnOptions(Section):
    """A column that has another name than its field."""

    type: ColumnType
    """The type of the column."""
    field: str = Field(min_length=1, examples=["payload.size"])
    """The field of the record; a dotted name reaches inside."""


class SqlSinkOptions(RemoteSinkOptions):
    """Rows in a table of a database, exactly once: rows, failed rows and the place of the sink are one transaction."""

    holds_cursor: ClassVar[bool] = True
    place_key: ClassVar[str] = "table"
    takes_snapshots: ClassVar[bool] = True
    type: Literal["sql"]
    """The kind of sink: a table of a database."""
    url: DatabaseUrl | None = Field(default=None, examples=["sqlite:///out/results.db"])
    """The database: "sqlite:///" and a path; with a fourth slash an absolute one. The file is made at the first start. Or
    "postgresql://user@host:5432/database", without a password."""
    url_env: str | None = Field(default=None, examples=["DATABASE_URL"])
    """The environment variable with the address, if it holds a secret."""
    url_file: SecretPath | None = Field(default=None, examples=["secrets/database.url"])
    """The file with the address, if it holds a secret. `${NAME}` is an environment variable of the service."""
    table: str = Field(examples=["transactions"])
    """The table. It is made when the sink starts for the first time; later changes are made by `event-processor sql apply`."""
    columns: Annotated[Mapping[str, ColumnType | ColumnOptions], BeforeValidator(plain_table)] = Field(
        min_length=1, examples=[{"id": "text", "amount": "double"}]
    )
    """The columns and their types: "text", "integer" (64 bit), "double", "boolean", "timestamp", "json", "numeric", "numeric(p,s)" or "uuid". A
    column has the field of its name; `{ type = "integer", field = "payload.size" }` takes another one. A missing field is NULL."""
    upsert: tuple[str, ...] = Field(default=(), examples=[["id"]])
    """The columns that identify a row: a record replaces the row with the same values. Empty: each record is a row."""
    request_events_max: int = Field(default=5000, ge=1, le=100_000)
    """The maximum number of records in one transaction."""
    request_bytes_max: int = Field(default=4_194_304, ge=1, le=1 << 30)
    """The maximum bytes of records in one transaction. A larger record is written alone."""
    interval_ms: int = Field(default=1000, ge=0, le=86_400_000)
    """Only for "totals" and groups: the time between two snapshots, in milliseconds. At the end of a run the last one is written at once."""
    order: Literal["strict"] = "strict"
    """Always "strict": one transaction at a time, in order."""

    @field_validator("table")
    @classmethod
    def _table_is_a_name(cls, name: str) -> str:
        if _IDENTIFIER.fullmatch(name) and not name.lower().startswith(_RESERVED):
            return name
        raise PydanticCustomError("table", f"a name of letters, digits and _, not beginning with {' or '.join(_RESERVED)}")

    @field_validator("columns")
    @classmethod
    def _columns_are_names(cls, columns: Mapping[str, ColumnType | ColumnOptions]) -> Mapping[str, ColumnType | ColumnOptions]:
        names = [name.lower() for name in columns]
        if all(_IDENTIFIER.fullmatch(name) for name in columns) and len(set(names)) == len(names):
            return columns
        raise PydanticCustomError("columns", "names of letters, digits and _ that begin with a letter; case makes no difference")

    @model_validator(mode="after")
    def _address_has_one_place(self) -> Self:
        if sum(each is not None for each in (self.url, self.url_env, self.url_file)) != 1:
            raise ValueError("exactly one of url, url_env and url_file")
        return self

    @model_validator(mode="after")
    def _keys_are_columns(self) -> Self:
        if missing := [name for name in self.upsert if name not in self.columns]:
            raise ValueError(f'columns of this sink in upsert; "{missing[0]}" is not one')
        return self

    @property
    def replaces(self) -> bool:
        """Whether it upserts."""
        return bool(self.upsert)

    @property
    def snapshot_interval_ms(self) -> int:
        """See `SinkOptions`."""
        return self.interval_ms

    def snapshot_faults(self, identity: Sequence[str]) -> Iterator[tuple[str, str]]:
        """See `SinkOptions`."""
        fields = dict(zip(self.columns, self.fields(), strict=True))
        if self.upsert and sorted(fields[column] for column in self.upsert) != sorted(identity):
            yield (
                "upsert",
                f"the columns of what identifies a row ({', '.join(identity) or 'nothing'}), or no upsert: there is _key",
            )
        if any(name.lower() == "as_of" for name in self.columns):
            yield "columns", 'another name than "as_of", which the sink writes itself'
        if self.enrich:
            yield "enrich", "no enricher: what it would be asked about is no record"

    def fields(self) -> Sequence[str]:
        """The fields of its columns."""
        return [column if isinstance(what, str) else what.field for column, what in self.columns.items()]

    def typed_columns(self) -> dict[str, ColumnType]:
        """The type of each column, in order."""
        return {name: what if isinstance(what, str) else what.type for name, what in self.columns.items()}

    def target(self) -> Mapping[str, Json]:
        """The database, as it is written, and the table."""
        if self.url is not None:
            database = self.url.written
        else:
            database = f"env:{self.url_env}" if self.url_file is None else f"file:{self.url_file.written}"
        return {"type": self.type, "database": database, "table": self.table}
