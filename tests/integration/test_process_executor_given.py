# SPDX-License-Identifier: Apache-2.0
"""Does a process pool of the program's own serve engines, and stay what it was?"""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import threading

import pytest

from taskflow import engines, states, task
from taskflow import exceptions as exc
from taskflow.engines.action_engine import process_executor, process_wire
from taskflow.patterns import linear_flow, unordered_flow

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import process_executor_tasks as pt  # noqa: E402


def _pool(workers=2, method="spawn"):
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method))


def _load(pool, *atoms, flow=linear_flow.Flow, store=None):
    return engines.load(flow("f").add(*atoms), engine="parallel", executor=pool, store=store)


@pytest.fixture(scope="module")
def shared():
    with _pool() as pool:
        yield pool


def _own():
    links = set()
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            links.add((entry.name, str(pathlib.Path(entry).readlink())))
        except OSError:
            continue
    return set(threading.enumerate()), links


def test_it_serves_and_is_not_shut_down(shared):
    engine = _load(shared, pt.Add("sum"), pt.Pid("pid"), store={"a": 1, "b": 2})
    assert engine.options["executor"] is shared
    engine.run()
    assert engine.storage.get("sum") == 3
    assert engine.storage.get("pid") in shared._processes
    assert shared.submit(os.getpid).result(30) in shared._processes


def test_nothing_is_left_of_a_run(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert shared.submit(abs, -1).result(30) == 1
    before = _own()
    _load(shared, pt.Pid("p")).run()
    assert _own() == before
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_of_the_temporary_folder_does_no_harm(shared, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    engine = _load(shared, pt.Pid("p"))
    engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_events_come_in_order_and_before_the_outcome(method):
    order, floods = [], pt.Floods("f")
    floods.notifier.register("drop", lambda _event, details: order.append(details["i"]))
    with _pool(1, method) as pool:
        engine = _load(pool, floods, pt.Reports("r"), store={"count": 700})
        engine.atom_notifier.register(states.SUCCESS, lambda _event, details: order.append(details["task_name"]))
        engine.run()
    assert order == [*range(700), "f", "r"]
    assert engine.storage.get_task_progress("r") == 1.0


def test_a_forking_pool_makes_its_processes_before_there_are_threads_and_sockets():
    program = (
        "import concurrent.futures as cf, multiprocessing, sys, warnings\n"
        "warnings.simplefilter('error')\n"
        f"sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})\n"
        "import process_executor_tasks as pt\n"
        "from taskflow import engines\n"
        "from taskflow.patterns import linear_flow as lf\n"
        "with cf.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        "    e = engines.load(lf.Flow('f').add(pt.Pid('p')), engine='parallel', executor=pool)\n"
        "    e.run()\n"
        "    print(e.storage.get('p') in pool._processes)\n"
    )
    import subprocess

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (shown.stdout, shown.stderr) == ("True\n", "")


def test_interrupts_are_ignored_only_while_a_task_runs(shared):
    engine = _load(shared, pt.Interrupted("i"))
    engine.run()
    assert engine.storage.get("i") is True
    import signal

    assert shared.submit(signal.getsignal, signal.SIGINT).result(30) is not signal.SIG_IGN


def test_two_engines_share_one(shared):
    loaded = [
        _load(shared, *[pt.Add(f"t{i}", inject={"a": n, "b": i}) for i in range(20)], flow=unordered_flow.Flow)
        for n in (100, 200)
    ]
    threads = [threading.Thread(target=engine.run) for engine in loaded]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for engine, n in zip(loaded, (100, 200), strict=True):
        assert [engine.storage.get(f"t{i}") for i in range(20)] == [n + i for i in range(20)]


def test_failures_and_pickling_errors_are_as_with_processes_of_its_own(shared):
    with pytest.raises(ValueError, match="plain"):
        _load(shared, pt.Fails("bad", "plain")).run()
    with pytest.raises(exc.ExecutionFailure, match="Task 'bad' raised SystemExit"):
        _load(shared, pt.Fails("bad", "exit")).run()
    import pickle

    with pytest.raises(pickle.PicklingError, match="The result of task 'bad'"):
        _load(shared, pt.ReturnsLock("bad")).run()
    with pytest.raises(pickle.UnpicklingError, match="Task 'bad'"):
        _load(shared, pt.Holds("bad", pt.OnlyThere())).run()


def test_a_pool_that_was_shut_down_is_told_of():
    pool = _pool(1)
    pool.shutdown()
    engine = _load(pool, pt.Pid("p"))
    with pytest.raises(RuntimeError, match="after shutdown"):
        engine.run()
    assert (engine.storage.get_flow_state(), engine.storage.get_atom_state("p")) == (states.FAILURE, states.RUNNING)


def test_a_suspension_cancels_what_has_not_begun(tmp_path):
    with _pool(1) as pool:
        first = pt.Waits("first", str(tmp_path / "go"))
        engine = _load(pool, first, *[pt.Pid(f"p{i}") for i in range(5)], flow=unordered_flow.Flow)

        def on_progress(_event, details):
            if details["progress"] == 0.5:
                engine.suspend()
                threading.Timer(0.5, (tmp_path / "go").touch).start()

        first.notifier.register(task.EVENT_UPDATE_PROGRESS, on_progress)
        engine.run(timeout=0.05)
        assert engine.storage.get_flow_state() == states.SUSPENDED
        assert {engine.storage.get_atom_state(f"p{i}") for i in range(5)} == {states.PENDING}
        engine.run()
        assert engine.storage.get_flow_state() == states.SUCCESS


@pytest.mark.parametrize("how", ["exit", "SIGKILL"])
def test_a_pool_that_breaks_fails_the_task_that_broke_it_and_no_other(how, tmp_path, caplog):
    pool = _pool(1)
    try:
        others = [pt.Pid(f"p{i}") for i in range(4)]
        dies = pt.Dies("dies", how, str(tmp_path / "reverted"))
        dies.priority = 1
        engine = _load(pool, pt.Written("before", str(tmp_path / "log")), unordered_flow.Flow("u").add(dies, *others))
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(exc.ExecutionFailure, match="Task 'dies' .* ended abruptly"),
        ):
            engine.run()
    finally:
        pool.shutdown()
    assert "ended abruptly" in (tmp_path / "reverted").read_text()
    assert {engine.storage.get_atom_state(name) for name in ("dies", "before")} == {states.REVERTED}
    assert {engine.storage.get_atom_state(f"p{i}") for i in range(4)} <= {states.REVERTED, states.PENDING}
    assert list(engine.storage.get_execute_failures()) == ["dies"]
    assert any("is broken" in record.getMessage() for record in caplog.records)


def test_a_pool_that_was_broken_before_is_told_of():
    pool = _pool(1)
    try:
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(os._exit, 1).result(30)
        engine = _load(pool, pt.Pid("p"))
        with pytest.raises(concurrent.futures.BrokenExecutor):
            engine.run()
        assert engine.storage.get_flow_state() == states.FAILURE
    finally:
        pool.shutdown()


def test_who_does_not_show_the_key_is_sent_away(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = process_executor.ParallelProcessTaskExecutor(shared)
    made.start()
    try:
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        waits = made.execute_task(pt.Waits("w", str(tmp_path / "go")), "uuid", {})
        for payload in (b"", b"x" * 32, b"x" * 100_000):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(30)
                stranger.connect(str(folder / "in"))
                try:
                    process_wire.Line(stranger).send(process_wire.HELLO, 1, payload)
                    assert stranger.recv(1) == b""
                except ConnectionError:
                    pass  # sent away before all was said
        (tmp_path / "go").touch()
        assert waits.result(30)[0] == "executed"
    finally:
        made.stop()
