# SPDX-License-Identifier: Apache-2.0
"""Does the user have eventlet, which the library itself does not use?"""

from __future__ import annotations

import warnings
from importlib import util

EVENTLET_AVAILABLE = util.find_spec("eventlet") is not None


def check_for_eventlet(exc: BaseException | None = None) -> None:
    """Checks that eventlet is installed (deprecated: nothing in this library needs it).

    Args:
        exc: what to raise when it is not.

    Raises:
        RuntimeError: it is not installed, and nothing else to raise was given.
    """
    warnings.warn(
        "check_for_eventlet is deprecated: no part of this library needs eventlet", DeprecationWarning, stacklevel=2
    )
    if not EVENTLET_AVAILABLE:
        if exc is None:
            exc = RuntimeError("The package 'eventlet' is needed but not installed: pip install eventlet")
        raise exc
