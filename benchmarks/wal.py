# SPDX-License-Identifier: Apache-2.0
"""How many transactions, and how many bytes, does the write-ahead log of an SQLite file hold?

The format is described at https://www.sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

HEADER = struct.Struct(">IIIIIIII")
FRAME = struct.Struct(">IIIIII")


@dataclasses.dataclass(frozen=True, slots=True)
class Log:
    """What a log holds: transactions, pages, and bytes."""

    commits: int
    frames: int
    size: int


def read(database: pathlib.Path) -> Log:
    """Read the log beside a database file.

    Args:
        database: The database file.

    Returns:
        What the log holds; nothing if there is none.
    """
    path = database.with_name(f"{database.name}-wal")
    data = path.read_bytes() if path.exists() else b""
    if len(data) < HEADER.size:
        return Log(0, 0, 0)
    _, _, page_size, _, salt, other_salt, _, _ = HEADER.unpack_from(data)
    commits = frames = 0
    position = HEADER.size
    while position + FRAME.size + page_size <= len(data):
        _, pages_after, *salts, _, _ = FRAME.unpack_from(data, position)
        if salts != [salt, other_salt]:
            break  # left over from before the log was started anew
        frames += 1
        commits += pages_after != 0
        position += FRAME.size + page_size
    return Log(commits, frames, position)
