# SPDX-License-Identifier: Apache-2.0
"""Tasks are not the only atoms, so their table gets the wider name."""

from __future__ import annotations

from alembic import op

revision = "589dccdf2b6e"
down_revision = "14b227d79a87"


def upgrade() -> None:
    """Gives the table its wider name."""
    op.rename_table("taskdetails", "atomdetails")


def downgrade() -> None:
    """Gives the table its narrower name."""
    op.rename_table("atomdetails", "taskdetails")
