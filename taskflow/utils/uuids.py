# SPDX-License-Identifier: Apache-2.0
"""How are identifiers made?

As random (version 4) UUID texts, RFC 9562 section 5.4. They are cut from the system's random bytes directly: one system
call for many, and no import of ``uuid``.
"""

from __future__ import annotations

import os

# The two highest bits of this digit are fixed to 10 by the RFC, the others stay random.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def generate_uuids(n: int) -> list[str]:
    """Makes many identifiers at the cost of one system call.

    Args:
        n: how many.

    Returns:
        That many different texts like ``"6f1b0a52-5d6c-4c9e-9d53-2f0a7f3c1f11"``.
    """
    digits = os.urandom(16 * n).hex()
    variant = _VARIANT
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}"
        f"-{variant[digits[i + 16]]}{digits[i + 17 : i + 20]}-{digits[i + 20 : i + 32]}"
        for i in range(0, 32 * n, 32)
    ]


def generate_uuid() -> str:
    """Makes one identifier.

    Returns:
        A text like ``"6f1b0a52-5d6c-4c9e-9d53-2f0a7f3c1f11"``.
    """
    return generate_uuids(1)[0]
