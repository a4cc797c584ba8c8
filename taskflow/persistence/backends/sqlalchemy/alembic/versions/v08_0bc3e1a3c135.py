# SPDX-License-Identifier: Apache-2.0
"""Room for big results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0bc3e1a3c135"
down_revision = "2ad4984f2864"


def upgrade() -> None:
    """Widens what MySQL would cut off at 64 KiB."""
    if op.get_context().dialect.name in {"mysql", "mariadb"}:
        op.alter_column("atomdetails", "results", existing_type=sa.Text, type_=mysql.LONGTEXT, existing_nullable=True)


def downgrade() -> None:
    """Goes back to 64 KiB."""
    if op.get_context().dialect.name in {"mysql", "mariadb"}:
        op.alter_column("atomdetails", "results", existing_type=mysql.LONGTEXT, type_=sa.Text, existing_nullable=True)
