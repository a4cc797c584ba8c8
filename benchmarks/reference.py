# SPDX-License-Identifier: Apache-2.0
"""Where is the published TaskFlow that figures are compared with, and how does it get there?"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

VERSION = "6.5.0"
REQUIREMENTS = (f"taskflow=={VERSION}", "sqlalchemy", "alembic")


def prepare(cache: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """Make a virtual environment with the published package, unless it is there already.

    Args:
        cache: The folder to make it in.

    Returns:
        Its interpreter, or ``None`` and why it could not be made.
    """
    folder = cache / f"taskflow-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    # Environments hold absolute paths: one that was moved is made anew.
    if ready.exists() and ready.read_text(encoding="utf-8") == str(folder) and python.exists():
        return python, ""
    print(f"benchmarks: installing {' '.join(REQUIREMENTS)} into {folder}", flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as e:
            return None, f"{' '.join(command)}: {e}"
        if done.returncode:
            return None, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    ready.write_text(str(folder), encoding="utf-8")
    return python, ""
