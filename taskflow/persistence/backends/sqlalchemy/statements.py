# SPDX-License-Identifier: Apache-2.0
"""Which SQL texts read and write the records, and how a record's values become their parameters.

The texts go to the database driver as they are. They are made once for each dialect and set of columns: compiling a
statement, and converting its parameters through column types, costs more than a small write itself.
"""

from __future__ import annotations

import datetime as dt
import functools
import time
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
        self._any = json_utils.encode_strictly if self._postgres else json_utils.encode
        # What a missing value is stored as in a JSON column.
        self._null = "null" if self._postgres else None
        # Whether the present time is given as a text, and the one for a second that was asked for last.
        self._takes_text = dialect.name in {"sqlite", "mysql", "mariadb"}
        self._second = (-1, "")
        self._made: dict[Any, Statement] = {}
        self._updates: dict[Any, tuple[Statement, list[tuple[str, Encoder, Any]]]] = {}

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
        if not self._takes_text:
            return dt.datetime.now(dt.UTC).replace(tzinfo=None)
        moment = time.time()
        second = int(moment)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int((moment - second) * 1_000_000):06}"

    def _form(self, kind: type, field: str) -> tuple[Encoder, Any]:
        """Returns how values of a field are encoded, if they are not taken as they are, and what None becomes."""
        if field in {"meta", "revert_results"}:
            return self._any, self._null
        if field in {"failure", "revert_failure"}:
            return self._failure, self._null
        if field == "results":
            return (self._history, "[]") if issubclass(kind, models.RetryDetail) else (self._any, self._null)
        if field in {"created_at", "updated_at"}:
            return self.time, None
        return functools.partial(self._text, _LENGTHS.get(field)), None

    def _failure(self, failure: Any) -> str | None:
        if not failure:
            return self._null
        return json_utils.encode_failure(failure.to_dict(include_args=True), strictly=self._postgres)

    def _history(self, history: Any) -> str:
        return json_utils.encode_history(models.stored_history(history), strictly=self._postgres)

    def _text(self, longest: int | None, value: Any) -> Any:
        if type(value) is not str:
            return value
        if not value.isascii():
            value.encode()
        if self._limits:
            if longest is not None and len(value) > longest:
                raise ValueError(f"It has {len(value)} characters, and the database takes {longest}")
            if self._postgres and "\0" in value:
                raise ValueError("PostgreSQL takes no text with the character U+0000")
        return value

    def values(self, detail: Any, fields: Sequence[str]) -> list[Any]:
        """Encodes fields of a detail.

        Raises:
            StorageFailure: a value can not be encoded.
        """
        values = []
        for field in fields:
            encoder, nothing = self._form(detail.__class__, field)
            value = getattr(detail, field)
            try:
                values.append(nothing if value is None or encoder is None else encoder(value))
            except Exception as e:
                raise base.unstorable(detail, field, e) from e
        return values

    def change(self, detail: Any, fields: Mapping[str, Any], now: Any) -> tuple[Statement, list[Any]]:
        """Makes the statement that gives a detail's row new values, and these values with the uuid at their end.

        Args:
            detail: a flow or atom detail.
            fields: the new values.
            now: the time of the change.

        Raises:
            StorageFailure: a value can not be encoded.
        """
        key = (detail.__class__, *fields)
        made = self._updates.get(key)
        if made is None:
            made = self._updates[key] = self._plan(detail.__class__, fields)
        statement, forms = made
        row = [now]
        field = ""
        try:
            for field, encoder, nothing in forms:
                value = fields[field]
                row.append(nothing if value is None else value if encoder is None else encoder(value))
        except Exception as e:
            raise base.unstorable(detail, field, e) from e
        row.append(detail.uuid)
        return statement, row

    def _plan(self, kind: type, fields: Mapping[str, Any]) -> tuple[Statement, list[tuple[str, Encoder, Any]]]:
        table = tables.TABLES.flowdetails if issubclass(kind, models.FlowDetail) else tables.TABLES.atomdetails
        # In the order of the table's columns, of which the time comes first: so the statement takes them.
        columns = [column.name for column in table.columns if column.name in fields]
        forms = []
        for field in columns:
            encoder, nothing = self._form(kind, field)
            # States and intentions need no look: they are the library's own words.
            forms.append((field, None if field in {"state", "intention"} else encoder, nothing))
        return self.update(table, ["updated_at", *columns]), forms

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
