# SPDX-License-Identifier: Apache-2.0
"""Where is the published TaskFlow that ours is compared with, and how does it get there?"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "6.5.0"
REQUIREMENTS = (f"taskflow=={VERSION}", "sqlalchemy", "alembic")


def _commands(folder: pathlib.Path, python: pathlib.Path, requirements: Sequence[str]) -> list[list[str]]:
    """The commands that make the environment: those of uv where there is one, which takes a tenth of the time."""
    uv = shutil.which("uv", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        return [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *requirements],
        ]
    return [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
    ]


def prepare(
    cache: pathlib.Path, name: str = "benchmarks", drivers: Sequence[str] = ()
) -> tuple[pathlib.Path | None, str]:
    """Make a virtual environment with the published package, unless it is there already.

    Args:
        cache: The folder to make it in.
        name: Who asks; others get environments of their own.
        drivers: What else it shall hold.

    Returns:
        Its interpreter, or ``None`` and why it could not be made.
    """
    suffix = "" if name == "benchmarks" else f"-{name}"
    folder = cache / f"taskflow-{VERSION}{suffix}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    requirements = [*REQUIREMENTS, *drivers]
    # Environments hold absolute paths: one that was moved is made anew.
    stamp = "\n".join((str(folder), *drivers))
    if ready.exists() and ready.read_text(encoding="utf-8") == stamp and python.exists():
        return python, ""
    print(f"{name}: installing {' '.join(requirements)} into {folder}", flush=True)
    for command in _commands(folder, python, requirements):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as e:
            return None, f"{' '.join(command)}: {e}"
        if done.returncode:
            return None, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    ready.write_text(stamp, encoding="utf-8")
    return python, ""
