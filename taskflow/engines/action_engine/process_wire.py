# SPDX-License-Identifier: Apache-2.0
"""How do an engine's process and its worker processes put messages on the socket between them?

A message is a kind, the number of the job that it is about (0: of none) and bytes. What a socket pair carries can be
neither read nor written by anybody else, so it needs no further proof of identity; who comes by the listening socket
(see ``process_guests``) has to show a key first.
"""

from __future__ import annotations

import collections
import selectors
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.engines.action_engine import process_reactor as reactors

HEADER = struct.Struct("!QBQ")

# To the worker: what it needs to become like the program that it works for; a job.
PREPARE = 1
WORK = 2

# From the worker, about itself: it is prepared; it could not be; it was invited and comes for this job.
READY = 10
BROKEN = 11
HELLO = 12

# From the worker, about its job: an event; one that could not be sent; the job could not be read; what came of it.
EVENT = 20
DROPPED = 21
UNREADABLE = 22
OUTCOME = 23

ABOUT_JOB = frozenset((EVENT, DROPPED, UNREADABLE, OUTCOME))

# Below this many bytes a copy is cheaper than a second system call.
_JOINED = 1 << 16
_CHUNK = 1 << 18

# A program may have asked to be killed by writes to nobody; ours are not to do that.
_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


class Line:
    """The worker's end: messages are waited for, and may be sent by any thread.

    Args:
        sock: The socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """Send a message, waiting while the other side is behind with reading.

        Args:
            kind: What it says.
            number: The number of the job.
            payload: The rest.

        Raises:
            OSError: Nobody is at the other end any more.
        """
        header = HEADER.pack(len(payload), kind, number)
        with self._lock:
            if len(payload) < _JOINED:
                self._sock.sendall(header + payload, _FLAGS)
            else:
                self._sock.sendall(header, _FLAGS)
                self._sock.sendall(payload, _FLAGS)

    def receive(self) -> tuple[int, int, bytearray] | None:
        """Wait for a message.

        Returns:
            Kind, number and payload, or ``None`` when there will not be any more.
        """
        header = self._take(HEADER.size)
        if header is None:
            return None
        size, kind, number = HEADER.unpack(header)
        payload = self._take(size)
        return None if payload is None else (kind, number, payload)

    def _take(self, size: int) -> bytearray | None:
        taken = bytearray(size)
        view = memoryview(taken)
        have = 0
        while have < size:
            try:
                more = self._sock.recv_into(view[have:])
            except ConnectionError:
                return None
            if not more:
                return None
            have += more
        return taken


class Stream:
    """The engine's end: never waits, and lives on the thread of a reactor.

    Args:
        reactor: Tells when the socket can be read or written.
        sock: The socket, which is the stream's to close.
        on_message: Called with the kind, number and payload of every message.
        on_end: Called once when nothing more will come, with whether something sent was left unread.
        limit: The largest payload, in bytes, that is taken; ``None`` for any.
    """

    def __init__(
        self,
        reactor: reactors.Reactor,
        sock: socket.socket,
        on_message: Callable[[int, int, bytes], None],
        on_end: Callable[[bool], None],
        limit: int | None = None,
    ) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = bytearray()
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._can_send = True
        self._ended = False
        self._closed = False
        self.limit = limit
        self.paused = False
        reactor.watch(sock, selectors.EVENT_READ, self._on_ready)

    @property
    def unsent(self) -> bool:
        """Whether something that was to be sent is still here."""
        return bool(self._unsent)

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """Send a message as soon as there is room for it; one to nobody is lost, and the end is told by reading.

        Args:
            kind: What it says.
            number: The number of the job.
            payload: The rest.
        """
        header = HEADER.pack(len(payload), kind, number)
        self.send_raw(*([header + payload] if len(payload) < _JOINED else [header, payload]))

    def send_raw(self, *parts: bytes) -> None:
        """Send bytes that are no message.

        Args:
            parts: The bytes.
        """
        self._unsent.extend(memoryview(part) for part in parts if part)
        self._write()
        self._rewatch()

    def pause(self, paused: bool) -> None:
        """Leave what arrives where it is, so that the other side comes to wait; or go on reading.

        Args:
            paused: Which of the two.
        """
        self.paused = paused
        self._rewatch()

    def finish(self) -> None:
        """Let the other side know that nothing more will be sent."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def drain(self) -> None:
        """Read all that has arrived."""
        while not self._ended and self._read():
            pass

    def close(self) -> None:
        """Close the socket; nothing is told any more."""
        if not self._closed:
            self._closed = self._ended = True
            self._reactor.unwatch(self._sock)
            self._sock.close()
            self._buffer.clear()

    def _rewatch(self) -> None:
        if self._closed:
            return
        events = 0
        if not self.paused and not self._ended:
            events |= selectors.EVENT_READ
        if self._unsent and self._can_send:
            events |= selectors.EVENT_WRITE
        self._reactor.watch(self._sock, events, self._on_ready)

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
            self._rewatch()
        if events & selectors.EVENT_READ and not self._ended and not self.paused:
            self._read()

    def _write(self) -> None:
        while self._unsent and self._can_send and not self._closed:
            part = self._unsent[0]
            try:
                sent = self._sock.send(part, _FLAGS)
            except BlockingIOError:
                return
            except OSError:
                self._can_send = False
                return
            if sent == len(part):
                self._unsent.popleft()
            else:
                self._unsent[0] = part[sent:]

    def _read(self) -> bool:
        """Read once; tells whether there may be more."""
        try:
            chunk = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as e:
            # The system's way to say that the other side went without having read all.
            self._end(isinstance(e, ConnectionResetError))
            return False
        if not chunk:
            self._end(False)
            return False
        self._buffer += chunk
        self._take_messages()
        return True

    def _take_messages(self) -> None:
        while not self._closed and len(self._buffer) >= HEADER.size:
            size, kind, number = HEADER.unpack_from(self._buffer)
            if self.limit is not None and size > self.limit:
                self._end(False)
                return
            end = HEADER.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEADER.size : end])
            del self._buffer[:end]
            self._on_message(kind, number, payload)

    def _end(self, unread: bool) -> None:
        if not self._ended:
            self._ended = True
            self._rewatch()
            self._on_end(unread)
