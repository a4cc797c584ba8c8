# SPDX-License-Identifier: Apache-2.0
"""What does a worker do that belongs to somebody else's cluster and is sent a task of an engine?

Nothing connects it with the engine while the task runs. It answers once, with all that there was to tell.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from taskflow.engines.action_engine import process_child
from taskflow.engines.action_engine import process_wire as wire

if TYPE_CHECKING:
    from collections.abc import Iterable

# How many withdrawals are remembered here: each is told to every worker, but the task comes to one of them only.
_REMEMBERED = 100_000

_lock = threading.Lock()
_withdrawn: dict[str, None] = {}


class _Satchel(wire.Line):
    """Holds the one message that comes, and all that go back."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.sent: list[tuple[int, bytes]] = []

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:  # noqa: ARG002 - there is one job only
        self.sent.append((kind, payload))

    def receive(self) -> tuple[int, int, bytearray] | None:
        return wire.WORK, 0, bytearray(self._payload)


def perform(payload: bytes, token: str) -> list[tuple[int, bytes]]:
    """Execute or revert a task, unless that was withdrawn.

    Args:
        payload: The task and what to do with it.
        token: What it would be withdrawn by.

    Returns:
        Its events, and last what came of it, each with its kind; nothing when it was withdrawn.
    """
    with _lock:
        if token in _withdrawn:
            del _withdrawn[token]
            return []
    satchel = _Satchel(payload)
    process_child.serve(satchel)
    return satchel.sent


def withdraw(tokens: Iterable[str]) -> None:
    """Have tasks not begun here that have not begun yet.

    Args:
        tokens: What came with them, or will.
    """
    with _lock:
        _withdrawn.update(dict.fromkeys(tokens))
        while len(_withdrawn) > _REMEMBERED:
            del _withdrawn[next(iter(_withdrawn))]
