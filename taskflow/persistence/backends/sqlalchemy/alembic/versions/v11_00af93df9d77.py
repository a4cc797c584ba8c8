# SPDX-License-Identifier: Apache-2.0
"""Unique indexes, without which MySQL takes no foreign keys to these columns."""

from __future__ import annotations

from alembic import op

revision = "00af93df9d77"
down_revision = "40fc8c914bd2"

_INDEXES = (
    ("logbooks", "logbook_uuid_idx"),
    ("flowdetails", "flowdetails_uuid_idx"),
    ("atomdetails", "taskdetails_uuid_idx"),
)


def _make_indexes(unique: bool) -> None:
    if op.get_context().dialect.name not in {"mysql", "mariadb"}:
        return
    for table, index in _INDEXES:
        op.drop_index(index, table_name=table)
        op.create_index(index, table, ["uuid"], unique=unique)


def upgrade() -> None:
    """Makes the indexes unique."""
    _make_indexes(unique=True)


def downgrade() -> None:
    """Makes the indexes plain."""
    _make_indexes(unique=False)
