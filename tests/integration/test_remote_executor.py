# SPDX-License-Identifier: Apache-2.0
"""Do executors whose workers are out of reach, a Dask cluster and a loky pool, run tasks as any other does?"""

from __future__ import annotations

import pathlib
import sys
import threading
import warnings

import pytest

from taskflow import engines, retry, states
from taskflow import exceptions as exc
from taskflow.engines.action_engine import remote_executor
from taskflow.patterns import linear_flow, unordered_flow

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import process_executor_tasks as pt  # noqa: E402


@pytest.fixture(scope="module")
def loky_pool():
    import loky

    pool = loky.ProcessPoolExecutor(max_workers=2)
    yield pool
    pool.shutdown(wait=True, kill_workers=True)


@pytest.fixture(scope="module")
def dask_pool():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import distributed

        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        here = str(pathlib.Path(__file__).parent)
        client.run(lambda: here in sys.path or sys.path.insert(0, here))
        yield client.get_executor()


@pytest.fixture(params=["loky", "dask"])
def pool(request):
    return request.getfixturevalue(f"{request.param}_pool")


def _load(pool, *atoms, flow=linear_flow.Flow, retry=None, **kwargs):
    return engines.load(flow("f", retry=retry).add(*atoms), engine="parallel", executor=pool, **kwargs)


def test_tasks_run_there_and_the_pool_stays_its_owners(pool):
    for _ in range(2):
        engine = _load(pool, pt.Add("sum", provides="a2"), pt.Pid("pid"), store={"a": 1, "b": 2})
        assert type(engine._task_executor) is remote_executor.ParallelRemoteTaskExecutor
        engine.run()
        assert engine.storage.get("sum") == 3
        assert engine.storage.get("pid") != pt.os.getpid()
    assert pool.submit(abs, -1).result(30) == 1


def test_many_at_once(pool):
    engine = _load(pool, *(pt.Add(f"t{i}", inject={"a": i, "b": 1}) for i in range(50)), flow=unordered_flow.Flow)
    engine.run()
    assert [engine.storage.get(f"t{i}") for i in range(50)] == [i + 1 for i in range(50)]


def test_a_failure_comes_back_as_itself_and_what_ran_is_reverted(pool, tmp_path):
    path = tmp_path / "undone"
    engine = _load(pool, pt.Pid("p"), pt.Fails("bad", "plain", str(path)))
    with pytest.raises(ValueError, match="plain"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED
    assert path.read_text().startswith("bad ValueError")


def test_the_wish_to_end_fails_the_task_only(pool):
    engine = _load(pool, pt.Fails("bad", "exit"))
    with pytest.raises(exc.ExecutionFailure, match="'bad'"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED


def test_retries_stay_here(pool):
    engine = _load(pool, pt.Fails("bad", "plain"), retry=retry.Times(2, "r"))
    with pytest.raises(ValueError, match="plain"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED


def test_what_a_task_told_is_heard_in_order_before_its_outcome(pool):
    heard = []
    reporter = pt.Reports("a")
    reporter.notifier.register("update_progress", lambda _event, details: heard.append(details["progress"]))
    reporter.notifier.register("custom", lambda _event, details: heard.append(details["n"]))
    engine = _load(pool, reporter)
    engine.atom_notifier.register(states.SUCCESS, lambda event, details: heard.append(event))  # noqa: ARG005
    engine.run()
    assert heard == [0.0, 0.25, 1, 0.5, 2, 0.75, "SUCCESS", 1.0]
    assert engine.storage.get_task_progress("a") == 1.0


def test_what_cannot_travel_is_named(pool):
    engine = _load(pool, pt.Holds("holder", threading.Lock()))
    with pytest.raises(Exception, match=r"holder.*held"):
        engine.run()
    assert engine.storage.get_flow_state() == states.FAILURE


def test_a_suspension_takes_back_what_has_not_begun(pool, tmp_path):
    path = tmp_path / "go on"
    names = [f"w{i}" for i in range(20)]
    engine = _load(pool, *(pt.Waits(name, str(path)) for name in names), flow=unordered_flow.Flow)
    threading.Timer(1.0, lambda: (engine.suspend(), threading.Timer(0.7, path.touch).start())).start()
    engine.run()
    assert engine.storage.get_flow_state() == states.SUSPENDED
    left = [state for state, _ in engine.storage.get_atoms_states(names).values()]
    assert set(left) == {states.SUCCESS, states.PENDING}
    engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS


def test_a_pool_must_be_given():
    executor = remote_executor.ParallelRemoteTaskExecutor()
    with pytest.raises(ValueError, match="give it one"):
        executor.start()
    with pytest.raises(RuntimeError, match="not started"):
        executor.execute_task(pt.Pid("p"), "id", {})
