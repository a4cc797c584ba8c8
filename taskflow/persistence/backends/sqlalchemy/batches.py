# SPDX-License-Identifier: Apache-2.0
"""How are many rows changed with few round trips, and a whole unit of work with one, where a driver allows it?

A round trip to a server takes as long as all that this library does for a task, so a unit of work should be one of
them, its commit included. The texts here go to the driver's own cursor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskflow.persistence.backends.sqlalchemy import statements

    # The rows that each statement changes: the values of its columns, and then the uuid.
    Batches = dict[statements.Statement, list[list[Any]]]

# How many rows a text of MySQL names.
MYSQL_ROWS = 50
# Every change has it, and the same value in a unit of work.
_SAME = "updated_at"
# From so many characters on it matters how values are sent. MySQL ends the connection when a message is too large, and
# does not even say so; and a driver may take longer for a large value in an array than for a hundred alone.
LARGE = 200_000
# So many bytes of a message to MySQL are left for all that is not values.
_AROUND = 4_096


class TooLargeError(ValueError):
    """A row is larger than the server's settings let it be."""


def _size(row: Sequence[Any]) -> int:
    return sum([len(value) for value in row if type(value) is str])


def _size_as_literals(row: Sequence[Any]) -> int:
    texts = [value for value in row if type(value) is str]
    return sum(len(text) + sum(text.count(character) for character in "\"'\\\n") for text in texts)


def in_portions(rows: Sequence[Sequence[Any]], largest: Callable[[], int | None]) -> list[Sequence[Sequence[Any]]]:
    """Divides rows so that the values of each portion can be sent together.

    Args:
        rows: the values.
        largest: how many bytes of a message the server takes, None for any number; only asked if there is need.

    Raises:
        TooLargeError: a single row does not fit.
    """
    if sum([_size(row) for row in rows]) < LARGE:
        return [rows]
    limit = largest()
    if limit is None:
        return [[row] for row in rows]
    room = limit - _AROUND
    portions: list[list[Sequence[Any]]] = []
    left = 0
    for row in rows:
        size = _size_as_literals(row)
        if size > room:
            raise TooLargeError(f"It takes {size} bytes, and max_allowed_packet of the server leaves {room}")
        if not portions or size > left:
            portions.append([])
            left = room
        portions[-1].append(row)
        # A change to several rows names each of them for every column.
        left -= size + 200 * len(row)
    return list(portions)


def for_driver(dialect: Any, handle: Any) -> PostgreSQL | MySQL | None:
    """Returns what writes for a driver, or None if there is no better way than one statement for each row.

    Args:
        dialect: of the engine.
        handle: the driver's connection.
    """
    if dialect.name == "postgresql" and dialect.driver == "psycopg2":
        return _POSTGRESQL
    if dialect.name == "postgresql" and dialect.driver == "psycopg":
        # This driver applies a level to transactions that it begins only.
        level = handle.isolation_level
        return _POSTGRESQL if level is None or level.name == "READ_COMMITTED" else None
    # Without this flag, rows that have their new values already do not count as found.
    found_rows = 2
    if dialect.name in {"mysql", "mariadb"} and dialect.driver == "pymysql" and handle.client_flag & found_rows:
        return _MYSQL
    return None


class PostgreSQL:
    """Rows as arrays, one for each column; and all changes of a unit of work in one statement."""

    # Whether a unit of work is written outside a transaction, so that its one statement is one.
    in_one = True

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}

    @staticmethod
    def _one(statement: statements.Statement) -> str:
        changes = ", ".join(f"{name} = %s::{kind}" for name, kind in statement.columns)
        return f"UPDATE {statement.table} SET {changes} WHERE uuid = %s"  # noqa: S608

    @staticmethod
    def _many(statement: statements.Statement) -> str:
        names = [name for name, _ in statement.columns]
        if statement.kind == "update":
            names.append("uuid")
        rows = f"unnest({', '.join(['%s::text[]'] * len(names))}) AS v({', '.join(names)})"
        if statement.kind == "insert":
            values = ", ".join(f"v.{name}::{kind}" for name, kind in statement.columns)
            return f"INSERT INTO {statement.table} ({', '.join(names)}) SELECT {values} FROM {rows}"  # noqa: S608
        changes = ", ".join(f"{name} = v.{name}::{kind}" for name, kind in statement.columns)
        return f"UPDATE {statement.table} AS t SET {changes} FROM {rows} WHERE t.uuid = v.uuid"  # noqa: S608

    def run_all(self, cursor: Any, statement: statements.Statement, rows: Sequence[Sequence[Any]]) -> int:
        """Inserts or changes many rows in the present transaction and returns how many there were."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = self._many(statement)
        cursor.execute(text, [list(column) for column in zip(*rows, strict=True)])
        return int(cursor.rowcount)

    def _unit(self, key: Sequence[tuple[statements.Statement, bool]]) -> str:
        parts = [self._many(statement) if many else self._one(statement) for statement, many in key]
        if len(parts) == 1 and not key[0][1]:
            return parts[0]
        named = ", ".join(f"u{i} AS ({part} RETURNING 1)" for i, part in enumerate(parts))
        found = " + ".join(f"(SELECT count(*) FROM u{i})" for i in range(len(parts)))  # noqa: S608
        # A statement that fails changes nothing, so it has to fail if a row is missing.
        return f"WITH {named} SELECT 1 / CASE WHEN {found} = %s THEN 1 ELSE 0 END"

    def write(self, _handle: Any, cursor: Any, batches: Batches) -> bool:
        """Writes a unit of work, with its commit; tells whether that was done, if not nothing was changed."""
        key = tuple([(statement, len(rows) > 1) for statement, rows in batches.items()])
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = self._unit(key)
        if len(key) == 1 and not key[0][1]:
            ((row,),) = batches.values()
            cursor.execute(text, row)
            return bool(cursor.rowcount == 1)
        parameters: list[Any] = []
        count = size = 0
        for rows in batches.values():
            count += len(rows)
            if len(rows) == 1:
                parameters.extend(rows[0])
            else:
                size += sum([_size(row) for row in rows])
                parameters.extend([list(column) for column in zip(*rows, strict=True)])
        if size >= LARGE:
            return False
        parameters.append(count)
        try:
            cursor.execute(text, parameters)
        except Exception as e:
            if type(e).__name__ == "DivisionByZero":
                return False
            raise
        return True


class MySQL:
    """Rows that a statement names one by one, each with its own values; a unit of work is one such statement."""

    in_one = True

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}

    @staticmethod
    def _text(table: str, key: Sequence[tuple[statements.Statement, int]], all_or_none: bool) -> str:
        columns: dict[str, int] = {}
        for statement, count in key:
            for name, _ in statement.columns:
                columns[name] = columns.get(name, 0) + count
        total = sum(count for _, count in key)
        if total == 1:
            changes = ", ".join(f"{name} = %s" for name in columns)
            return f"UPDATE {table} SET {changes} WHERE uuid = %s"  # noqa: S608
        cases = [
            f"{name} = CASE uuid {'WHEN %s THEN %s ' * count}{'' if count == total else f'ELSE {name} '}END"
            if name != _SAME
            else f"{name} = %s"
            for name, count in columns.items()
        ]
        named = f"uuid IN ({', '.join(['%s'] * total)})"
        condition = named
        if all_or_none:
            # The table that changes may not be counted directly.
            counted = f"SELECT count(*) AS n FROM {table} WHERE {named}"  # noqa: S608
            condition = f"{named} AND (SELECT n FROM ({counted}) AS found) = {total}"  # noqa: S608
        return f"UPDATE {table} SET {', '.join(cases)} WHERE {condition}"  # noqa: S608

    @staticmethod
    def _parameters(part: Batches) -> list[Any]:
        columns: dict[str, list[Any]] = {}
        uuids: list[Any] = []
        for statement, rows in part.items():
            for row in rows:
                uuid = row[-1]
                uuids.append(uuid)
                for (name, _), value in zip(statement.columns, row, strict=False):
                    if name == _SAME:
                        columns[name] = [value]
                    else:
                        columns.setdefault(name, []).extend((uuid, value))
        if len(uuids) == 1:
            return [values[-1] for values in columns.values()] + uuids
        return [value for values in columns.values() for value in values] + uuids

    def _run(self, cursor: Any, part: Batches, all_or_none: bool) -> int:
        key = tuple([(statement, len(rows)) for statement, rows in part.items()])
        text = self._texts.get((key, all_or_none))
        if text is None:
            text = self._text(key[0][0].table, key, all_or_none)
            if len(self._texts) < 1000:
                self._texts[key, all_or_none] = text
        parameters = self._parameters(part)
        if all_or_none:
            count = sum([number for _, number in key])
            if count > 1:
                # The uuids stand at the end, and are named once more.
                parameters += parameters[-count:]
        cursor.execute(text, parameters)
        return int(cursor.rowcount)

    def run_all(self, cursor: Any, statement: statements.Statement, rows: Sequence[Sequence[Any]]) -> int:
        """Inserts or changes many rows in the present transaction and returns how many there were."""
        if statement.kind == "insert":
            # The driver makes one text of many rows by itself.
            names = ", ".join(name for name, _ in statement.columns)
            marks = ", ".join(["%s"] * len(statement.columns))
            cursor.executemany(f"INSERT INTO {statement.table} ({names}) VALUES ({marks})", rows)  # noqa: S608
            return int(cursor.rowcount)
        found = 0
        for i in range(0, len(rows), MYSQL_ROWS):
            found += self._run(cursor, {statement: [list(row) for row in rows[i : i + MYSQL_ROWS]]}, False)
        return found

    def write(self, _handle: Any, cursor: Any, batches: Batches) -> bool:
        """Writes a unit of work, with its commit; tells whether that was done, if not nothing was changed."""
        count = size = 0
        for rows in batches.values():
            count += len(rows)
            for row in rows:
                size += _size(row)
        if size >= LARGE or count > MYSQL_ROWS:
            return False
        return self._run(cursor, batches, True) == count


_POSTGRESQL = PostgreSQL()
_MYSQL = MySQL()
