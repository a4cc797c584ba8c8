# SPDX-License-Identifier: Apache-2.0
"""How the tables of a database are made or brought up to date, with other processes doing the same."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from taskflow import logging
from taskflow.persistence.backends.sqlalchemy import migration, tables

LOG = logging.getLogger(__name__)

# Names the lock that keeps two processes from changing the tables at the same time; any number will do.
_ADVISORY_LOCK = 7_265_810_164
_ADVISORY_LOCK_NAME = "taskflow_upgrade"
# Seconds after which the other process must have crashed.
_ADVISORY_LOCK_TIMEOUT = 300


def upgrade(engine: sa.Engine) -> None:
    """Makes the tables, or brings those of an older version up to date.

    Args:
        engine: of the database.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused.
        StorageFailure: the tables are newer than this version of the library knows.
    """
    if engine.dialect.name == "sqlite":
        _upgrade_sqlite(engine)
    else:
        _migrate(engine)


def _upgrade_sqlite(engine: sa.Engine) -> None:
    wanted_tables = set(tables.METADATA.tables)
    wanted = wanted_tables | set(tables.PARENT_INDEXES)
    with engine.connect() as connection:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'index')"
        present = set(connection.exec_driver_sql(query).scalars())
        if wanted <= present:
            return
        connection.rollback()
        try:
            connection.begin()
            # An engine that was given may begin transactions in its own way.
            if not getattr(connection.connection.dbapi_connection, "in_transaction", False):
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            tables.METADATA.create_all(connection)
            _create_indexes(connection)
            connection.commit()
        except sa.exc.OperationalError:
            connection.rollback()
            if not wanted_tables <= present:
                raise
            # The indexes only make reading faster; a file that may not be changed does without them.
            LOG.debug("Could not add indexes to %s", engine.url, exc_info=True)


def _create_indexes(connection: sa.Connection) -> None:
    for name, table in tables.PARENT_INDEXES.items():
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON {table} (parent_uuid)")


def _migrate(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        _take_lock(connection)
        try:
            if _revision(connection) != migration.HEAD:
                migration.db_sync(connection)
            if engine.dialect.name == "postgresql":
                _create_indexes(connection)
        finally:
            _release_lock(connection)


def _revision(connection: sa.Connection) -> Any:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _take_lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Given back at the end of the transaction, whatever happens.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    elif connection.dialect.name in {"mysql", "mariadb"}:
        connection.exec_driver_sql(f"SELECT GET_LOCK('{_ADVISORY_LOCK_NAME}', {_ADVISORY_LOCK_TIMEOUT})")


def _release_lock(connection: sa.Connection) -> None:
    if connection.dialect.name in {"mysql", "mariadb"} and not connection.invalidated:
        connection.exec_driver_sql(f"SELECT RELEASE_LOCK('{_ADVISORY_LOCK_NAME}')")
