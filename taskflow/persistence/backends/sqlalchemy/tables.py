# SPDX-License-Identifier: Apache-2.0
"""Which tables and columns hold the records in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from taskflow import states
from taskflow.persistence import models, times
from taskflow.utils import json_utils

if TYPE_CHECKING:
    from sqlalchemy.engine import interfaces

NAME_LENGTH = 255
UUID_LENGTH = 64
STATE_LENGTH = 255
VERSION_LENGTH = 64


class Tables(NamedTuple):
    """The tables of log books, flow details and atom details."""

    logbooks: sa.Table
    flowdetails: sa.Table
    atomdetails: sa.Table


class JSONType(sa.types.TypeDecorator[Any]):
    """A value as JSON: of the type ``json`` on PostgreSQL, text everywhere else."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: interfaces.Dialect) -> sa.types.TypeEngine[Any]:
        """Chooses the type of the column."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.JSON())
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: Any, dialect: interfaces.Dialect) -> Any:
        """Encodes a value on its way into the database."""
        if dialect.name == "postgresql":
            # The driver's encoder knows fewer types than ours, so it only gets what every encoder knows.
            return None if value is None else json_utils.decode(json_utils.encode(value))
        return None if value is None else json_utils.encode(value)

    def process_result_value(self, value: Any, dialect: interfaces.Dialect) -> Any:
        """Decodes a value on its way out of the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return json_utils.decode(value)


def _times() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return (
        sa.Column("created_at", sa.DateTime, default=times.utc_now),
        sa.Column("updated_at", sa.DateTime, onupdate=times.utc_now),
    )


def _uuid() -> sa.Column[Any]:
    return sa.Column("uuid", sa.String(UUID_LENGTH), nullable=False, primary_key=True, unique=True)


def _parent(table: str) -> sa.Column[Any]:
    return sa.Column("parent_uuid", sa.String(UUID_LENGTH), sa.ForeignKey(f"{table}.uuid", ondelete="CASCADE"))


def fetch(metadata: sa.MetaData) -> Tables:
    """Makes the three tables in a collection of tables."""
    logbooks = sa.Table(
        "logbooks",
        metadata,
        *_times(),
        sa.Column("meta", JSONType),
        sa.Column("name", sa.String(NAME_LENGTH)),
        _uuid(),
    )
    flowdetails = sa.Table(
        "flowdetails",
        metadata,
        *_times(),
        _parent("logbooks"),
        sa.Column("meta", JSONType),
        sa.Column("name", sa.String(NAME_LENGTH)),
        sa.Column("state", sa.String(STATE_LENGTH)),
        _uuid(),
    )
    atomdetails = sa.Table(
        "atomdetails",
        metadata,
        *_times(),
        sa.Column("meta", JSONType),
        _parent("flowdetails"),
        sa.Column("name", sa.String(NAME_LENGTH)),
        sa.Column("version", sa.String(VERSION_LENGTH)),
        sa.Column("state", sa.String(STATE_LENGTH)),
        _uuid(),
        sa.Column("failure", JSONType),
        sa.Column("results", JSONType),
        sa.Column("revert_results", JSONType),
        sa.Column("revert_failure", JSONType),
        sa.Column("atom_type", sa.Enum(*models.ATOM_TYPES, name="atom_types")),
        sa.Column("intention", sa.Enum(*states.INTENTIONS, name="intention_type")),
    )
    return Tables(logbooks, flowdetails, atomdetails)


METADATA = sa.MetaData()
TABLES = fetch(METADATA)

# Without these, reading the children of a book or flow goes through the whole table. MySQL makes its own for the
# foreign keys. They are no part of any revision, so other versions of the library neither need nor mind them.
PARENT_INDEXES = {
    "flowdetails_parent_uuid_idx": "flowdetails",
    "atomdetails_parent_uuid_idx": "atomdetails",
}
