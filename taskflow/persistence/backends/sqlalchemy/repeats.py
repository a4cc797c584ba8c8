# SPDX-License-Identifier: Apache-2.0
"""What is done again by itself, because certainly nothing was done and the next attempt may succeed at once?"""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from taskflow import exceptions as exc
from taskflow import logging

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger(__name__)

ATTEMPTS = 4

_P = ParamSpec("_P")
_T = TypeVar("_T")


def repeated(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Makes a method try again when it met others, as in a deadlock, or a connection that the server had ended.

    The errors that say so are those that have an attribute ``transient`` which is true.
    """

    @functools.wraps(method)
    def repeat(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        attempt = 1
        while True:
            try:
                return method(*args, **kwargs)
            except exc.StorageFailure as e:
                if attempt >= ATTEMPTS or not getattr(e, "transient", False):
                    raise
                LOG.debug("Trying again after %s", e, exc_info=True)
            # Those who were in each other's way should not meet again.
            time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311
            attempt += 1

    return repeat
