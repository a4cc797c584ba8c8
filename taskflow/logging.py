# SPDX-License-Identifier: Apache-2.0
"""How do the modules of the library log?

Each logs under its own module path (``taskflow.storage``, ...); set levels on those names to see more or less.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CRITICAL = logging.CRITICAL
FATAL = logging.FATAL
ERROR = logging.ERROR
WARNING = logging.WARNING
WARN = logging.WARNING
INFO = logging.INFO
DEBUG = logging.DEBUG
NOTSET = logging.NOTSET

# Below DEBUG: what is searched and found on the way, one line for each look-up.
BLATHER = 5
TRACE = BLATHER


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """A standard logger with one more level."""

    warn = logging.LoggerAdapter.warning

    def trace(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at level `TRACE`.

        Args:
            msg: the message, a %-format.
            args: its arguments.
            kwargs: as for the standard logging methods.
        """
        if self.logger.isEnabledFor(TRACE):
            # One level further up, else the record would name this line as the place that logged.
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.log(TRACE, msg, *args, **kwargs)


def getLogger(name: str = "taskflow", extra: Mapping[str, object] | None = None) -> _Logger:  # noqa: N802 - the standard library's name
    """Makes a logger.

    Args:
        name: the name of the standard logger that it writes to.
        extra: attributes for each record.

    Returns:
        An adapter over that logger, which stays silent until the application configures logging.
    """
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return _Logger(logger, extra=extra)
