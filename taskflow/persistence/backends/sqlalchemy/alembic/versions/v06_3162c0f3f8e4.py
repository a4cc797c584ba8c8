# SPDX-License-Identifier: Apache-2.0
"""Columns for what comes of reverting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3162c0f3f8e4"
down_revision = "589dccdf2b6e"

_COLUMNS = ("revert_results", "revert_failure")


def upgrade() -> None:
    """Adds the columns."""
    for name in _COLUMNS:
        op.add_column("atomdetails", sa.Column(name, sa.Text))


def downgrade() -> None:
    """Removes the columns."""
    for name in reversed(_COLUMNS):
        op.drop_column("atomdetails", name)
