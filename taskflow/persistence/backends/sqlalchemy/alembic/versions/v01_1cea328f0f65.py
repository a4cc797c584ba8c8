# SPDX-License-Identifier: Apache-2.0
"""Tables for log books, flow details and task details."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1cea328f0f65"
down_revision = None

LOG = logging.getLogger(__name__)

# Table, its parent, and the names of its foreign key and index.
_LINKS = (
    ("logbooks", None, None, "logbook_uuid_idx"),
    ("flowdetails", "logbooks", "flowdetails_ibfk_1", "flowdetails_uuid_idx"),
    ("taskdetails", "flowdetails", "taskdetails_ibfk_1", "taskdetails_uuid_idx"),
)


def _create(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("created_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
        *columns,
        mysql_engine="InnoDB",
        mysql_charset="utf8",
    )


def _uuid() -> sa.Column[Any]:
    return sa.Column("uuid", sa.String(64), primary_key=True, nullable=False)


def upgrade() -> None:
    """Makes the tables, then what links them."""
    _create("logbooks", sa.Column("meta", sa.Text), sa.Column("name", sa.String(255)), _uuid())
    _create(
        "flowdetails",
        sa.Column("parent_uuid", sa.String(64)),
        sa.Column("meta", sa.Text),
        sa.Column("state", sa.String(255)),
        sa.Column("name", sa.String(255)),
        _uuid(),
    )
    _create(
        "taskdetails",
        sa.Column("parent_uuid", sa.String(64)),
        sa.Column("meta", sa.Text),
        sa.Column("name", sa.String(255)),
        sa.Column("results", sa.Text),
        sa.Column("version", sa.String(64)),
        sa.Column("stacktrace", sa.Text),
        sa.Column("exception", sa.Text),
        sa.Column("state", sa.String(255)),
        _uuid(),
    )
    for table, parent, key, _index in _LINKS:
        if parent is None:
            continue
        try:
            op.create_foreign_key(key, table, parent, ["parent_uuid"], ["uuid"], ondelete="CASCADE")
        except NotImplementedError as e:
            LOG.warning("No foreign key from %s to %s on this database: %s", table, parent, e)
    for table, _parent, _key, index in _LINKS:
        try:
            op.create_index(index, table, ["uuid"])
        except NotImplementedError as e:
            LOG.warning("No index on %s on this database: %s", table, e)


def downgrade() -> None:
    """Removes the tables."""
    for table, _parent, _key, _index in reversed(_LINKS):
        op.drop_table(table)
