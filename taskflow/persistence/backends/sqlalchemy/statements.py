# SPDX-License-Identifier: Apache-2.0
"""Which SQL texts read and write the records, and how a record's values become their parameters.

The texts go to the database driver as they are. They are made once for each dialect and set of columns: compiling a
statement, and converting its parameters through column types, costs more than a small write itself.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from taskflow import exceptions as exc
from taskflow.persistence import base, models
from taskflow.persistence.backends.sqlalchemy import tables
from taskflow.utils import json_utils

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.engine import interfaces

    Encoder = Callable[[Any], Any] | None

BOOK_FIELDS = ("name", "meta", "created_at", "updated_at")
FLOW_FIELDS = ("name", "meta", "state")
ATOM_FIELDS = (
    "name",
    "meta",
    "state",
    "intention",
    "version",
    "results",
    "failure",
    "revert_results",
    "revert_failure",
)
_READ_ATOM = ("uuid", "atom_type", *ATOM_FIELDS)


def _bare(table: sa.Table) -> sa.TableClause:
    """Returns the table without the defaults of its columns, so that a statement has only what it is given."""
    return sa.table(table.name, *(sa.column(column.name, column.type) for column in table.columns))


def _kinds(table: sa.Table, columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    kinds = []
    for name in columns:
        kind = table.c[name].type
        if isinstance(kind, tables.JSONType):
            kinds.append((name, "json"))
        elif isinstance(kind, sa.Enum):
            kinds.append((name, str(kind.name)))
        else:
            kinds.append((name, "timestamp" if isinstance(kind, sa.DateTime) else "text"))
    return tuple(kinds)


class Statement:
    """An SQL text, and the order or the names under which it takes its parameters.

    Args:
        compiled: the statement, compiled for the dialect in use.
        names: the names of its parameters, in the order in which values will be given.
        kind: ``insert`` or ``update``, if rows can be given to it by the many.
        table: the table's name, likewise.
        columns: names and types (as PostgreSQL calls them) of the columns that get values, likewise.
    """

    __slots__ = ("_names", "_order", "columns", "kind", "table", "text")

    def __init__(
        self,
        compiled: Any,
        names: Sequence[str],
        kind: str = "",
        table: str = "",
        columns: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.text: str = str(compiled)
        self.kind = kind
        self.table = table
        self.columns = columns
        self._names: tuple[str, ...] | None = None
        self._order: list[int] | None = None
        if compiled.positiontup is None:
            self._names = tuple(names)
        elif compiled.positiontup != list(names):
            self._order = [list(names).index(name) for name in compiled.positiontup]

    @property
    def as_is(self) -> bool:
        """Whether the driver takes values as they are given."""
        return self._names is None and self._order is None

    def parameters(self, values: Sequence[Any]) -> Any:
        """Gives values the shape that the driver wants."""
        if self._names is not None:
            return dict(zip(self._names, values, strict=True))
        if self._order is not None:
            return tuple([values[i] for i in self._order])
        return tuple(values)


def _encode_failure(failure: Any) -> str:
    return json_utils.encode_failure(failure.to_dict(include_args=True))


def _encode_history(history: Any) -> str:
    return json_utils.encode_history(models.stored_history(history))


def _encode_failure_strictly(failure: Any) -> str:
    return json_utils.encode_failure(failure.to_dict(include_args=True), strictly=True)


def _encode_history_strictly(history: Any) -> str:
    return json_utils.encode_history(models.stored_history(history), strictly=True)


_LENGTHS = {
    "name": tables.NAME_LENGTH,
    "state": tables.STATE_LENGTH,
    "uuid": tables.UUID_LENGTH,
    "version": tables.VERSION_LENGTH,
}


# By the dialects' names, drivers and styles of parameters: backends come and go, but the texts stay the same.
_ALL: dict[tuple[str, str, str], Statements] = {}


def for_dialect(dialect: interfaces.Dialect) -> Statements:
    """Returns the statements for a dialect."""
    key = (dialect.name, dialect.driver, dialect.paramstyle)
    if key not in _ALL:
        _ALL[key] = Statements(dialect)
    return _ALL[key]


class Statements:
    """The statements for one dialect, and the values that go into them and come out of them.

    Args:
        dialect: of the engine that will run them.
    """

    def __init__(self, dialect: interfaces.Dialect) -> None:
        self._dialect = dialect
        self._postgres = dialect.name == "postgresql"
        self._times_are_text = dialect.name == "sqlite"
        # SQLite takes texts of any length, whatever its columns say.
        self._limits = dialect.name != "sqlite"
        # PostgreSQL takes only standard JSON; to find that out by asking it would fail a whole unit of work.
        self._any, self._failure, self._history = (
            (json_utils.encode_strictly, _encode_failure_strictly, _encode_history_strictly)
            if self._postgres
            else (json_utils.encode, _encode_failure, _encode_history)
        )
        # What a missing value is stored as in a JSON column.
        self._null = "null" if self._postgres else None
        self._made: dict[Any, Statement] = {}
        self._updates: dict[Any, tuple[Statement, tuple[tuple[str, Encoder], ...]]] = {}

    # -- texts

    def _column(self, table: sa.Table, name: str) -> Any:
        column = table.c[name]
        if self._postgres and isinstance(column.type, tables.JSONType):
            # As text, whatever the driver makes of its own JSON type.
            return sa.cast(sa.type_coerce(column, sa.JSON()), sa.Text)
        return column

    def _parameter(self, table: sa.Table, name: str) -> Any:
        kind = table.c[name].type
        if not isinstance(kind, tables.JSONType | sa.Enum):
            return sa.bindparam(f"p_{name}", type_=kind)
        text = sa.bindparam(f"p_{name}", type_=sa.Text())
        if not self._postgres:
            return text
        if isinstance(kind, sa.Enum):
            return sa.cast(text, postgresql.ENUM(name=kind.name, create_type=False))
        return sa.cast(text, postgresql.JSON())

    def _compile(self, key: Any, names: Sequence[str], statement: Any, *more: Any) -> Statement:
        made = self._made[key] = Statement(statement.compile(dialect=self._dialect), names, *more)
        return made

    def select(
        self, table: sa.Table, columns: Sequence[str], by: str | None = None, lock: bool = False, values: int = 1
    ) -> Statement:
        """Reads columns of the rows that have one of some values in one column, or of all rows.

        Args:
            table: whose rows.
            columns: their names.
            by: the column that has to have a value.
            lock: keep others from changing the rows until the transaction ends.
            values: how many values the statement takes.
        """
        key = ("select", table.name, tuple(columns), by, lock, values)
        if key in self._made:
            return self._made[key]
        query = sa.select(*(self._column(table, name) for name in columns))
        if by is None:
            return self._compile(key, (), query)
        names = [f"p_by{i}" for i in range(values)]
        wanted = [sa.bindparam(name, type_=sa.String()) for name in names]
        query = query.where(
            table.c[by] == wanted[0] if values == 1 else sa.or_(*(table.c[by] == one for one in wanted))
        )
        return self._compile(key, names, query.with_for_update() if lock else query)

    def grandchildren(self, columns: Sequence[str]) -> Statement:
        """Reads columns of the atoms of all flows of a book."""
        key = ("grandchildren", tuple(columns))
        if key in self._made:
            return self._made[key]
        flows, atoms = tables.TABLES.flowdetails, tables.TABLES.atomdetails
        query = sa.select(*(self._column(atoms, name) for name in columns))
        query = query.select_from(atoms.join(flows, atoms.c.parent_uuid == flows.c.uuid))
        return self._compile(
            key, ("p_by",), query.where(flows.c.parent_uuid == sa.bindparam("p_by", type_=sa.String()))
        )

    def count(self, table: sa.Table, by: str) -> Statement:
        """Counts the rows that have a value in one column."""
        key = ("count", table.name, by)
        if key in self._made:
            return self._made[key]
        query = sa.select(sa.func.count()).select_from(table)
        return self._compile(key, ("p_by",), query.where(table.c[by] == sa.bindparam("p_by", type_=sa.String())))

    def insert(self, table: sa.Table, columns: Sequence[str]) -> Statement:
        """Makes a row; takes the values of the columns."""
        key = ("insert", table.name, tuple(columns))
        if key in self._made:
            return self._made[key]
        values = {name: self._parameter(table, name) for name in columns}
        insert = _bare(table).insert().values(values)
        return self._compile(
            key, [f"p_{name}" for name in columns], insert, "insert", table.name, _kinds(table, columns)
        )

    def update(self, table: sa.Table, columns: Sequence[str]) -> Statement:
        """Changes a row; takes the values of the columns and then the row's uuid."""
        key = ("update", table.name, tuple(columns))
        if key in self._made:
            return self._made[key]
        values = {name: self._parameter(table, name) for name in columns}
        bare = _bare(table)
        change = bare.update().values(values).where(bare.c.uuid == sa.bindparam("p_by", type_=sa.String()))
        names = [*(f"p_{name}" for name in columns), "p_by"]
        return self._compile(key, names, change, "update", table.name, _kinds(table, columns))

    def delete(self, table: sa.Table, by: str | None = None) -> Statement:
        """Removes the rows that have a value in one column, or all rows."""
        key = ("delete", table.name, by)
        if key in self._made:
            return self._made[key]
        if by is None:
            return self._compile(key, (), table.delete())
        return self._compile(
            key, ("p_by",), table.delete().where(table.c[by] == sa.bindparam("p_by", type_=sa.String()))
        )

    def delete_grandchildren(self) -> Statement:
        """Removes the atoms of all flows of a book."""
        key = ("delete", "grandchildren")
        if key in self._made:
            return self._made[key]
        flows, atoms = tables.TABLES.flowdetails, tables.TABLES.atomdetails
        of_book = sa.select(flows.c.uuid).where(flows.c.parent_uuid == sa.bindparam("p_by", type_=sa.String()))
        return self._compile(key, ("p_by",), atoms.delete().where(atoms.c.parent_uuid.in_(of_book)))

    # -- values on their way in

    def time(self, moment: dt.datetime | None) -> Any:
        """Gives a time the form in which the driver takes it, without its zone."""
        if moment is None:
            return None
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
        return moment.isoformat(" ", "microseconds") if self._times_are_text else moment

    def now(self) -> Any:
        """Returns the present time in UTC in the form in which the driver takes it."""
        moment = dt.datetime.now(dt.UTC)
        if self._times_are_text:
            return moment.isoformat(" ", "microseconds")[:26]
        return moment.replace(tzinfo=None)

    def _encoder(self, detail: Any, field: str) -> Encoder:
        if field in {"meta", "revert_results"}:
            return self._any
        if field in {"failure", "revert_failure"}:
            return self._failure
        if field == "results":
            return self._history if isinstance(detail, models.RetryDetail) else self._any
        if field in {"created_at", "updated_at"}:
            return self.time
        return None

    def _value(self, detail: Any, field: str, encoder: Encoder, value: Any) -> Any:
        if encoder is None:
            return value if value is None else self._text(detail, field, value)
        if value is None or (not value and encoder is self._failure):
            if encoder is self._history:
                return "[]"
            return None if encoder == self.time else self._null
        try:
            return encoder(value)
        except Exception as e:
            raise base.unstorable(detail, field, e) from e

    def _text(self, detail: Any, field: str, value: Any) -> Any:
        if type(value) is not str:
            return value
        try:
            if not value.isascii():
                value.encode()
            if self._limits:
                longest = _LENGTHS.get(field)
                if longest is not None and len(value) > longest:
                    raise ValueError(f"It has {len(value)} characters, and the database takes {longest}")
                if self._postgres and "\0" in value:
                    raise ValueError("PostgreSQL takes no text with the character U+0000")
        except ValueError as e:
            raise base.unstorable(detail, field, e) from e
        return value

    def values(self, detail: Any, fields: Sequence[str]) -> list[Any]:
        """Encodes fields of a detail.

        Raises:
            StorageFailure: a value can not be encoded.
        """
        return [self._value(detail, field, self._encoder(detail, field), getattr(detail, field)) for field in fields]

    def change(self, detail: Any, table: sa.Table, fields: Mapping[str, Any], now: Any) -> tuple[Statement, list[Any]]:
        """Makes the statement that gives a detail's row new values, and these values with the uuid at their end.

        Raises:
            StorageFailure: a value can not be encoded.
        """
        key = (detail.__class__, *fields)
        made = self._updates.get(key)
        if made is None:
            # In the order of the table's columns, since that is how the statement will take them.
            columns = [column.name for column in table.columns if column.name in fields or column.name == "updated_at"]
            encoders = tuple((field, self._encoder(detail, field)) for field in columns)
            made = self._updates[key] = (self.update(table, columns), encoders)
        statement, encoders = made
        row = []
        for field, encoder in encoders:
            if field == "updated_at":
                row.append(now)
                continue
            value = fields[field]
            # States and intentions need no look: they are the library's own words.
            row.append(value if encoder is None and field != "version" else self._value(detail, field, encoder, value))
        row.append(detail.uuid)
        return statement, row

    # -- values on their way out

    def read_book(self, row: Sequence[Any]) -> models.LogBook:
        """Makes a book from ``uuid`` and the values of BOOK_FIELDS."""
        uuid, name, meta, created_at, updated_at = row
        with_times = {"created_at": _as_time(created_at), "updated_at": _as_time(updated_at)}
        return models.LogBook.from_dict({"uuid": uuid, "name": name, "meta": _decoded(meta), **with_times})

    def read_flow(self, row: Sequence[Any]) -> models.FlowDetail:
        """Makes a flow detail from ``uuid`` and the values of FLOW_FIELDS."""
        uuid, name, meta, state = row
        return models.FlowDetail.from_dict({"uuid": uuid, "name": name, "meta": _decoded(meta), "state": state})

    def read_atom(self, row: Sequence[Any]) -> models.AtomDetail:
        """Makes an atom detail from ``uuid``, ``atom_type`` and the values of ATOM_FIELDS.

        Raises:
            StorageFailure: the row is damaged.
        """
        try:
            uuid, atom_type, name, meta, state, intention, version, results, failure, revert_results, revert_failure = (
                row
            )
            return models.atom_detail_class(atom_type).from_dict(
                {
                    "uuid": uuid,
                    "name": name,
                    "meta": _decoded(meta),
                    "state": state,
                    "intention": intention,
                    "version": version,
                    "results": _decoded(results),
                    "failure": _decoded(failure),
                    "revert_results": _decoded(revert_results),
                    "revert_failure": _decoded(revert_failure),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise exc.StorageFailure(f"The stored atom detail '{row[2]}' ({row[0]}) is damaged", cause=e) from e


def _decoded(text: Any) -> Any:
    return None if text is None else json_utils.decode(text)


def _as_time(value: Any) -> dt.datetime | None:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


READ_BOOK = ("uuid", *BOOK_FIELDS)
READ_FLOW = ("uuid", *FLOW_FIELDS)
READ_ATOM = _READ_ATOM
