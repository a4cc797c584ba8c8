# SPDX-License-Identifier: Apache-2.0
"""The backend that keeps records in ZooKeeper."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import random
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.persistence import base, models, path_based
from taskflow.utils import kazoo_utils

try:
    from taskflow.persistence.backends.zookeeper import asking, clients, items, units
except ImportError as e:
    raise ImportError("ZooKeeper needs the package 'kazoo': pip install taskflow[zookeeper]", name=e.name) from e

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LOG = logging.getLogger(__name__)

MIN_ZK_VERSION = (3, 4, 0)

R = TypeVar("R")

# After so many commits that nobody knows the outcome of, something is wrong that does not go away.
_MOST_LOST = 3

# Whenever somebody else is faster, that one gets done; who was too slow so often meets something else.
_MOST_OUTRUN = 100

# Seconds; longest wait of who was too slow, so that many who write one record do not all try again at once.
_LONGEST_WAIT = 0.05


class ZkBackend(path_based.PathBasedBackend):
    """Keeps records in ZooKeeper.

    Args:
        conf: the options: ``path`` of the node below which all records are (default ``/taskflow``), those of
            ``taskflow.utils.kazoo_utils.make_client``, ``check_compatible`` (whether the server's version is looked at,
            default true), ``reconnect_timeout`` (seconds to wait for a connection that was lost, default 10) and
            ``jute_maxbuffer`` (bytes that the server takes in one packet, default 1048575).
        client: a client to use instead of one made from the options; it is never stopped here.

    Raises:
        ValueError: the path is not absolute, or an option is not a number.
        TypeError: the hosts are none.
    """

    DEFAULT_PATH: ClassVar[str | None] = "/taskflow"

    def __init__(self, conf: dict[str, Any] | None, client: Any = None) -> None:
        super().__init__(conf)
        self._conf = clients.complete(self._conf)
        self._path = self._conf.get("path") or self.DEFAULT_PATH
        if not posixpath.isabs(self._path):
            raise ValueError(f"The path of a ZooKeeper backend must start with a slash, {self._path!r} does not")
        self._owned = client is None
        self._client = kazoo_utils.make_client(self._conf) if client is None else client
        self._limit = clients.number(self._conf, "jute_maxbuffer", 0xFFFFF)
        self._patience = clients.number(self._conf, "reconnect_timeout", 10.0)
        self._known = items.Known()
        self._lock = threading.Lock()
        self._validated = False
        self._closed = False

    def get_connection(self) -> ZkConnection:
        """Returns a connection; the first one starts the client, if needed, and looks at the server's version.

        Raises:
            StorageFailure: there is no server, or one that is too old.
        """
        connection = ZkConnection(self, self._client, self._conf)
        with self._lock:
            with clients.reporting(self._client, f"be reached at {self._place}"):
                clients.start(self._client)
            self._closed = False
            if not self._validated:
                connection.validate()
                self._validated = True
        return connection

    def close(self) -> None:
        """Stops the client, unless it was given; get_connection() starts it again.

        Raises:
            StorageFailure: the client could not be stopped.
        """
        with self._lock:
            self._validated = False
            self._known.clear()
            if not self._owned:
                return
            self._closed = True
            with clients.reporting(self._client, f"be left at {self._place}"):
                kazoo_utils.finalize_client(self._client)

    @property
    def _place(self) -> str:
        hosts = getattr(self._client, "hosts", None)
        where = ",".join(f"{host}:{port}" for host, port in hosts) if isinstance(hosts, list) else str(hosts)
        return f"{where}{self._path}"

    def _ready(self) -> None:
        """Waits a while until the client is connected, and starts it again if it gave up.

        Raises:
            Lost: it is not.
        """
        client = self._client
        if client.connected:
            return
        give_up = time.monotonic() + self._patience
        while not client.connected:
            if clients.is_stopped(client):
                if self._closed or not self._owned:
                    raise units.Lost(f"The client for ZooKeeper at {self._place} is stopped; get a new connection")
                try:
                    with self._lock:
                        clients.start(client, max(give_up - time.monotonic(), 1))
                except client.handler.timeout_exception as e:
                    raise units.Lost(f"No connection to ZooKeeper at {self._place}", cause=e) from e
            elif time.monotonic() > give_up:
                raise units.Lost(f"No connection to ZooKeeper at {self._place} for {self._patience:g} seconds")
            else:
                time.sleep(0.01)


class ZkConnection(path_based.PathBasedConnection, asking.Asking):
    """Reads and writes the records of a ZooKeeper backend.

    What one call writes is one transaction, on condition that the nodes still have the versions that were read. So a
    call whose answer was lost can be done again: what is there already is not written a second time.

    Args:
        backend: the backend that this connection belongs to.
        client: its client, started.
        conf: its options.
    """

    _backend: ZkBackend

    def __init__(self, backend: ZkBackend, client: Any, conf: Mapping[str, Any]) -> None:
        super().__init__(backend)
        asking.Asking.__init__(self, backend, client)
        self._conf = conf
        self._check = clients.CHECKED(conf.get("check_compatible", True))

    # -- what the layout is made with

    def _join_path(self, *parts: str) -> str:
        return posixpath.join(*parts)

    def _get_item(self, path: str) -> Any:
        unit = self._unit
        data: bytes | None
        if unit is not None and (written := unit.written(path)) is not None:
            data = written
        elif unit is not None and path in unit.versions:
            data = unit.data.get(path)
        else:
            [data] = self._read([path])
        if data is None:
            raise exc.NotFound(f"There is no record at {path!r} in ZooKeeper")
        return self._decoded(path, data)

    def _set_item(self, path: str, value: Any, transaction: units.Unit) -> None:
        item = items.make(value)
        if path not in transaction.versions and transaction.written(path) is None:
            self._read([path])
        if item.data != transaction.data.get(path) or transaction.written(path) is not None:
            transaction.put(path, item, transaction.versions.get(path), items.owner(value))

    def _del_tree(self, path: str, transaction: units.Unit) -> None:
        level = [path]
        levels = [level]
        if self._names([path]) == [None]:
            if path in transaction.expected:
                raise units.Outrun(f"Somebody else removed {path!r} from ZooKeeper since it was looked at")
            raise exc.NotFound(f"There is nothing at {path!r} in ZooKeeper")
        while level:
            below = self._names(level)
            level = [
                posixpath.join(parent, name) for parent, names in zip(level, below, strict=True) for name in names or ()
            ]
            levels.append(level)
        for level in reversed(levels):
            for found in level:
                transaction.remove(found)

    def _stamps(self, paths: Sequence[str]) -> list[path_based.Stamp | None]:
        import datetime as dt

        def moment(milliseconds: int) -> dt.datetime:
            return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).replace(tzinfo=None)

        return [
            None if stat is None else path_based.Stamp(moment(stat.ctime), moment(stat.mtime), stat.version)
            for stat in self._stats(paths)
        ]

    def _expect(self, path: str, stamp: path_based.Stamp, transaction: units.Unit) -> None:
        transaction.expected[path] = stamp.version

    def _get_children(self, path: str) -> list[str]:
        [names] = self._names([path])
        if names is None:
            raise exc.NotFound(f"There is nothing at {path!r} in ZooKeeper")
        return names

    def _ensure_path(self, path: str) -> None:
        with self._reporting(f"make {path!r}"):
            self._answers(self._client.ensure_path_async, [path])

    def _create_link(self, src_path: str, dest_path: str, transaction: units.Unit) -> None:
        parent, name = posixpath.split(dest_path)
        names = transaction.children.get(parent)
        if names is None:
            # One question instead of one for each link.
            [found] = self._names([parent])
            names = transaction.children[parent] = set(found or ())
        if name not in names:
            names.add(name)
            transaction.link(dest_path, (f"the link to {src_path!r}", None))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[units.Unit]:
        unit = self._local.unit = units.Unit()
        try:
            yield unit
        finally:
            self._local.unit = None
        if not unit.is_empty:
            with self._reporting("commit a transaction"):
                self._backend._ready()
                unit.commit(self._client, self._backend._known, self._backend._limit, self._timeout)

    def _repeat(self, work: Callable[[], R]) -> R:
        """Does a unit of work; again if its outcome is unknown, or if somebody else was faster."""
        lost = outrun = 0
        while True:
            try:
                return work()
            except units.Lost as e:
                lost += 1
                if lost == _MOST_LOST or not self._recovers():
                    raise
                LOG.debug("Outcome of a unit of work unknown, looking again: %s", e)
            except units.Outrun:
                outrun += 1
                if outrun == _MOST_OUTRUN:
                    raise
                LOG.debug("Somebody else changed the same records, looking again", exc_info=True)
                time.sleep(random.uniform(0, min(0.001 * outrun, _LONGEST_WAIT)))  # noqa: S311 - no secret
            self._catch_up()

    def _recovers(self) -> bool:
        try:
            self._backend._ready()
        except exc.StorageFailure:
            return False
        return True

    def _catch_up(self) -> None:
        """Lets the server that is asked know all that was committed before: another one may have done that."""
        with self._reporting("catch up"):
            self._answers(self._client.sync_async, [self._backend.path])

    # -- the operations of a connection

    def validate(self) -> None:
        """Looks whether the server is new enough, unless the options tell not to.

        Raises:
            StorageFailure: it is not.
        """
        if not self._check:
            return
        try:
            with self._reporting("be asked for its version"):
                clients.check_version(self._client, MIN_ZK_VERSION)
        except exc.IncompatibleVersion as e:
            raise exc.StorageFailure(
                f"ZooKeeper at {self._backend._place} is too old (the option 'check_compatible' turns this off)",
                cause=e,
            ) from e

    def _perform(self, work: Callable[[], R], removes: bool = False) -> R:
        if not removes:
            return self._repeat(work)
        attempts = itertools.count(1)

        def removed() -> Any:
            attempt = next(attempts)
            try:
                return work()
            except exc.NotFound:
                # The second time it was the first one that did it.
                if attempt == 1:
                    raise
                return None

        return self._repeat(removed)  # type: ignore[no-any-return]

    def _merge_flow(self, flow_detail: models.FlowDetail, transaction: units.Unit, ignore_missing: bool) -> None:
        paths = [self._path_of(detail) for detail in (flow_detail, *flow_detail)]
        self._read(path for path in paths if path not in transaction.versions)
        super()._merge_flow(flow_detail, transaction, ignore_missing)

    def _destroy(self, book_uuid: str) -> None:
        self._item_of("log book", self.book_path, book_uuid)
        with self._transaction() as unit:
            book_path = self._join_path(self.book_path, book_uuid)
            flow_uuids = self._get_children(book_path)
            flow_paths = [self._join_path(self.flow_path, uuid) for uuid in flow_uuids]
            for flow_uuid, flow_path, atom_uuids in zip(flow_uuids, flow_paths, self._names(flow_paths), strict=True):
                # What is linked may be gone, with another book that had the same flow detail or by a removal that
                # took several transactions and was interrupted.
                atom_paths = [self._join_path(self.atom_path, uuid) for uuid in atom_uuids or ()]
                for atom_path, stat in zip(atom_paths, self._stats(atom_paths), strict=True):
                    if stat is not None:
                        unit.remove(atom_path)
                for uuid in atom_uuids or ():
                    unit.remove(self._join_path(flow_path, uuid))
                if atom_uuids is not None:
                    unit.remove(flow_path)
                unit.remove(self._join_path(book_path, flow_uuid))
            unit.remove(book_path)

    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        """Reads all books, in no particular order."""
        uuids = iter(self._get_children(self.book_path))
        while window := list(itertools.islice(uuids, asking.WINDOW)):
            paths = [self._join_path(self.book_path, uuid) for uuid in window]
            for uuid, path, data in zip(window, paths, self._read(paths), strict=True):
                if data is None:
                    continue  # removed meanwhile
                if lazy:
                    yield self._deserialize(models.LogBook, self._decoded(path, data))
                else:
                    yield self.get_logbook(uuid)

    def get_flows_for_book(self, book_uuid: str, lazy: bool = False) -> Iterator[models.FlowDetail]:
        """Reads the flow details of a book, without their atom details if lazy."""
        uuids = self._get_children(self._join_path(self.book_path, book_uuid))
        for flow_detail in self._details(models.FlowDetail, "flow detail", self.flow_path, uuids):
            if not lazy:
                for atom_detail in self.get_atoms_for_flow(flow_detail.uuid):
                    flow_detail.add(atom_detail)
            yield flow_detail

    def get_atoms_for_flow(self, flow_uuid: str) -> Iterator[models.AtomDetail]:
        """Reads the atom details of a flow detail."""
        uuids = self._get_children(self._join_path(self.flow_path, flow_uuid))
        yield from self._details(models.AtomDetail, "atom detail", self.atom_path, uuids)

    def _details(self, cls: Any, kind: str, folder: str, uuids: Iterable[str]) -> Iterator[Any]:
        remaining = iter(uuids)
        while window := list(itertools.islice(remaining, asking.WINDOW)):
            paths = [self._join_path(folder, uuid) for uuid in window]
            for uuid, path, data in zip(window, paths, self._read(paths), strict=True):
                if data is None:
                    raise exc.NotFound(f"No {kind} with uuid {uuid!r} is stored")
                yield self._deserialize(cls, self._decoded(path, data))

    def write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail] = (),
    ) -> Sequence[models.AtomDetail]:
        """Writes one unit of work as one transaction, in general without reading anything first.

        See Connection.write() of the base module. Atom details that somebody else stored are not looked for. What is
        too much for one packet is written in several transactions, in the order of the changes.
        """
        attempts = itertools.count(1)
        self._repeat(lambda: self._write(flow_detail, changes, added, trusting=next(attempts) == 1))
        return ()

    def _write(
        self,
        flow_detail: models.FlowDetail,
        changes: Sequence[base.Change],
        added: Sequence[models.AtomDetail],
        trusting: bool,
    ) -> None:
        known = self._backend._known
        flow_path = self._path_of(flow_detail)
        with self._transaction() as unit:
            unit.divisible = True
            gathered = [
                (self._path_of(detail), detail, fields) for detail, fields in path_based.gather_changes(changes)
            ]
            # As a first part may be all that is written: a flow has not ended before its atoms have.
            gathered.sort(key=lambda entry: entry[0] == flow_path)
            remembered = {path: known.get(path) for path, _, _ in gathered} if trusting else {}
            needed = [path for path, _, _ in gathered if remembered.get(path) is None]
            # New records are expected not to be there; if one is, the second attempt looks at it.
            if added and not trusting:
                needed += [self._path_of(detail) for detail in added]
            if added and flow_path not in needed and (not trusting or known.get(flow_path) is None):
                needed.append(flow_path)
            self._read(needed)
            for path, detail, fields in gathered:
                values = {field: path_based.stored_value(detail, field, value) for field, value in fields.items()}
                entry = remembered.get(path)
                if entry is None:
                    item, version = self._stored(unit, path, detail), unit.versions[path]
                else:
                    item, version = entry
                new = item.changed(detail, values)
                # That nothing changes is only certain of what was read just now.
                if entry is not None or new.data != unit.data[path]:
                    unit.put(path, new, version, items.owner_of(detail))
            if added and flow_path in unit.versions:
                self._stored(unit, flow_path, flow_detail)
            for detail in added:
                path, link = self._path_of(detail), self._join_path(flow_path, detail.uuid)
                if trusting:
                    unit.put(path, items.make(self._serialize(detail)), None, items.owner_of(detail))
                    unit.link(link, items.owner_of(detail))
                else:
                    self._merge_into_stored(detail, unit, ignore_missing=True)
                    self._create_link(path, link, unit)

    def _stored(self, unit: units.Unit, path: str, detail: Any) -> items.Item:
        data = unit.data.get(path)
        if data is None:
            kind = "atom" if isinstance(detail, models.AtomDetail) else "flow"
            raise exc.NotFound(
                f"No detail of {kind} '{detail.name}' with uuid {detail.uuid!r} is stored, save it first"
            )
        return items.make(self._decoded(path, data))
