# SPDX-License-Identifier: Apache-2.0
"""Who takes part in something, for example as a conductor of a jobboard?"""

from __future__ import annotations

from typing import Any


class Entity:
    """Somebody or something that makes itself known to others.

    Args:
        kind: what it is, for example ``"conductor"``.
        name: its name.
        metadata: what else is known about it.
    """

    def __init__(self, kind: str, name: str, metadata: Any) -> None:
        self.kind = kind
        self.name = name
        self.metadata = metadata

    def to_dict(self) -> dict[str, Any]:
        """Makes a dictionary of the entity.

        Returns:
            The three attributes by their names.
        """
        return {"kind": self.kind, "name": self.name, "metadata": self.metadata}
