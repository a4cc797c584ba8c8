# SPDX-License-Identifier: Apache-2.0
"""Does the process executor survive the death of its processes, and do they survive nothing that they should not?"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from taskflow import engines, states
from taskflow import exceptions as exc
from taskflow.engines.action_engine import process_executor
from taskflow.patterns import linear_flow, unordered_flow

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "integration"))

import process_executor_tasks as pt  # noqa: E402


def _until(what, seconds=30.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.01)


def _alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _children(parent):
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.add(int(entry.name))
    return found


def _load(*atoms, flow=linear_flow.Flow, max_workers=2):
    return engines.load(flow("f").add(*atoms), engine="parallel", executor="processes", max_workers=max_workers)


# -- processes that die ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exit", "exited with code 7"),
        ("SIGKILL", r"was killed by signal 9 \(SIGKILL\).*memory"),
        ("SIGSEGV", r"was killed by signal 11 \(SIGSEGV\)"),
        ("SIGTERM", r"was killed by signal 15 \(SIGTERM\)"),
    ],
)
def test_a_process_that_dies_fails_its_task_which_is_reverted_by_another(how, text, tmp_path):
    log, reverted = tmp_path / "log", tmp_path / "reverted"
    engine = _load(pt.Written("before", str(log)), pt.Dies("dies", how, str(reverted)), max_workers=1)
    with pytest.raises(exc.ExecutionFailure, match=f"Task 'dies' was being executed in a worker process that {text}"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED
    assert "Task 'dies'" in reverted.read_text()
    pids = {line.split()[-1] for line in log.read_text().splitlines()}
    assert len(pids) == 2


def test_others_that_run_or_wait_are_not_concerned(tmp_path):
    dies, waits = pt.Dies("dies", "SIGKILL"), pt.Waits("waits", str(tmp_path / "go"))
    made = process_executor.ParallelProcessTaskExecutor(max_workers=2)
    made.start()
    try:
        begun = threading.Event()
        running = made.execute_task(waits, "w", {}, lambda *_: begun.set())
        assert begun.wait(30)
        dead = made.execute_task(dies, "d", {})
        later = [made.execute_task(pt.Pid(f"p{i}"), "p", {}) for i in range(3)]
        assert isinstance(dead.result(30)[1].exception, exc.ExecutionFailure)
        assert len({future.result(30)[1] for future in later}) == 1
        assert not running.done()
        (tmp_path / "go").touch()
        assert running.result(30)[1] != later[0].result(0)[1]
    finally:
        made.stop()


def test_a_process_killed_from_outside_in_the_middle_fails_its_task(tmp_path):
    others = set(_children(os.getpid()))
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    made.start()
    try:
        heard, begun = [], threading.Event()

        def on_progress(_event, details):
            heard.append(details)
            begun.set()

        future = made.execute_task(pt.Waits("w", str(tmp_path / "never")), "w", {}, on_progress)
        assert begun.wait(30)
        (pid,) = set(_children(os.getpid())) - others
        os.kill(pid, signal.SIGKILL)
        assert "SIGKILL" in str(future.result(30)[1])
        assert heard == [{"progress": 0.5}]
    finally:
        made.stop()


def test_a_process_killed_while_it_has_nothing_to_do_fails_nothing():
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    made.start()
    try:
        for _ in range(5):
            pid = made.execute_task(pt.Pid("p"), "p", {}).result(30)[1]
            os.kill(pid, signal.SIGKILL)
            # Perhaps it gets the next one before anybody knows.
        assert made.execute_task(pt.Pid("p"), "p", {}).result(30)[1] != pid
    finally:
        made.stop()


def test_a_task_given_to_a_process_that_can_not_read_it_any_more_goes_to_another():
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    made.start()
    try:
        pid = made.execute_task(pt.Pid("p"), "p", {}).result(30)[1]
        os.kill(pid, signal.SIGSTOP)
        given = os.urandom(3_000_000)
        future = made.execute_task(pt.Large("l"), "l", {"given": given})
        _until(future.running)
        os.kill(pid, signal.SIGKILL)
        assert future.result(30)[1] == given[::-1]
    finally:
        made.stop()


def test_a_child_of_a_task_that_lives_on_does_not_hide_the_death_of_the_process():
    began = time.monotonic()
    engine = _load(pt.Dies("dies", "leaves a child"))
    with pytest.raises(exc.ExecutionFailure, match="SIGKILL"):
        engine.run()
    assert time.monotonic() - began < 5


def test_a_process_whose_task_closes_the_connection_is_given_up():
    engine = _load(pt.Dies("dies", "closes"))
    with pytest.raises(exc.ExecutionFailure, match="Task 'dies'"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED


def test_a_task_that_always_kills_its_process_is_not_repeated_for_ever_and_the_flow_ends():
    engine = _load(*[pt.Dies(f"d{i}", "exit") for i in range(4)], flow=unordered_flow.Flow)
    with pytest.raises(exc.WrappedFailure) as caught:
        engine.run()
    assert caught.value.check(exc.ExecutionFailure)
    assert engine.storage.get_flow_state() == states.REVERTED


def test_processes_that_can_not_be_started_fail_what_waits_for_them(tmp_path, monkeypatch):
    from multiprocessing import spawn

    before = spawn.get_executable()
    try:
        for executable, text in (
            (str(tmp_path / "missing"), "could not be started"),
            ("/bin/false", "exited with code 1"),
        ):
            spawn.set_executable(executable)
            engine = _load(pt.Pid("p"))
            with pytest.raises(exc.ExecutionFailure, match=f"Task 'p' was not begun.*{text}"):
                engine.run()
            assert (engine.storage.get_flow_state(), engine.storage.get_atom_state("p")) == (
                states.FAILURE,
                states.RUNNING,
            )
    finally:
        spawn.set_executable(before)
    engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS


# -- programs that die ---------------------------------------------------------------------------------------------


class Program:
    """A program that runs flows in processes."""

    def __init__(self, what, folder, *more):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "process_faults_program.py"), what, str(folder), *more],
            process_group=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.workers = set()

    def pid_of(self, name):
        _until((self.folder / f"{name}.begun").exists)
        return int((self.folder / f"{name}.begun").read_text())

    def begun(self):
        """Wait until the long task runs and the others have ended; returns the workers."""
        self.pid_of("long")
        _until((self.folder / "third.ended").exists)
        self.workers = _children(self.process.pid)
        assert self.pid_of("long") in self.workers
        return self.workers

    def end(self):
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output

    def nobody_is_left(self, seconds=10.0):
        _until(lambda: not any(_alive(pid) for pid in self.workers), seconds)


@pytest.fixture
def program(tmp_path):
    started = []

    def start(what, *more):
        started.append(Program(what, tmp_path, *more))
        return started[-1]

    yield start
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate()


@pytest.mark.parametrize("what", ["run", "run in a given pool"])
def test_processes_end_with_a_program_that_is_killed(what, program, tmp_path):
    one = program(what)
    one.begun()
    # The process that has no task yet is one of the pool's own; only ours is known to end.
    one.workers = one.workers if what == "run" else {one.pid_of("long")}
    one.process.kill()
    one.nobody_is_left(5)
    assert not (tmp_path / "long.ended").exists()


def test_an_interrupt_of_the_terminal_lets_the_running_task_end_and_leaves_nobody(program, tmp_path):
    one = program("interrupt", "1.5")
    one.begun()
    os.killpg(one.process.pid, signal.SIGINT)
    code, output = one.end()
    assert code in (130, -signal.SIGINT)
    assert (tmp_path / "long.ended").exists()
    assert (tmp_path / "report").read_text() == "KeyboardInterrupt SUCCESS"
    # Nothing but the program's own traceback: no process was hit.
    assert output.count("Traceback") == output.count("KeyboardInterrupt") == 1
    one.nobody_is_left(0.1)


def test_a_second_interrupt_kills_what_runs(program, tmp_path):
    one = program("interrupt", "60")
    one.begun()
    os.killpg(one.process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert one.process.poll() is None
    os.killpg(one.process.pid, signal.SIGINT)
    assert one.end()[0] in (130, -signal.SIGINT)
    # Neither done nor failed: the next run does it again.
    assert (tmp_path / "report").read_text() == "KeyboardInterrupt RUNNING"
    one.nobody_is_left(0.1)


def test_an_interrupt_while_processes_start_hits_none_of_them(program, tmp_path):
    for delay in (0.0, 0.02, 0.05):
        one = program("interrupt", "0.3")
        _until(lambda one=one: _children(one.process.pid))
        one.workers = _children(one.process.pid)
        time.sleep(delay)
        os.killpg(one.process.pid, signal.SIGINT)
        code, output = one.end()
        assert code in (130, -signal.SIGINT)
        assert output.count("Traceback") == 1
        one.nobody_is_left(0.1)


def test_a_program_that_ends_in_the_middle_of_a_run_waits_for_what_runs(program, tmp_path):
    one = program("leave in the middle")
    one.begun()
    code, _ = one.end()
    assert code == 0
    assert (tmp_path / "long.ended").exists()
    one.nobody_is_left(0.1)


def test_a_fork_of_the_program_disturbs_nothing(program, tmp_path):
    one = program("fork")
    code, output = one.end()
    assert (code, output) == (0, "")
    assert (tmp_path / "report").read_text() == "0 SUCCESS"


def test_exit_handlers_of_the_main_module_run_in_the_program_only(program, tmp_path):
    code, output = program("main names").end()
    assert (code, output) == (0, "")
    assert (tmp_path / "at_exit").read_text() == "called\n"


def test_what_the_main_module_defines_is_the_same_on_both_sides(program, tmp_path):
    program("main names").end()
    assert (tmp_path / "report").read_text() == "True seldom"
    assert (tmp_path / "checked").read_text() == "True"


@pytest.mark.parametrize(
    ("what", "text"),
    [("broken main", "this main module can not be imported"), ("no guard", "if __name__ == '__main__'")],
)
def test_a_main_module_that_can_not_be_imported_again_is_told_of(what, text, program, tmp_path):
    one = program(what)
    code, _ = one.end()
    assert code == 0
    told = (tmp_path / "report").read_text()
    assert text in told
    assert "was not begun: the worker processes started for it failed to get ready" in told
