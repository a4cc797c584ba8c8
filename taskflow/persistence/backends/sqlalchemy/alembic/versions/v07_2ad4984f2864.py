# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL keeps JSON in columns of its own type for it."""

from __future__ import annotations

from alembic import op

revision = "2ad4984f2864"
down_revision = "3162c0f3f8e4"

_COLUMNS = (
    ("logbooks", "meta"),
    ("flowdetails", "meta"),
    ("atomdetails", "meta"),
    ("atomdetails", "failure"),
    ("atomdetails", "revert_failure"),
    ("atomdetails", "results"),
    ("atomdetails", "revert_results"),
)


def _change(kind: str) -> None:
    if not op.get_context().dialect.name.startswith("postgresql"):
        return
    for table, column in _COLUMNS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}")


def upgrade() -> None:
    """Changes text to JSON."""
    _change("JSON")


def downgrade() -> None:
    """Changes JSON to text."""
    _change("TEXT")
