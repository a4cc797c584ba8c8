# SPDX-License-Identifier: Apache-2.0
"""A column that tells what kind of atom a detail is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from taskflow.persistence import models

revision = "84d6e888850"
down_revision = "1c783c0c2875"


def upgrade() -> None:
    """Adds the column, and its type where types have names."""
    kind = sa.Enum(*models.ATOM_TYPES, name="atom_types")
    kind.create(op.get_bind(), checkfirst=True)
    op.add_column("taskdetails", sa.Column("atom_type", kind))


def downgrade() -> None:
    """Removes the column."""
    op.drop_column("taskdetails", "atom_type")
