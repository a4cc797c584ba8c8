# SPDX-License-Identifier: Apache-2.0
"""One column for a failure instead of two for its text and its traceback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1c783c0c2875"
down_revision = "1cea328f0f65"


def upgrade() -> None:
    """Adds the one column, removes the two."""
    op.add_column("taskdetails", sa.Column("failure", sa.Text))
    for name in ("exception", "stacktrace"):
        op.drop_column("taskdetails", name)


def downgrade() -> None:
    """Adds the two columns, removes the one."""
    for name in ("stacktrace", "exception"):
        op.add_column("taskdetails", sa.Column(name, sa.Text))
    op.drop_column("taskdetails", "failure")
