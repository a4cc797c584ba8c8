# SPDX-License-Identifier: Apache-2.0
"""How the migration scripts are run."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from taskflow import exceptions as exc

if TYPE_CHECKING:
    import sqlalchemy as sa

# The newest revision. Other versions of the library refuse a database that is marked with one that they do not know.
HEAD = "00af93df9d77"

_FOLDER = pathlib.Path(__file__).parent / "alembic"


def db_sync(connection: sa.Connection, revision: str = "head") -> None:
    """Brings the tables of a database to a revision.

    Args:
        connection: to the database, in a transaction that the caller ends.
        revision: which one; the newest by default.

    Raises:
        StorageFailure: the database is at a revision that this version of the library does not know.
    """
    import alembic.command
    import alembic.config
    import alembic.util

    config = alembic.config.Config(_FOLDER / "alembic.ini")
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, revision)
    except alembic.util.CommandError as e:
        msg = f"The tables can not be brought to revision {revision!r}; are they of a newer version?"
        raise exc.StorageFailure(msg, cause=e) from e
