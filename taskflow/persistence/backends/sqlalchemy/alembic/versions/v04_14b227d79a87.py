# SPDX-License-Identifier: Apache-2.0
"""A column that tells what is intended with an atom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from taskflow import states

revision = "14b227d79a87"
down_revision = "84d6e888850"


def upgrade() -> None:
    """Adds the column, and its type where types have names."""
    kind = sa.Enum(*states.INTENTIONS, name="intention_type")
    kind.create(op.get_bind(), checkfirst=True)
    op.add_column("taskdetails", sa.Column("intention", kind, server_default=states.EXECUTE))


def downgrade() -> None:
    """Removes the column."""
    op.drop_column("taskdetails", "intention")
