# SPDX-License-Identifier: Apache-2.0
"""How long is waited, and how does somebody else end the wait?"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timeout:
    """A time to wait, which others may cut short.

    Args:
        value: seconds; infinity waits until interrupted.
        event_factory: makes the event that interrupts the wait.

    Raises:
        ValueError: the time is negative or not a number.
    """

    def __init__(self, value: float, event_factory: Callable[[], threading.Event] = threading.Event) -> None:
        if value < 0 or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(f"A timeout must be 0 or more seconds, not {value}")
        self._value = value
        self._event = event_factory()

    @property
    def value(self) -> float:
        """The time in seconds."""
        return self._value

    def interrupt(self) -> None:
        """Ends the present wait, and all later ones until `reset`."""
        self._event.set()

    def is_stopped(self) -> bool:
        """Tells whether it was interrupted.

        Returns:
            Whether `interrupt` was called.
        """
        return self._event.is_set()

    def wait(self) -> None:
        """Waits until the time is over or somebody interrupts."""
        # Longer waits than this are an error to the operating system, to people they mean "no limit".
        self._event.wait(self._value if self._value <= threading.TIMEOUT_MAX else None)

    def reset(self) -> None:
        """Forgets the interruption, so that it can be waited again."""
        self._event.clear()


def convert_to_timeout(
    value: float | str | Timeout | None = None,
    default_value: float | str | Timeout | None = None,
    event_factory: Callable[[], threading.Event] = threading.Event,
) -> Timeout:
    """Makes a timeout of what users give as one.

    Args:
        value: seconds as a number or text, or a timeout, which is returned itself.
        default_value: what to take when ``value`` is ``None``.
        event_factory: makes the event that interrupts the wait.

    Returns:
        The timeout.

    Raises:
        ValueError: the value is something else, negative or not a number.
    """
    if value is None:
        value = default_value
    if isinstance(value, Timeout):
        return value
    if not isinstance(value, (int, float, str)):
        raise ValueError(f"A timeout must be a number of seconds, not {value!r}")  # noqa: TRY004 - the documented type
    return Timeout(float(value), event_factory=event_factory)
