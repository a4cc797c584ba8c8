# SPDX-License-Identifier: Apache-2.0
"""Does every executor that a program may hand over run flows as it should, and stay its owner's?"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import subprocess
import threading
import time
import venv

import futurist
import pytest

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.listeners import capturing
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

# Dask's own threads, sockets and deprecations are not what is looked at here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WORKERS = 3


class Adds(task.Task):
    def execute(self, **values):
        self.update_progress(0.5)
        return sum(values.values()) + 1


class Undone(task.Task):
    def __init__(self, name, folder):
        super().__init__(name)
        self.folder = folder

    def execute(self):
        return self.name

    def revert(self, result, flow_failures):
        (pathlib.Path(self.folder) / self.name).write_text(f"{result} {sorted(flow_failures)}")


class Fails(task.Task):
    def execute(self):
        raise LookupError("nothing to be found")


class FailsAtFirst(task.Task):
    def execute(self, attempt):
        if attempt < 2:
            raise ValueError("too early")
        return attempt


class Sleeps(task.Task):
    def execute(self):
        time.sleep(0.2)
        return os.getpid()


@contextlib.contextmanager
def dask(processes):
    import distributed

    options = {"n_workers": WORKERS if processes else 1, "threads_per_worker": 1 if processes else WORKERS}
    with (
        distributed.LocalCluster(processes=processes, dashboard_address=None, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


@contextlib.contextmanager
def loky():
    from loky import process_executor

    made = process_executor.ProcessPoolExecutor(2)
    try:
        yield made
    finally:
        made.shutdown(wait=True, kill_workers=True)


MAKERS = {
    "threads of the standard library": lambda: concurrent.futures.ThreadPoolExecutor(WORKERS),
    "processes of the standard library": lambda: concurrent.futures.ProcessPoolExecutor(2),
    "threads of futurist": lambda: futurist.ThreadPoolExecutor(max_workers=WORKERS),
    "processes of futurist": lambda: futurist.ProcessPoolExecutor(max_workers=2),
    "synchronous of futurist": futurist.SynchronousExecutor,
    "threads of dask": lambda: dask(processes=False),
    "processes of dask": lambda: dask(processes=True),
    "processes of loky": loky,
}
ELSEWHERE = {name for name in MAKERS if "processes" in name}


@pytest.fixture(scope="module", params=MAKERS)
def named(request):
    with MAKERS[request.param]() as made:
        yield request.param, made


@pytest.fixture
def executor(named):
    return named[1]


def load(flow, executor, **options):
    return engines.load(flow, engine="parallel", executor=executor, **options)


def test_values_go_where_they_belong(executor):
    flow = graph_flow.Flow("f")
    flow.add(Adds("a", provides="a"), Adds("b", requires=["a"], provides="b"), Adds("c", requires=["a"], provides="c"))
    flow.add(Adds("d", requires=["b", "c"], provides="d"))
    engine = load(flow, executor)
    engine.run()
    assert engine.storage.fetch_all() == {"a": 1, "b": 2, "c": 2, "d": 5}
    assert engine.storage.get_task_progress("d") == 1.0


def test_many_tasks(executor):
    flow = unordered_flow.Flow("f").add(*(Adds(f"t{n}") for n in range(60)))
    engine = load(flow, executor)
    with capturing.CaptureListener(engine) as heard:
        engine.run()
    assert engine.statistics["completed"] == 60
    assert [engine.storage.get(f"t{n}") for n in range(60)] == [1] * 60
    told = [
        (state, details["result"] if state == states.SUCCESS else None)
        for kind, state, details in heard.values
        if kind == "task" and details["task_name"] == "t7"
    ]
    assert told == [(states.RUNNING, None), (states.SUCCESS, 1)]


def test_a_failure_is_undone(executor, tmp_path):
    flow = linear_flow.Flow("f").add(Undone("first", str(tmp_path)), Undone("second", str(tmp_path)), Fails("failing"))
    engine = load(flow, executor)
    with pytest.raises(LookupError, match="nothing to be found"):
        engine.run()
    assert engine.storage.get_flow_state() == states.REVERTED
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: f"{name} ['failing']" for name in ("first", "second")
    }


def test_a_retry(executor):
    controller = retry.ForEach([0, 1, 2], "r", provides="attempt")
    engine = load(linear_flow.Flow("f", controller).add(FailsAtFirst("t")), executor)
    engine.run()
    assert engine.storage.get("t") == 2
    assert [value for value, _ in engine.storage.get_retry_history("r")] == [0, 1, 2]


def test_a_suspension_ends_soon_and_what_is_left_is_done_later(named, executor):
    name, _ = named
    flow = unordered_flow.Flow("f").add(*(Sleeps(f"t{n}") for n in range(12)))
    engine = load(flow, executor)
    timer = threading.Timer(0.3, engine.suspend)
    timer.start()
    began = time.monotonic()
    engine.run()
    timer.join()
    if name == "synchronous of futurist":
        # A task is over when it has been handed over.
        assert time.monotonic() - began < 1.5
    elif engine.storage.get_flow_state() == states.SUSPENDED:
        assert time.monotonic() - began < 10
        left = [n for n in range(12) if engine.storage.get_atom_state(f"t{n}") == states.PENDING]
        assert left
    while engine.storage.get_flow_state() == states.SUSPENDED:
        engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS
    assert {engine.storage.get_atom_state(f"t{n}") for n in range(12)} == {states.SUCCESS}


def test_it_is_used_again_by_two_engines_at_once_and_not_shut_down(named, executor):
    name, _ = named
    made = [load(unordered_flow.Flow(f"f{n}").add(*(Sleeps(f"t{k}") for k in range(3))), executor) for n in range(2)]
    threads = [threading.Thread(target=engine.run) for engine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [engine.storage.get_flow_state() for engine in made] == [states.SUCCESS] * 2
    if name in ELSEWHERE:
        assert os.getpid() not in {engine.storage.get("t0") for engine in made}
    assert executor.submit(int, "42").result(timeout=30) == 42


def test_what_was_shut_down_is_told_of():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    engine = load(linear_flow.Flow("f").add(Adds("t")), pool)
    with pytest.raises(RuntimeError, match="shutdown"):
        engine.run()
    assert engine.storage.get_atom_state("t") in {states.PENDING, states.RUNNING}


@pytest.mark.parametrize("given", [object(), 5, "nonsense", ["threads"]])
def test_what_is_no_executor_is_refused(given):
    with pytest.raises((TypeError, ValueError), match="executor"):
        load(linear_flow.Flow("f").add(Adds("t")), given).compile()


# -- green threads

GREEN = """
import eventlet
eventlet.monkey_patch()
import threading, time
from taskflow import engines, task
from taskflow.patterns import linear_flow, unordered_flow

class Waits(task.Task):
    def execute(self):
        time.sleep(0.2)
        return threading.get_ident()

began = time.monotonic()
flow = linear_flow.Flow("f").add(
    unordered_flow.Flow("u").add(*(Waits(f"t{n}") for n in range(40))),
    task.FunctorTask(lambda: "last", name="last"),
)
engine = engines.load(flow, engine="parallel", executor="greenthreads")
engine.run()
took = time.monotonic() - began
assert took < 4, took
assert len({engine.storage.get(f"t{n}") for n in range(40)}) == 40
print(engine.storage.get_flow_state(), engine.storage.get("last"))
"""


@pytest.fixture(scope="module")
def green_python(tmp_path_factory):
    """An interpreter with eventlet, which is part of no environment of ours: where it is, others use it too."""
    folder = tmp_path_factory.mktemp("green") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    wanted = ["eventlet>=0.36.1", "futurist>=3.0"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, timeout=300)
    return python


def test_green_threads(green_python, tmp_path):
    root = str(pathlib.Path(engines.__file__).parents[2])
    done = subprocess.run(
        [green_python, "-c", GREEN],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert (done.stdout, done.returncode) == ("SUCCESS last\n", 0), done.stderr


def test_green_threads_without_eventlet_say_what_is_missing():
    engine = load(linear_flow.Flow("f").add(Adds("t")), "greenthreads")
    with pytest.raises(RuntimeError, match="eventlet"):
        engine.run()


# -- many


def test_ten_thousand_tasks_in_thirty_two_threads():
    ran, guard = [], threading.Lock()

    class Notes(task.Task):
        def execute(self):
            with guard:
                ran.append(self.name)
            return self.name

    stages = linear_flow.Flow("f")
    for stage in range(10):
        stages.add(unordered_flow.Flow(f"s{stage}").add(*(Notes(f"{stage}-{n}") for n in range(1000))))
    heard = []
    engine = load(stages, "threads", max_workers=32)
    engine.atom_notifier.register(states.SUCCESS, lambda _state, details: heard.append(details["task_name"]))
    before = set(threading.enumerate())
    engine.run()
    assert set(threading.enumerate()) <= before
    assert len(ran) == len(set(ran)) == 10_000
    # A stage begins when the one before it has ended, all of it.
    assert [name.split("-")[0] for name in ran] == [str(stage) for stage in range(10) for _ in range(1000)]
    assert sorted(heard) == sorted(ran)
    assert engine.statistics["completed"] == 10_000
    assert all(engine.storage.get(name) == name for name in ran)


# -- what is no Exception


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_in_a_thread_ends_the_run_and_leaves_it_to_be_gone_on_with(error, workers):
    class Interrupted(task.Task):
        calls = 0

        def execute(self):
            self.calls += 1
            if self.calls == 1:
                raise error
            return "well"

    counted = {f"t{n}": 0 for n in range(6)}

    class Counts(task.Task):
        def execute(self):
            counted[self.name] += 1

    tasks = [Counts(name) for name in counted]
    odd = Interrupted("odd")
    flow = linear_flow.Flow("f").add(unordered_flow.Flow("u").add(*tasks[:3], odd, *tasks[3:]), Adds("after"))
    engine = load(flow, "threads", max_workers=workers)
    with pytest.raises(error):
        engine.run()
    assert engine.storage.get_atom_state("after") == states.PENDING
    resumed = engines.load(flow, flow_detail=engine.storage._flowdetail, engine="parallel", max_workers=workers)
    resumed.run()
    assert resumed.storage.get_flow_state() == states.SUCCESS
    assert resumed.storage.get("odd") == "well"
    assert set(counted.values()) == {1}


def test_storage_may_be_locked_while_it_runs():
    engine = load(unordered_flow.Flow("f").add(*(Adds(f"t{n}") for n in range(30))), "threads", max_workers=4)
    engine.compile()
    engine.prepare()
    lock = engine.storage.lock
    stop, looks = threading.Event(), []

    def look():
        while not stop.is_set():
            with lock.read_lock():
                looks.append(len(engine.storage.get_atoms_states([f"t{n}" for n in range(30)])))
            time.sleep(0)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        engine.run()
    finally:
        stop.set()
        watcher.join()
    assert set(looks) == {30}
    assert engine.storage.get_flow_state() == states.SUCCESS


def test_an_engine_is_not_run_twice_at_once():
    inside, go = threading.Event(), threading.Event()

    class Waits(task.Task):
        def execute(self):
            inside.set()
            go.wait(30)

    engine = load(linear_flow.Flow("f").add(Waits("t")), "threads")
    first = threading.Thread(target=engine.run)
    first.start()
    assert inside.wait(30)
    with pytest.raises(exc.ExecutionFailure, match="running already"):
        next(engine.run_iter())
    go.set()
    first.join()
    assert engine.storage.get_flow_state() == states.SUCCESS


@pytest.mark.parametrize("given", [5, None, ("executed",), ("done", 1), ["executed", 1]])
def test_an_executor_that_gives_something_else_is_told_of(given):
    class Odd(concurrent.futures.Executor):
        def submit(self, fn, /, *args, **kwargs):
            made = concurrent.futures.Future()
            made.set_result(given)
            return made

    engine = load(linear_flow.Flow("f").add(Adds("t")), Odd())
    with pytest.raises(exc.ExecutionFailure, match="t==1.0.*PEP 3148"):
        engine.run()
    assert engine.storage.get_flow_state() == states.FAILURE
