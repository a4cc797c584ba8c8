# SPDX-License-Identifier: Apache-2.0
"""Room for big failures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "40fc8c914bd2"
down_revision = "6df9422fcb43"


def upgrade() -> None:
    """Widens what MySQL would cut off at 64 KiB."""
    if op.get_context().dialect.name in {"mysql", "mariadb"}:
        for name in ("failure", "revert_failure"):
            op.alter_column("atomdetails", name, existing_type=sa.Text, type_=mysql.LONGTEXT, existing_nullable=True)


def downgrade() -> None:
    """Does nothing: what is wide may stay so."""
