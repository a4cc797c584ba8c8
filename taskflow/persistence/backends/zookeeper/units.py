# SPDX-License-Identifier: Apache-2.0
"""What is read and written in one unit of work, and how is it committed as one transaction?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kazoo import exceptions as k_exc
from kazoo.protocol import serialization

from taskflow import exceptions as exc
from taskflow.utils import kazoo_utils

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskflow.persistence.backends.zookeeper import items

# What a packet has besides the operations: the number of the request, and its type.
_HEADER = 8

# An upper bound of what an operation takes besides its data and path, with the list of permissions that is the default.
_OPERATION = 128

# A server drops the connection when a packet is too large for it, which looks like any other loss.
_LARGE = 100_000

# Whatever these mean for one operation, they say that the nodes are not any more as they were when they were read.
_OUTRUN = (k_exc.BadVersionError, k_exc.NodeExistsError, k_exc.NoNodeError, k_exc.NotEmptyError)

# Of the operations that did not fail themselves, but were taken back because another one did.
_TAKEN_BACK = (k_exc.RolledBackError, k_exc.RuntimeInconsistency)

# They do not go away by trying again.
PERMANENT = (
    k_exc.NoAuthError,
    k_exc.InvalidACLError,
    k_exc.AuthFailedError,
    k_exc.BadArgumentsError,
    k_exc.QuotaExceededError,
    k_exc.NotReadOnlyCallError,
)


class Outrun(exc.StorageFailure):
    """Nothing was written, because somebody else changed what had been read."""


class Lost(exc.StorageFailure):
    """The connection was lost; of a commit nobody knows whether it was done."""


class _Commit:
    """A transaction whose answer is not waited for without end."""

    def __init__(self, transaction: Any, timeout: float) -> None:
        self.operations = transaction.operations
        self._transaction = transaction
        self._timeout = timeout

    def commit(self) -> Any:
        return self._transaction.commit_async().get(timeout=self._timeout)


class _Operation:
    __slots__ = ("data", "item", "owner", "path", "version")

    def __init__(self, path: str, data: bytes, version: int | None, item: items.Item | None, owner: Any) -> None:
        self.path = path
        self.data = data
        # None: the node is to be created.
        self.version = version
        self.item = item
        self.owner = owner


class Unit:
    """What was read for a unit of work, and what it is going to write.

    Attributes:
        versions: path -> version of what was read; None if there was nothing.
        data: path -> the data that was read.
        children: path -> the names that were found below it.
        removals: the paths that are going to be removed, leaves first.
        expected: path -> the version that it must still have to be removed.
        divisible: whether the first part of what it writes makes sense without the rest.
    """

    def __init__(self) -> None:
        self.versions: dict[str, int | None] = {}
        self.data: dict[str, bytes] = {}
        self.children: dict[str, set[str]] = {}
        self.removals: dict[str, None] = {}
        self.expected: dict[str, int] = {}
        self.divisible = False
        self._writes: dict[str, _Operation] = {}

    def written(self, path: str) -> bytes | None:
        """Returns what this unit is going to write to a node, or None."""
        operation = self._writes.get(path)
        return None if operation is None else operation.data

    def put(self, path: str, item: items.Item, version: int | None, owner: Any) -> None:
        """Adds the data of a node.

        Args:
            path: of the node.
            item: what it is going to hold.
            version: the one that it has to have, None to create it.
            owner: pair of the name to use in errors, and the uuid of the atom or None.
        """
        earlier = self._writes.get(path)
        if earlier is not None:
            version = earlier.version
        self._writes[path] = _Operation(path, item.data, version, item, owner)

    def link(self, path: str, owner: Any) -> None:
        """Adds a node that has no data."""
        if path not in self._writes:
            self._writes[path] = _Operation(path, b"", None, None, owner)

    def remove(self, path: str) -> None:
        """Adds the removal of a node; those below it come first."""
        self.removals[path] = None

    @property
    def is_empty(self) -> bool:
        """Tells whether there is nothing to do."""
        return not self._writes and not self.removals

    def commit(self, client: Any, known: items.Known, limit: int, timeout: float) -> None:
        """Commits all of it as one transaction.

        Only what is too much for one packet becomes several: removals, as what they leave if they are interrupted is
        removed by the same call, and the writes of a divisible unit, in their order.

        Raises:
            StorageFailure: it is too large, then nothing was sent; or the server refused.
            Outrun: nodes are not as they were read; nothing of the transaction was written.
            Lost: the connection was lost, and it is unknown whether it was done.
        """
        *first, (writes, transaction) = self._parts(client, list(self._writes.values()), limit)
        for path in (*self._writes, *self.removals):
            known.forget(path)
        for part in first:
            self._send(client, *part, timeout, known)
        size = _HEADER
        for path in self.removals:
            # Of a character four bytes at most, and the part of the path that the client adds.
            size += 4 * (len(path) + len(client.chroot or "")) + _OPERATION
            if size > limit and transaction.operations and not self._writes:
                self._send(client, (), transaction, timeout, known)
                transaction, size = client.transaction(), _HEADER
            transaction.delete(path, self.expected.get(path, -1))
        self._send(client, writes, transaction, timeout, known)

    def _parts(self, client: Any, writes: list[_Operation], limit: int) -> list[tuple[list[_Operation], Any]]:
        """The writes as transactions that the server takes."""
        transaction = client.transaction()
        for operation in writes:
            if operation.version is None:
                transaction.create(operation.path, operation.data)
            else:
                transaction.set_data(operation.path, operation.data, version=operation.version)
        size = self._size_above(client, writes, transaction, limit)
        if not size:
            return [(writes, transaction)]
        if not self.divisible or len(writes) == 1:
            raise _too_large(writes, size, limit)
        half = len(writes) // 2
        return [*self._parts(client, writes[:half], limit), *self._parts(client, writes[half:], limit)]

    def _send(
        self, client: Any, writes: Sequence[_Operation], transaction: Any, timeout: float, known: items.Known
    ) -> None:
        try:
            results = kazoo_utils.checked_commit(_Commit(transaction, timeout))
        except kazoo_utils.KazooTransactionException as e:
            reasons = [error for _, error in e.failures if not isinstance(error, _TAKEN_BACK)]
            if any(isinstance(error, _OUTRUN) for error in reasons):
                raise Outrun("Somebody else changed the same records in ZooKeeper", cause=e) from e
            failure = exc.StorageFailure("ZooKeeper did not take a transaction", cause=e)
            failure.permanent = any(isinstance(error, PERMANENT) for error in reasons)  # type: ignore[attr-defined]
            raise failure from e
        except lost_errors(client) as e:
            size = sum(len(operation.data) for operation in writes)
            hint = f" of {size} bytes (is the server's jute.maxbuffer smaller?)" if size > _LARGE else ""
            raise Lost(f"The connection to ZooKeeper was lost during a commit{hint}", cause=e) from e
        for operation, result in zip(writes, results, strict=False):
            if operation.item is not None:
                known.put(operation.path, operation.item, 0 if operation.version is None else result.version)

    def size(self, transaction: Any) -> int:
        """Returns the length of the packet that a transaction becomes."""
        return len(serialization.Transaction(transaction.operations).serialize()) + _HEADER

    def _size_above(self, client: Any, writes: Sequence[_Operation], transaction: Any, limit: int) -> int:
        """The size of the packet that some writes become, 0 if the server takes it."""
        bound = sum(len(operation.data) + 4 * len(operation.path) + _OPERATION for operation in writes)
        bound += 4 * len(writes) * len(client.chroot or "")
        if bound <= limit and not client.default_acl:
            return 0
        size = self.size(transaction)
        return size if size > limit else 0


def _too_large(writes: Sequence[_Operation], size: int, limit: int) -> exc.StorageFailure:
    largest = max(writes, key=lambda operation: len(operation.data))
    what, atom_uuid = largest.owner
    failure = exc.StorageFailure(
        f"The ZooKeeper server takes packets of up to {limit} bytes (its jute.maxbuffer, here the option"
        f" 'jute_maxbuffer'), and a transaction of {len(writes)} nodes would be one of {size} bytes. The largest is the"
        f" record of {what} with {len(largest.data)} bytes. Nothing was written; keep large values elsewhere, and only"
        " their place in the record"
    )
    failure.permanent = True  # type: ignore[attr-defined]
    failure.atom_uuid = atom_uuid  # type: ignore[attr-defined]
    return failure


def lost_errors(client: Any) -> tuple[type[Exception], ...]:
    """Returns the errors of a client that say: the answer never came."""
    return (
        client.handler.timeout_exception,
        k_exc.ConnectionLoss,
        k_exc.SessionExpiredError,
        k_exc.OperationTimeoutError,
        k_exc.SessionMovedError,
    )
