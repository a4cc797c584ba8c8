# SPDX-License-Identifier: Apache-2.0
"""How do tests start a private server, take it away in every manner, and leave nothing of it behind?"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# Ends what is left, and removes its folders, once the tests' process is gone, however that ended: its standard input is
# then closed. A line is "<process> <folder>"; the last line for a folder counts, and process 0 stands for none.
_WATCHER = """
import contextlib, os, shutil, signal, sys
known = {}
for line in sys.stdin:
    process, folder = line.rstrip("\\n").split(" ", 1)
    known[folder] = int(process)
for folder, process in known.items():
    if process:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
"""

_watchers: dict[int, subprocess.Popen[str]] = {}


class Unavailable(Exception):
    """A server can not be started here."""


def _watch(process: int, folder: pathlib.Path) -> None:
    watcher = _watchers.get(os.getpid())
    if watcher is None:
        # A session of its own: an interrupt from the keyboard must not end it first.
        command = [sys.executable, "-I", "-S", "-c", _WATCHER]
        watcher = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True, cwd="/")
        _watchers[os.getpid()] = watcher
    watcher.stdin.write(f"{process} {folder}\n")
    watcher.stdin.flush()


def free_port() -> int:
    """Returns a port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def answers(port: int) -> bool:
    """Tells whether somebody listens on a port of 127.0.0.1."""
    with contextlib.closing(socket.socket()) as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0


def find_program(name: str, package: str, *folders: str) -> str:
    """Returns the path of a program; folders may hold wildcards, and of several the last in order is taken.

    Raises:
        Unavailable: it is not installed.
    """
    for pattern in folders:
        found = sorted(pathlib.Path("/").glob(f"{pattern.lstrip('/')}/{name}"))
        if found:
            return str(found[-1])
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise Unavailable(
            f"The program {name} is not there. Install it: apt-get install {package} (make test does that)"
        )
    return path


def server_user(*names: str) -> str | None:
    """Returns the user under whom a server runs that refuses to be run by root: None means the present one."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Unavailable(f"None of the users {', '.join(names)} and nobody exists, and root may not run this server")


def make_folder(name: str, user: str | None = None) -> pathlib.Path:
    """Makes an empty folder with a short path (of sockets it may have about 100 characters) that a user owns."""
    # Other users can not reach the folders that pytest makes for root.
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"taskflow-{name}-", dir="/tmp" if user else None))
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    _watch(0, folder)
    return folder


def as_user(user: str | None) -> dict[str, object]:
    """Returns the arguments with which subprocess starts a program as a user."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()}


def run_program(command: Sequence[str], log: pathlib.Path, user: str | None = None, cwd: str = "/") -> None:
    """Runs a program to its end, with its output added to a file.

    Raises:
        Unavailable: it failed.
    """
    with log.open("ab") as output:
        code = subprocess.call(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, timeout=120, **as_user(user)
        )
    if code:
        raise Unavailable(f"{command[0]} ended with code {code}:\n{tail(log)}")


def tail(log: pathlib.Path, size: int = 4000) -> str:
    """Returns the last part of a file."""
    return log.read_text(errors="replace")[-size:] if log.exists() else ""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Waits until a condition holds.

    Raises:
        TimeoutError: it does not.
    """
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"After {seconds:.0f} seconds still not: {what}")
        time.sleep(0.01)


class Server:
    """A server process with a folder of its own, both gone at the latest when the tests' process is.

    Args:
        name: of the server; part of the folder's name.
        user: under whom it runs, see server_user().
    """

    def __init__(self, name: str, user: str | None = None) -> None:
        self.name = name
        self.user = user
        self.folder = make_folder(name, user)
        self.log = self.folder / "server.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    # -- what kinds of servers define

    def command(self) -> Sequence[str]:
        """Returns the program and its arguments."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Returns what the program's environment has besides the tests' own."""
        return {}

    def is_ready(self) -> bool:
        """Tells whether the server answers."""
        return answers(self.port)

    stop_signal = signal.SIGTERM

    # -- life

    @property
    def is_running(self) -> bool:
        """Tells whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def launch(self) -> None:
        """Starts the process without waiting until it answers."""
        assert not self.is_running, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                start_new_session=True,
                **as_user(self.user),
            )
        _watch(self.process.pid, self.folder)

    def start(self, seconds: float = 60.0) -> None:
        """Starts the server and waits until it answers; one that ends early is tried again until the time is over."""
        give_up = time.monotonic() + seconds
        self.launch()
        while not self.is_ready():
            if time.monotonic() > give_up:
                self.kill()
                raise Unavailable(f"{self.name} did not answer within {seconds:.0f} seconds:\n{tail(self.log)}")
            if not self.is_running:
                # What a killed one left, or its port, may still be taken.
                time.sleep(0.2)
                self.launch()
            time.sleep(0.02)

    def ensure(self) -> None:
        """Lets the server answer, whatever an earlier test did to it."""
        if self.is_running:
            self.resume()
            wait_for(self.is_ready, f"{self.name} answers")
        else:
            self.start()

    def _gone(self) -> None:
        assert self.process is not None
        self.process.wait(timeout=60)
        _watch(0, self.folder)

    def stop(self, sent: signal.Signals | None = None) -> None:
        """Ends the server in order, or by another signal, and waits until it is gone."""
        if self.is_running:
            self.resume()
            self.process.send_signal(sent or self.stop_signal)
            self._gone()

    def kill(self) -> None:
        """Takes the server away at once, as a crash does."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self._gone()

    def restart(self) -> None:
        """Ends the server in order and starts it again."""
        self.stop()
        self.start()

    def _signal_all(self, sent: signal.Signals) -> None:
        # Children too, which some servers put into groups of their own.
        family = [self.process.pid]
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(path.read_text().rsplit(") ", 1)[1].split()[1]) == self.process.pid:
                    family.append(int(path.parent.name))
        for number in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, sent)

    def pause(self) -> None:
        """Makes the server silent, with its connections open."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends what pause() began."""
        self._signal_all(signal.SIGCONT)

    def remove(self) -> None:
        """Ends the server and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(make: Callable[[], Server]) -> Iterator[Server]:
    """Makes and starts a server for as long as the context lasts."""
    server = make()
    try:
        server.start()
        yield server
    finally:
        server.remove()
