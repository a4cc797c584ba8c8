# SPDX-License-Identifier: Apache-2.0
"""How the options of a backend become a database engine."""

from __future__ import annotations

import contextlib
import copy
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import pool as sa_pool

from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Mapping

# MySQL: the server can not be reached (now).
MY_SQL_CONN_ERRORS = ("1047", "2006", "2003", "2002")
# MySQL: the server ended the connection.
MY_SQL_GONE_WAY_AWAY_ERRORS = ("1927", "2006", "2013", "2014", "2045", "2055")
# PostgreSQL: the server can not be reached (now).
POSTGRES_CONN_ERRORS = ("08000", "08003", "08006", "08001", "08004", "could not connect to server")
# PostgreSQL: the server ended the connection.
POSTGRES_GONE_WAY_AWAY_ERRORS = (
    "server closed the connection unexpectedly",
    "terminating connection due to administrator command",
)
# Databases that exist only in the connection that opened them.
SQLITE_IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")
DEFAULT_TXN_ISOLATION_LEVELS = {
    "mysql": "READ COMMITTED",
    "postgresql": "READ COMMITTED",
    "postgres": "READ COMMITTED",
}

# Wrong password, no right to use the database, no such database: waiting does not help.
_HOPELESS = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "pg_hba.conf",
    "permission denied",
)
_HOPELESS_ON_MYSQL = {1044, 1045, 1049, 1698}

# MySQL: rows, messages and results that are larger than the server's settings let them be.
_TOO_LARGE = {1118, 1153, 1301}
# What drivers say of objects that they do not know.
_NO_SUCH_TYPE = ("adapt type", "is not supported")

JOURNAL_MODES = ("WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF")
SYNCHRONOUS_MODES = ("FULL", "NORMAL", "OFF", "EXTRA")

OPTIONS = frozenset(
    (
        "echo",
        "idle_timeout",
        "max_pool_size",
        "max_overflow",
        "pool_timeout",
        "isolation_level",
        "isolation_levels",
        "engine_args",
        "log_statements",
        "log_statements_level",
        "checkin_yield",
        "checkout_ping",
        "mysql_sql_mode",
        "max_retries",
        "reconnect_timeout",
        "sqlite_journal_mode",
        "sqlite_synchronous",
        "sqlite_busy_timeout",
    )
)

_BOOLEANS = dict.fromkeys(("1", "t", "true", "y", "yes", "on"), True) | dict.fromkeys(
    ("0", "f", "false", "n", "no", "off"), False
)


def as_bool(conf: Mapping[str, Any], name: str, default: bool) -> bool:
    """Reads a yes-or-no option.

    Raises:
        ValueError: it is neither a boolean nor one of the texts that stand for one.
    """
    value = conf.get(name, default)
    if value is None:
        return False
    try:
        return _BOOLEANS[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"Option {name!r} must be one of {', '.join(_BOOLEANS)}, not {value!r}") from None


def as_int(conf: Mapping[str, Any], name: str, default: int) -> int:
    """Reads an option that is a whole number; fractions are cut off.

    Raises:
        TypeError: it is no number.
    """
    value = conf.get(name, default)
    for convert in (int, lambda number: int(float(number))):
        try:
            return convert(value)
        except (TypeError, ValueError, OverflowError):
            continue
    raise TypeError(f"Option {name!r} must be a number, not {value!r}")


def _choice(conf: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = str(conf.get(name, choices[0])).strip().upper()
    if value not in choices:
        raise ValueError(f"Option {name!r} must be one of {', '.join(choices)}, not {conf[name]!r}")
    return value


def split_options(conf: dict[str, Any]) -> tuple[dict[str, Any], sa.URL]:
    """Separates the backend's own options from the database's address.

    Args:
        conf: the configuration, which is not modified.

    Returns:
        The options, those of the address included where the configuration has none of that name, and the address
        without them (the database driver would not know them).

    Raises:
        KeyError: the configuration has no ``connection``.
        sqlalchemy.exc.ArgumentError: the address can not be understood.
    """
    conf = copy.deepcopy(conf)
    url = sa.make_url(conf["connection"])
    ours = [name for name in url.query if name in OPTIONS]
    for name in ours:
        value = url.query[name]
        conf.setdefault(name, value if isinstance(value, str) else value[-1])
    return conf, url.difference_update_query(ours)


def is_in_memory(url: sa.URL) -> bool:
    """Tells whether an SQLite address is that of a database without a file."""
    if url.render_as_string(hide_password=False).strip().lower() in SQLITE_IN_MEMORY:
        return True
    database = url.database or ""
    return database in {"", ":memory:"} or (
        database.startswith("file:") and (":memory:" in database or url.query.get("mode") == "memory")
    )


def _isolation_level(conf: Mapping[str, Any], driver: str) -> Any:
    if "isolation_level" in conf:
        return conf["isolation_level"]
    levels = conf.get("isolation_levels", DEFAULT_TXN_ISOLATION_LEVELS)
    if driver in levels:
        return levels[driver]
    return next((level for name, level in levels.items() if name in driver), None)


def make(conf: dict[str, Any], log: Any) -> sa.Engine:
    """Makes the engine that a configuration asks for; no connection is made yet.

    Args:
        conf: the options of the backend, see SQLAlchemyBackend; not modified.
        log: where statements are logged, if they are to be.

    Raises:
        KeyError: the configuration has no ``connection``.
        TypeError, ValueError: an option has a value that it can not have.
        sqlalchemy.exc.ArgumentError: the address can not be understood.
        ModuleNotFoundError: the driver of the database is not installed.
    """
    conf, url = split_options(conf)
    backend = url.get_backend_name()
    arguments: dict[str, Any] = {
        "echo": as_bool(conf, "echo", default=False),
        "pool_recycle": as_int(conf, "idle_timeout", 3600),
    }
    level = _isolation_level(conf, url.drivername)
    if level is not None:
        arguments["isolation_level"] = level
    pragmas: list[str] | None = None
    if backend == "sqlite":
        arguments["poolclass"] = sa_pool.StaticPool if is_in_memory(url) else sa_pool.NullPool
        arguments["connect_args"] = {"check_same_thread": False}
        journal_mode = _choice(conf, "sqlite_journal_mode", JOURNAL_MODES)
        synchronous = _choice(conf, "sqlite_synchronous", SYNCHRONOUS_MODES)
        if "timeout" not in url.query or "sqlite_busy_timeout" in conf:
            arguments["connect_args"]["timeout"] = _seconds(conf, "sqlite_busy_timeout", 30.0)
        if not is_in_memory(url):
            pragmas = [journal_mode, synchronous]
    else:
        for option, name in (
            ("max_pool_size", "pool_size"),
            ("max_overflow", "max_overflow"),
            ("pool_timeout", "pool_timeout"),
        ):
            if conf.get(option) is not None:
                arguments[name] = as_int(conf, option, 0)
        if backend == "postgresql":
            arguments["pool_pre_ping"] = True
    arguments.update(conf.get("engine_args") or {})
    engine = sa.create_engine(url, **arguments)
    _listen(engine, conf, backend, pragmas, log)
    return engine


def _seconds(conf: Mapping[str, Any], name: str, default: float) -> float:
    value = conf.get(name, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"Option {name!r} must be a number of seconds, not {value!r}") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"Option {name!r} must be a number of seconds from 0 on, not {value!r}")
    return seconds


def reconnect_timeout(conf: dict[str, Any]) -> float:
    """Reads how many seconds a server that is out of reach is waited for, each time something is read or written.

    Raises:
        ValueError: it is no number of seconds.
    """
    if "connection" in conf and "reconnect_timeout" not in conf:
        # With an engine handed in, the address may be no more than the name of the backend.
        with contextlib.suppress(sa.exc.ArgumentError):
            conf = split_options(conf)[0]
    return _seconds(conf, "reconnect_timeout", 3.0)


def _listen(engine: sa.Engine, conf: dict[str, Any], backend: str, pragmas: list[str] | None, log: Any) -> None:
    if as_bool(conf, "log_statements", default=False):
        _log_statements(engine, log, as_int(conf, "log_statements_level", logging.TRACE))
    if as_bool(conf, "checkin_yield", default=False):
        sa.event.listen(engine, "checkin", lambda _connection, _record: time.sleep(0))
    if pragmas is not None:
        _set_pragmas(engine, *pragmas)
    if backend in {"mysql", "mariadb"}:
        if as_bool(conf, "checkout_ping", default=True):
            sa.event.listen(engine, "checkout", _ping_mysql)
        mode = conf.get("mysql_sql_mode")
        if mode is not None:
            _set_mysql_mode(engine, mode)


def _log_statements(engine: sa.Engine, log: Any, level: int) -> None:
    def show(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        log.log(level, "Running %r with %s", statement, parameters)

    sa.event.listen(engine, "before_cursor_execute", show)


def _set_pragmas(engine: sa.Engine, journal_mode: str, synchronous: str) -> None:
    def prepare(handle: Any, _record: Any) -> None:
        try:
            cursor = handle.cursor()
            try:
                _set_journal_mode(cursor, journal_mode)
                cursor.execute(f"PRAGMA synchronous={synchronous}")
            finally:
                cursor.close()
        except BaseException:
            # The pool forgets a connection that could not be prepared, so nobody else would close it.
            handle.close()
            raise

    sa.event.listen(engine, "connect", prepare)


def _set_journal_mode(cursor: Any, wanted: str) -> None:
    # Also finds out whether the file is a database at all, before anything is written next to it.
    present = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if str(present).upper() == wanted:
        return
    try:
        cursor.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    except Exception as e:
        # Somebody who may only read can still do that in the mode that the file has.
        text = str(e)
        if "readonly" not in text and "locked" not in text:
            raise


def _set_mysql_mode(engine: sa.Engine, mode: str) -> None:
    def prepare(handle: Any, _record: Any) -> None:
        cursor = handle.cursor()
        try:
            cursor.execute("SET SESSION sql_mode = %s", [mode])
        finally:
            cursor.close()

    sa.event.listen(engine, "connect", prepare)


def _ping_mysql(handle: Any, _record: Any, _proxy: Any) -> None:
    cursor = handle.cursor()
    try:
        cursor.execute("select 1")
        cursor.fetchall()
    except Exception as e:
        code = str(e.args[0]) if e.args else ""
        if any(gone in code for gone in MY_SQL_GONE_WAY_AWAY_ERRORS):
            raise sa.exc.DisconnectionError("The MySQL server has ended the connection") from e
        raise
    finally:
        cursor.close()


def is_gone(error: BaseException) -> bool:
    """Tells whether an error of a driver says that the server ended the connection."""
    code = str(error.args[0]) if error.args else ""
    if isinstance(error.args[0] if error.args else None, int):
        return code in MY_SQL_GONE_WAY_AWAY_ERRORS
    return any(sign in code for sign in POSTGRES_GONE_WAY_AWAY_ERRORS)


def is_conflict(error: BaseException) -> bool:
    """Tells whether an error of a driver says that others were in the way, so that nothing was done but can be."""
    if _state(error) in {"40001", "40P01"}:
        return True
    # A deadlock; and MariaDB's word for a row that changed since the transaction began.
    return bool(error.args) and error.args[0] in {1213, 1020}


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def is_about_values(error: BaseException) -> bool:
    """Tells whether an error of SQLAlchemy, or of a driver itself, says that a value can not be stored.

    That is: it has no form in the database or is too long for its column, for a message, or for whatever else.
    """
    if isinstance(error, sa.exc.DataError | ValueError | OverflowError):
        return True
    given = getattr(error, "orig", None) or error
    state = _state(given)
    if state.startswith(("22", "54")) or state == "42804":
        return True
    if isinstance(error, sa.exc.ProgrammingError) and any(sign in str(given) for sign in _NO_SUCH_TYPE):
        return True
    return isinstance(error, sa.exc.DBAPIError) and bool(given.args) and given.args[0] in _TOO_LARGE


def is_worth_retrying(error: Exception, backend: str) -> bool:
    """Tells whether a failed attempt to connect may succeed later."""
    if isinstance(error, sa.exc.TimeoutError | sa.exc.ResourceClosedError | sa.exc.DisconnectionError):
        return True
    if not isinstance(error, sa.exc.OperationalError):
        return False
    arguments = getattr(error.orig, "args", None)
    if arguments and arguments[0] in _HOPELESS_ON_MYSQL:
        return False
    text = str(error)
    if any(code in text for code in (*MY_SQL_CONN_ERRORS, *POSTGRES_CONN_ERRORS)):
        return True
    return backend != "sqlite" and not any(sign in text for sign in _HOPELESS)
