# SPDX-License-Identifier: Apache-2.0
"""Room for big metadata of flows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "6df9422fcb43"
down_revision = "0bc3e1a3c135"


def upgrade() -> None:
    """Widens what MySQL would cut off at 64 KiB."""
    if op.get_context().dialect.name in {"mysql", "mariadb"}:
        op.alter_column("flowdetails", "meta", existing_type=sa.Text, type_=mysql.LONGTEXT, existing_nullable=True)


def downgrade() -> None:
    """Does nothing: what is wide may stay so."""
