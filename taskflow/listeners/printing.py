# SPDX-License-Identifier: Apache-2.0
"""How does a run show on the terminal?"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from taskflow.listeners import base

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from taskflow.engines import base as engines


class PrintingListener(base.DumpingListener):
    """Prints the events of the flow and its tasks, and the tracebacks of failures.

    Args:
        engine: the engine.
        task_listen_for: the states of tasks to be printed.
        flow_listen_for: the states of the flow to be printed.
        retry_listen_for: as for every listener; retries are not printed.
        stderr: whether to print to standard error in place of standard output.
    """

    def __init__(
        self,
        engine: engines.Engine,
        task_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        flow_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        retry_listen_for: Collection[Hashable] | None = base.DEFAULT_LISTEN_FOR,
        stderr: bool = False,
    ) -> None:
        super().__init__(
            engine,
            task_listen_for=task_listen_for,
            flow_listen_for=flow_listen_for,
            retry_listen_for=retry_listen_for,
        )
        self._file = sys.stderr if stderr else sys.stdout

    def _dump(self, message: str, *args: Any, **kwargs: Any) -> None:
        print(message % args, file=self._file)
        exc_info = kwargs.get("exc_info")
        if exc_info is not None:
            traceback.print_exception(*exc_info, file=self._file)
