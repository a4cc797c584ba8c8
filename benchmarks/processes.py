# SPDX-License-Identifier: Apache-2.0
"""How are processes that measure started, asked and ended?"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Any

from benchmarks import timing

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

FOLDER = pathlib.Path(__file__).resolve().parent
TOP = FOLDER.parent

#: Seconds that an answer may take, beyond what the request itself allows for.
PATIENCE = 300.0


class MeasurementError(Exception):
    """A process that measures failed, or did not answer."""


class Process:
    """A process that measures with one library.

    Args:
        python: The interpreter.
        ours: Whether to measure the library beside this folder, rather than what the interpreter has installed.
    """

    def __init__(self, python: pathlib.Path | str, ours: bool) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        environment.pop("PYTHONPATH", None)
        if ours:
            environment["PYTHONPATH"] = str(TOP)
        self._process = subprocess.Popen(
            [str(python), "-P", str(FOLDER / "child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=TOP,
        )
        # What it says on its standard error must be read, lest it waits for that; only the end of it is kept.
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.about: dict[str, Any] = self._answer(PATIENCE)
        inside = pathlib.Path(self.about["file"]).is_relative_to(TOP / "taskflow")
        if inside != ours:
            self.close()
            raise MeasurementError(f"{python} measures {self.about['file']}, which is the wrong library")

    def _listen(self) -> None:
        for line in self._pipe(self._process.stderr):
            self._said = [*self._said[-20:], line]

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise MeasurementError("The process has no pipe")
        return pipe

    def _answer(self, patience: float) -> dict[str, Any]:
        timer = threading.Timer(patience, self._process.kill)
        timer.start()
        try:
            line = self._pipe(self._process.stdout).readline()
        finally:
            timer.cancel()
        if not line:
            self._process.kill()
            code = self._process.wait()
            self._listener.join(timeout=5)
            raise MeasurementError(f"The process ended with code {code}: {''.join(self._said)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, request: dict[str, Any]) -> timing.Result:
        """Have something measured.

        Args:
            request: See :func:`benchmarks.answering.measure`.

        Returns:
            What was found.

        Raises:
            MeasurementError: It failed.
        """
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps(request) + "\n")
        pipe.flush()
        # The limit is one of processor time; a busy machine needs several times that.
        answer = self._answer(PATIENCE + 10 * (request.get("limit") or 0.0) + request.get("seconds", 0.0))
        if "error" in answer:
            raise MeasurementError(answer["error"])
        return timing.Result.from_dict(answer["result"])

    def close(self) -> None:
        """End the process."""
        self._pipe(self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(timeout=5)
        self._pipe(self._process.stdout).close()
        self._pipe(self._process.stderr).close()

    def __enter__(self) -> Self:
        """Give the process to a ``with`` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process."""
        self.close()


_IMPORT = """
import json, time
started = time.process_time()
wall, cpu = time.perf_counter(), time.process_time()
import taskflow.engines
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, started]))
"""


def import_cost(python: pathlib.Path | str, ours: bool) -> timing.Result:
    """Time ``import taskflow.engines`` in a new interpreter.

    Args:
        python: The interpreter.
        ours: Whether to import the library beside this folder.

    Returns:
        The part ``import``, and as ``start`` what the interpreter used before it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if ours:
        environment["PYTHONPATH"] = str(TOP)
    done = subprocess.run(
        [str(python), "-P", "-c", _IMPORT],
        capture_output=True,
        text=True,
        env=environment,
        cwd=FOLDER,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise MeasurementError(f"{python} can not import taskflow.engines: {done.stderr}")
    wall, cpu, started = json.loads(done.stdout)
    return timing.Result({"import": timing.Cost(wall, cpu), "start": timing.Cost(started, started)})
