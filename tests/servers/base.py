# SPDX-License-Identifier: Apache-2.0
"""How do tests start a private server, take it away in every manner, and leave nothing of it behind?"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# Starts servers, so that they are its children and end with it, even if it is killed; ends them and removes their
# folders once the tests' process is gone, however that ended: its standard input is then closed. A line asks for a
# folder to be removed in the end, and for a process to be started, which is answered with its number.
_KEEPER = """
import contextlib, json, os, shutil, signal, subprocess, sys
folders, servers = [], []
# Nobody waits for those that end.
signal.signal(signal.SIGCHLD, lambda *_: [server.poll() for server in servers])
for line in sys.stdin:
    asked = json.loads(line)
    folders.append(asked["folder"])
    if "start" in asked:
        try:
            with open(asked["log"], "ab") as output:
                server = subprocess.Popen(
                    asked["start"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=asked["folder"],
                    start_new_session=True, **asked["options"]
                )
            servers.append(server)
            answer = server.pid
        except Exception as e:
            answer = str(e)
        print(json.dumps(answer), flush=True)
for server in servers:
    if server.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""
# Where the tests' process leaves who it is, in each folder that it makes.
_OWNER = "owner"

_keepers: dict[int, subprocess.Popen[str]] = {}
_asking = threading.Lock()


class Unavailable(Exception):
    """A server can not be started here."""


def _since(process: int) -> str | None:
    """Returns when a process was started, which with its number says which one it is; None if it has ended."""
    try:
        state, *rest = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return None
    return None if state in {"Z", "X"} else rest[18]


def _ask_keeper(**asked: Any) -> Any:
    with _asking:
        keeper = _keepers.get(os.getpid())
        if keeper is None or keeper.poll() is not None:
            _remove_leftovers()
            # A session of its own: an interrupt from the keyboard must not end it first.
            command = [sys.executable, "-I", "-S", "-c", _KEEPER]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            keeper = _keepers[os.getpid()] = subprocess.Popen(command, start_new_session=True, cwd="/", **pipes)
        keeper.stdin.write(f"{json.dumps(asked)}\n")
        keeper.stdin.flush()
        return json.loads(keeper.stdout.readline() or '"its parent was ended"') if "start" in asked else None


def _remove_leftovers() -> None:
    """Removes what is left of tests' processes that were killed together with those who look after their servers."""
    for place in {tempfile.gettempdir(), "/tmp"}:
        for file in pathlib.Path(place).glob(f"taskflow-*/{_OWNER}"):
            with contextlib.suppress(OSError, ValueError):
                process, since = file.read_text().split()
                if _since(int(process)) != since:
                    _end_all_in(file.parent)
                    shutil.rmtree(file.parent, ignore_errors=True)


def _end_all_in(folder: pathlib.Path) -> None:
    for link in pathlib.Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(folder):
                os.kill(int(link.parent.name), signal.SIGKILL)


class Process:
    """A process that need not be a child of this one.

    Args:
        pid: its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._since = _since(pid)

    @property
    def is_running(self) -> bool:
        """Tells whether it is there."""
        return self._since is not None and _since(self.pid) == self._since

    def wait(self, seconds: float) -> None:
        """Waits until it is gone."""
        wait_for(lambda: not self.is_running, f"process {self.pid} is gone", seconds)


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
    place = pathlib.Path(tempfile.gettempdir())
    if user is not None and not place.stat().st_mode & stat.S_IXOTH:
        place = pathlib.Path("/tmp")
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"taskflow-{name}-", dir=place))
    _ask_keeper(folder=str(folder))
    (folder / _OWNER).write_text(f"{os.getpid()} {_since(os.getpid())}")
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
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
        self.process: Process | None = None

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
        return self.process is not None and self.process.is_running

    def launch(self) -> None:
        """Starts the process without waiting until it answers."""
        assert not self.is_running, f"{self.name} runs already"
        command = list(map(str, self.command()))
        # Is kept when the program takes the place of this one.
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        options = {"env": {**os.environ, **self.environment()}, **as_user(self.user)}
        pid = _ask_keeper(folder=str(self.folder), log=str(self.log), start=command, options=options)
        if isinstance(pid, str):
            raise Unavailable(f"{command[0]} could not be started: {pid}")
        self.process = Process(pid)

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
        self.process.wait(60)

    def stop(self, sent: signal.Signals | None = None) -> None:
        """Ends the server in order, or by another signal, and waits until it is gone."""
        if self.is_running:
            self.resume()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, sent or self.stop_signal)
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
