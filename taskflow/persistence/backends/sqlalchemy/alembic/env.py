# SPDX-License-Identifier: Apache-2.0
"""How alembic reaches the database: through the connection that it was given, or through its own settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context


def _run(connection: sa.Connection) -> None:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    if context.is_offline_mode():
        context.configure(url=url, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()
        return
    if not url:
        raise ValueError("Set sqlalchemy.url in alembic.ini to the address of the database")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        _run(connection)


_main()
