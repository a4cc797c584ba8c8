# SPDX-License-Identifier: Apache-2.0
"""Where is the published TaskFlow that ours is compared with, and how does it get there?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION = "6.5.0"
REQUIREMENTS = (f"taskflow=={VERSION}", "sqlalchemy", "alembic")
# Outside of the repository: what is there is somebody else's.
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "taskflow-benchmarks"
# Seconds that an installation may take.
PATIENCE = 600
# What pip says when its last attempt to reach the index was in vain as all others.
_GAVE_UP = re.compile(
    r"Retry\(total=0,.*(NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError)|Failed to connect to"
)


class NotInstalled(Exception):
    """The published package could not be installed.

    Args:
        why: What was tried and what came of it.
        unreachable: Whether the reason is that there is no way to an index of packages.
    """

    def __init__(self, why: str, unreachable: bool = False) -> None:
        super().__init__(why)
        self.unreachable = unreachable


def _do(command: Sequence[str]) -> None:
    said = f"{' '.join(command)}: "
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as e:
        raise NotInstalled(f"{said}{e}") from e
    except subprocess.TimeoutExpired as e:
        raise NotInstalled(f"{said}no end after {PATIENCE} seconds") from e
    if done.returncode:
        complaint = done.stderr.strip() or done.stdout.strip()
        for line in complaint.splitlines():
            if _GAVE_UP.search(line):
                raise NotInstalled(f"{said}no index of packages can be reached: {line}", unreachable=True)
        raise NotInstalled(f"{said}{complaint[-2000:]}")


def _fill(folder: pathlib.Path, python: pathlib.Path, requirements: Sequence[str]) -> None:
    """Make the environment: with uv where there is one, which takes a tenth of the time."""
    uv = shutil.which("uv", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        # It does not know how pip is configured, so what it can not do proves nothing.
        with contextlib.suppress(NotInstalled):
            _do([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            _do([uv, "pip", "install", "--quiet", "--python", str(python), *requirements])
            return
    _do([sys.executable, "-m", "venv", "--clear", str(folder)])
    _do([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Environment:
    """A virtual environment with the published package, which is kept for later runs.

    Args:
        name: Who needs it; others get environments of their own.
        drivers: What else it shall hold.
        cache: The folder that it is in.
    """

    def __init__(self, name: str = "benchmarks", drivers: Sequence[str] = (), cache: pathlib.Path = CACHE) -> None:
        suffix = "" if name == "benchmarks" else f"-{name}"
        self._name = name
        self._folder = cache / f"taskflow-{VERSION}{suffix}-py{sys.version_info.major}.{sys.version_info.minor}"
        self._requirements = [*REQUIREMENTS, *drivers]
        # Environments hold absolute paths: one that was moved is made anew.
        self._stamp = "\n".join((str(self._folder), *drivers))
        self._ready = self._folder / ".ready"
        self.python = self._folder / "bin" / "python"

    @property
    def is_ready(self) -> bool:
        """Whether it is there already."""
        known = self._ready.exists() and self._ready.read_text(encoding="utf-8") == self._stamp
        return known and self.python.exists()

    def prepare(self) -> pathlib.Path:
        """Make it, unless it is there.

        Returns:
            Its interpreter.

        Raises:
            NotInstalled: It could not be made.
        """
        # Tests and benchmarks may want it at the same time.
        with _locked(self._folder.with_name(f"{self._folder.name}.lock")):
            if not self.is_ready:
                print(f"{self._name}: installing {' '.join(self._requirements)} into {self._folder}", flush=True)
                _fill(self._folder, self.python, self._requirements)
                self._ready.write_text(self._stamp, encoding="utf-8")
        return self.python


def prepare(
    cache: pathlib.Path = CACHE, name: str = "benchmarks", drivers: Sequence[str] = ()
) -> tuple[pathlib.Path | None, str]:
    """Make a virtual environment with the published package, unless it is there already.

    Args:
        cache: The folder to make it in.
        name: Who asks; others get environments of their own.
        drivers: What else it shall hold.

    Returns:
        Its interpreter, or ``None`` and why it could not be made.
    """
    try:
        return Environment(name, drivers, cache).prepare(), ""
    except NotInstalled as e:
        return None, str(e)
