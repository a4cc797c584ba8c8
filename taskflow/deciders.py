# SPDX-License-Identifier: Apache-2.0
"""How far does the "no" of a link's decider reach?"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Depth(enum.StrEnum):
    """What is ignored when a decider says no; members stand from the widest to the narrowest."""

    ALL = "ALL"
    """The atom and everything that comes after it, into and out of nested flows."""

    FLOW = "FLOW"
    """The atom and what comes after it inside the same flow."""

    NEIGHBORS = "NEIGHBORS"
    """The atom and the tasks directly after it."""

    ATOM = "ATOM"
    """The atom alone."""

    @classmethod
    def translate(cls, desired_depth: Depth | str) -> Depth:  # type: ignore[override]
        """Turns what a user wrote into a member.

        Args:
            desired_depth: a member, or its value in any case.

        Returns:
            The member.

        Raises:
            TypeError: it is no text at all.
            ValueError: no member has this value.
        """
        if isinstance(desired_depth, cls):
            return desired_depth
        expected = ", ".join(member.value for member in cls)
        if not isinstance(desired_depth, str):
            raise TypeError(
                f"A decider depth must be a Depth or one of {expected}, not {desired_depth!r} ({type(desired_depth)})"
            )
        try:
            return cls(desired_depth.upper())
        except ValueError:
            raise ValueError(f"Unknown decider depth {desired_depth!r}; use one of {expected}") from None


def pick_widest(depths: Iterable[Depth | str]) -> Depth:
    """Finds the depth that reaches farthest.

    Args:
        depths: members or their values.

    Returns:
        The widest member among them.

    Raises:
        ValueError: there are none, or one of them is no depth.
    """
    asked = {Depth(depth) for depth in depths}
    for depth in Depth:
        if depth in asked:
            return depth
    raise ValueError("No decider depths were given to pick the widest of; give at least one")
