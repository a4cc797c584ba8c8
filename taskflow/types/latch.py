# SPDX-License-Identifier: Apache-2.0
"""How do threads wait until something happened a number of times?"""

from __future__ import annotations

import threading


class Latch:
    """Holds threads back until it was counted down to zero; it never closes again.

    Args:
        count: how many countdowns are needed.

    Raises:
        ValueError: the count is not above zero.
    """

    def __init__(self, count: int) -> None:
        count = int(count)
        if count <= 0:
            raise ValueError(f"A latch needs a count above 0, not {count}")
        self._needed = count
        self._changed = threading.Condition()

    @property
    def needed(self) -> int:
        """How many countdowns are still needed."""
        return self._needed

    def countdown(self) -> None:
        """Counts down by one; the last needed call lets all waiting threads go on, later ones do nothing."""
        with self._changed:
            if self._needed:
                self._needed -= 1
                if not self._needed:
                    self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the last countdown.

        Args:
            timeout: how many seconds to wait; ``None`` for as long as it takes, 0 to ask only.

        Returns:
            ``True`` when it came, ``False`` when the time was over first.

        Raises:
            ValueError: the timeout is negative.
        """
        if timeout is not None and timeout < 0:
            raise ValueError(f"A timeout must be 0 or more seconds, not {timeout}")
        with self._changed:
            return self._changed.wait_for(lambda: not self._needed, timeout)
