# SPDX-License-Identifier: Apache-2.0
"""What does a piece of text from a URI or a configuration mean?"""

from __future__ import annotations

from typing import Any

_TRUE = frozenset(("t", "true", "on", "y", "yes", "1"))


def as_bool(value: Any) -> bool:
    """Read an option that is a boolean or a word for one.

    Args:
        value: A boolean, which is taken as it is, or anything whose text may say yes.

    Returns:
        True for true and for the words of agreement, in any case; false for all else, unknown words included.
    """
    if isinstance(value, bool):
        return value
    return str(value).strip().lower() in _TRUE
