# SPDX-License-Identifier: Apache-2.0
"""How is ZooKeeper asked for many nodes at once, also while connections come and go?"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

from kazoo import exceptions as k_exc

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence.backends.zookeeper import clients, items, units

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterable, Sequence

LOG = logging.getLogger(__name__)

# How many answers are waited for together.
WINDOW = 200


class Asking:
    """The part of a connection that reads nodes; what is read in a unit of work is noted there.

    Args:
        backend: the backend of the connection, which knows when there is a connection to a server.
        client: its client.
    """

    def __init__(self, backend: Any, client: Any) -> None:
        self._backend = backend
        self._client = client
        self._local = threading.local()

    @property
    def _unit(self) -> units.Unit | None:
        return getattr(self._local, "unit", None)

    def _answers(self, ask: Callable[[str], Any], paths: Sequence[str]) -> list[Any]:
        """Asks the same about several nodes at once and returns the answers; None where there is no such node."""
        give_up = time.monotonic() + self._backend._patience
        while True:
            self._backend._ready()
            lost = units.lost_errors(self._client)
            answers: list[Any] = []
            try:
                for asked in [ask(path) for path in paths]:
                    try:
                        answers.append(asked.get(timeout=self._timeout))
                    except k_exc.NoNodeError:
                        answers.append(None)
            except lost as e:
                if time.monotonic() > give_up:
                    raise units.Lost(f"The connection to ZooKeeper at {self._backend._place} was lost", cause=e) from e
                LOG.debug("Connection lost while reading, reading again", exc_info=True)
                time.sleep(0.01)
            else:
                return answers

    @property
    def _timeout(self) -> float:
        # The client itself gives up earlier, when the server is silent; this is for what slips through.
        return float(self._backend._patience + 60.0)

    def _reporting(self, what: str) -> contextlib.AbstractContextManager[None]:
        return clients.reporting(self._client, f"{what} at {self._backend._place}")

    def _read(self, paths: Iterable[str]) -> list[bytes | None]:
        """Reads the data of nodes, many at once; those that are missing, or hold nothing, are None."""
        found: list[bytes | None] = []
        unit = self._unit
        remaining = iter(paths)
        with self._reporting("read"):
            while window := list(itertools.islice(remaining, WINDOW)):
                for path, answer in zip(window, self._answers(self._client.get_async, window), strict=True):
                    data, stat = (None, None) if answer is None else answer
                    if unit is not None:
                        unit.versions[path] = None if stat is None else stat.version
                        if data:
                            unit.data[path] = data
                    found.append(data or None)
        return found

    def _names(self, paths: Iterable[str]) -> list[list[str] | None]:
        """Reads what lies directly below nodes, many at once; None for those that are missing."""
        return self._asked(self._client.get_children_async, paths)

    def _stats(self, paths: Iterable[str]) -> list[Any]:
        """Looks which nodes are there, many at once; None for those that are missing."""
        return self._asked(self._client.exists_async, paths)

    def _asked(self, ask: Callable[[str], Any], paths: Iterable[str]) -> list[Any]:
        found: list[Any] = []
        remaining = iter(paths)
        with self._reporting("read"):
            while window := list(itertools.islice(remaining, WINDOW)):
                found += self._answers(ask, window)
        return found

    def _decoded(self, path: str, data: bytes) -> dict[str, Any]:
        try:
            return items.decode(data)
        except ValueError as e:
            raise exc.StorageFailure(f"The data of ZooKeeper's node {path!r} is no record", cause=e) from e
