# SPDX-License-Identifier: Apache-2.0
"""Do tasks run in processes as they would in threads, with what can not be pickled told and nothing left behind?"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.engines.action_engine import engine as action_engine
from taskflow.engines.action_engine import executor as executors
from taskflow.engines.action_engine import process_executor
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.types import failure
from taskflow.utils import persistence_utils

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import process_executor_tasks as pt  # noqa: E402


def _load(*atoms, flow=linear_flow.Flow, store=None, **options):
    options.setdefault("executor", "processes")
    options.setdefault("max_workers", 2)
    return engines.load(flow("f").add(*atoms), engine="parallel", store=store, **options)


def _state(engine, name):
    return engine.storage.get_atom_state(name)


def _children():
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                found.add(int(entry.name))
    return found


def _descriptors():
    found = {}
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(pathlib.Path(entry).readlink())
        except OSError:
            continue  # the one by which this is read
    return found


@pytest.fixture(autouse=True)
def nothing_left():
    """Whatever a test here does, no thread, descriptor or process stays behind."""
    before = (set(threading.enumerate()), _descriptors(), _children())
    yield
    assert set(threading.enumerate()) == before[0]
    assert _descriptors() == before[1]
    assert _children() == before[2]


# -- where tasks run -----------------------------------------------------------------------------------------------


def test_tasks_run_in_other_processes_and_get_and_give_values():
    engine = _load(
        pt.Add("sum", provides="c"), pt.Add("more", rebind={"a": "c"}), pt.Pid("pid"), store={"a": 3, "b": 4}
    )
    engine.run()
    assert engine.storage.get("sum") == 7
    assert engine.storage.get("more") == 11
    assert engine.storage.get("pid") != os.getpid()
    assert engine.storage.get_flow_state() == states.SUCCESS


def test_tasks_run_at_the_same_time_in_a_process_each(tmp_path):
    engine = _load(
        pt.Meet("a", str(tmp_path), ["b"]), pt.Meet("b", str(tmp_path), ["a"]), flow=unordered_flow.Flow, max_workers=2
    )
    engine.run()
    assert engine.storage.get("a") != engine.storage.get("b")


def test_processes_are_used_again_within_a_run_and_not_beyond_their_number():
    engine = _load(*[pt.Pid(f"p{i}") for i in range(12)], flow=unordered_flow.Flow, max_workers=1)
    engine.run()
    first = {engine.storage.get(f"p{i}") for i in range(12)}
    assert len(first) == 1
    engine.reset()
    engine.run()
    assert engine.storage.get("p0") not in first


def test_the_hooks_run_in_the_process_too_and_changes_of_the_task_stay_there(tmp_path):
    path = tmp_path / "log"
    calm, unlucky = pt.Written("calm", str(path)), pt.Written("unlucky", str(path), fail=True)
    engine = _load(calm, unlucky)
    with pytest.raises(ValueError, match="no luck"):
        engine.run()
    lines = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
    assert [line for line, _ in lines] == [
        "calm pre_execute",
        "calm execute",
        "calm post_execute",
        "unlucky pre_execute",
        "unlucky execute",
        "unlucky post_execute",
        "unlucky pre_revert",
        "unlucky revert result=Failure: ValueError: no luck failed=unlucky",
        "unlucky post_revert",
        "calm pre_revert",
        "calm revert result=None failed=unlucky",
        "calm post_revert",
    ]
    assert str(os.getpid()) not in {pid for _, pid in lines}
    assert (calm.mutated, unlucky.mutated) == (0, 0)
    assert engine.storage.get_flow_state() == states.REVERTED


def test_retries_stay_in_the_engines_process(tmp_path):
    path = tmp_path / "log"
    flow = linear_flow.Flow("f", retry.Times(3, name="again")).add(pt.Written("unlucky", str(path), fail=True))
    with pytest.raises(ValueError, match="no luck"):
        engines.run(flow, engine="parallel", executor="processes", max_workers=1)
    assert [line.split()[1] for line in path.read_text().splitlines()].count("execute") == 3


def test_a_process_looks_like_the_program_but_has_no_input_and_inherits_no_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = _load(pt.Looks("looks"), pt.Inodes("inodes"))
        engine.run()
        seen = engine.storage.get("looks")
        assert seen["cwd"] == str(pathlib.Path.cwd())
        assert [entry for entry in sys.path if entry] == [entry for entry in seen["path"] if entry in sys.path]
        assert (seen["argv"], seen["stdin"]) == (sys.argv, "")
        assert os.fstat(server.fileno()).st_ino not in engine.storage.get("inodes")


def test_interrupts_are_ignored_in_the_process():
    engine = _load(pt.Interrupted("i"))
    engine.run()
    assert engine.storage.get("i") is True


def test_what_a_task_wants_done_at_exit_is_done(tmp_path):
    _load(pt.AtExit("a", str(tmp_path / "gone"))).run()
    assert (tmp_path / "gone").exists()


def test_large_values_travel_both_ways():
    given = os.urandom(5_000_000)
    engine = _load(pt.Large("large"), store={"given": given})
    engine.run()
    assert engine.storage.get("large") == given[::-1]


# -- choosing it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["process", "processes", "Processes", "PROCESS"])
def test_it_is_chosen_by_word(word):
    engine = _load(pt.Pid("p"), executor=word)
    assert isinstance(engine._task_executor, process_executor.ParallelProcessTaskExecutor)


def test_a_process_pool_chooses_it_and_other_pools_do_not():
    with concurrent.futures.ThreadPoolExecutor(1) as threads, concurrent.futures.ProcessPoolExecutor(1) as processes:
        fetch = action_engine.ParallelActionEngine._fetch_task_executor
        assert type(fetch({"executor": threads})) is executors.ParallelThreadTaskExecutor
        assert type(fetch({"executor": processes})) is process_executor.ParallelProcessTaskExecutor


def test_an_unknown_word_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="greenthreads.*process, processes, thread"):
        _load(pt.Pid("p"), executor="fibers")


@pytest.mark.parametrize("options", [{"max_workers": "two"}, {"wait_timeout": "soon"}, {"wait_timeout": 0}])
def test_bad_options_are_refused_at_once(options):
    with pytest.raises(ValueError, match="two|soon|wait_timeout"):
        _load(pt.Pid("p"), **options)


def test_options_may_come_as_texts():
    engine = _load(pt.Pid("p"), max_workers="1", wait_timeout="0.1")
    engine.run()
    assert engine.storage.get_flow_state() == states.SUCCESS


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_of_no_processes_is_refused_when_the_run_starts(workers):
    engine = _load(pt.Pid("p"), max_workers=workers)
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        engine.run()
    assert _state(engine, "p") == states.PENDING


def test_there_are_as_many_processes_as_processors_unless_told_otherwise(monkeypatch, tmp_path):
    for name in ("cpu_count", "process_cpu_count"):
        monkeypatch.setattr(os, name, lambda: 3, raising=False)
    names = ["a", "b", "c"]
    engine = _load(*[pt.Meet(name, str(tmp_path), names) for name in names], flow=unordered_flow.Flow, max_workers=None)
    engine.run()
    assert len({engine.storage.get(name) for name in names}) == 3


def test_nothing_of_it_is_imported_before_it_is_asked_for():
    program = (
        "import sys, taskflow.engines as e\nfrom taskflow import task\n"
        "from taskflow.patterns import linear_flow as lf\n"
        "class T(task.Task):\n    def execute(self): pass\n"
        "e.run(lf.Flow('f').add(T()), engine='parallel')\n"
        "print([m for m in sys.modules if m.startswith('multiprocessing') or 'process_' in m])\n"
        "e.load(lf.Flow('f').add(T()), engine='parallel', executor='process')\n"
        "print('taskflow.engines.action_engine.process_executor' in sys.modules)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split("\n")[:2] == ["[]", "True"]


# -- as an executor ------------------------------------------------------------------------------------------------


def test_futures_carry_their_atom_and_give_pairs():
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    assert made.inline is False
    made.start()
    try:
        add = pt.Add("add")
        future = made.execute_task(add, "uuid", {"a": 1, "b": 2})
        assert future.atom is add
        assert future.result(30) == (executors.EXECUTED, 3)
        assert made.revert_task(add, "uuid", {}, 3, {}).result(30)[0] == executors.REVERTED
    finally:
        made.stop()


def test_it_takes_nothing_before_it_is_started_and_after_it_is_stopped():
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="start it before submitting"):
            made.execute_task(pt.Pid("p"), "uuid", {})
        made.start()
        made.stop()
        made.stop()


def test_stopping_waits_for_what_runs_and_cancels_what_does_not(tmp_path):
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    made.start()
    begun = threading.Event()
    first = made.execute_task(pt.Waits("a", str(tmp_path / "go")), "a", {}, lambda *_: begun.set())
    second = made.execute_task(pt.Pid("b"), "b", {})
    assert begun.wait(30)
    stopper = threading.Thread(target=made.stop)
    stopper.start()
    until = time.monotonic() + 10
    while not second.cancelled():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert stopper.is_alive()
    (tmp_path / "go").touch()
    stopper.join(30)
    assert first.result(0)[0] == executors.EXECUTED


# -- what fails ----------------------------------------------------------------------------------------------------


def test_an_exception_comes_back_as_itself_and_shows_where_it_was_raised():
    engine = _load(pt.Fails("bad", "plain"))
    with pytest.raises(ValueError, match="plain") as caught:
        engine.run()
    assert caught.value.args == ("plain", 5)
    assert any(
        "worker process of task 'bad'" in note and "process_executor_tasks" in note for note in caught.value.__notes__
    )
    found = engine.storage.get_execute_failures()["bad"]
    assert found.check(ValueError)
    assert 'raise ValueError("plain", 5)' in found.traceback_str


@pytest.mark.parametrize(
    ("kind", "cls", "text"),
    [("unfit", pt.Unfit, "not for travelling"), ("one way", pt.OneWay, "this and that")],
)
def test_an_exception_that_can_not_travel_comes_back_as_texts(kind, cls, text, tmp_path):
    path = tmp_path / "log"
    engine = _load(pt.Written("before", str(path)), pt.Fails("bad", kind, str(path)))
    with pytest.raises(exc.WrappedFailure) as caught:
        engine.run()
    assert caught.value.check(cls) is cls
    found = engine.storage.get_execute_failures()["bad"]
    assert found.exception is None
    assert found.exception_str == text
    assert "in execute" in found.traceback_str
    # It also went to the process again, to be reverted.
    assert f"bad NoneType {text}" in path.read_text()
    assert _state(engine, "before") == states.REVERTED


def test_an_exception_with_an_argument_that_can_not_travel_comes_back_without():
    engine = _load(pt.Fails("bad", "unfit argument"))
    with pytest.raises(exc.WrappedFailure) as caught:
        engine.run()
    assert caught.value.check(ValueError) is ValueError
    assert engine.storage.get_execute_failures()["bad"].exception_args == ()


def test_causes_come_along():
    engine = _load(pt.Fails("bad", "caused"))
    with pytest.raises(RuntimeError, match="second"):
        engine.run()
    (cause,) = engine.storage.get_execute_failures()["bad"].causes
    assert cause.check(KeyError) is KeyError
    assert cause.exception_args == ("first",)


def test_a_failure_that_is_returned_is_a_failure():
    engine = _load(pt.Fails("bad", "returned"))
    with pytest.raises(LookupError, match="given back"):
        engine.run()


@pytest.mark.parametrize(("kind", "cls"), [("exit", SystemExit), ("interrupt", KeyboardInterrupt)])
def test_the_wish_to_end_fails_the_task_only(kind, cls):
    engine = _load(pt.Fails("bad", kind))
    with pytest.raises(exc.ExecutionFailure, match=f"Task 'bad' raised {cls.__name__}"):
        engine.run()
    (cause,) = engine.storage.get_execute_failures()["bad"].causes
    assert cause.check(cls) is cls
    assert engine.storage.get_flow_state() == states.REVERTED


def test_failures_with_exceptions_that_can_not_travel_do_not_keep_from_reverting(tmp_path):
    path = tmp_path / "log"
    path.touch()
    stuck = failure.Failure.from_exception(pt.Unfit("from the parent"))
    made = process_executor.ParallelProcessTaskExecutor(max_workers=1)
    made.start()
    try:
        outcome = made.revert_task(pt.Written("w", str(path)), "uuid", {}, stuck, {"w": stuck}).result(30)
    finally:
        made.stop()
    assert outcome == (executors.REVERTED, None)
    assert "result=Failure: process_executor_tasks.Unfit: from the parent failed=w" in path.read_text()


# -- what can not be pickled ---------------------------------------------------------------------------------------


def _local_task():
    class Local(task.Task):
        def execute(self):
            pass

    return Local("bad")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: pt.Holds("bad", {"a": [1, threading.Lock()]}), r"task\.held\['a'\]\[1\] \(_thread\.lock\)"),
        (_local_task, r"task \(.*Local\).*Can't pickle|task \(.*Local\).*Can't get"),
        (lambda: task.FunctorTask(lambda: 1, name="bad"), r"task\._execute \(.*function\)"),
    ],
)
def test_a_task_that_can_not_be_pickled_is_named_with_the_part(make, part):
    engine = _load(pt.Pid("before"), make())
    with pytest.raises(pickle.PicklingError, match=f"Task 'bad' can not be sent to a worker process: {part}"):
        engine.run()
    assert (_state(engine, "before"), _state(engine, "bad")) == (states.SUCCESS, states.RUNNING)
    assert engine.storage.get_flow_state() == states.FAILURE


def test_an_argument_that_can_not_be_pickled_is_named_and_another_engine_may_go_on():
    flow = linear_flow.Flow("f").add(pt.Holds("bad"))
    _, detail = persistence_utils.temporary_flow_detail()
    store = {"given": {"deep": (threading.Lock(),)}}
    engine = engines.load(flow, engine="parallel", flow_detail=detail, executor="processes", store=store)
    with pytest.raises(
        pickle.PicklingError, match=r"Task 'bad' .*: arguments\['given'\]\['deep'\]\[0\] \(_thread.lock\)"
    ):
        engine.run()
    resumed = engines.load(flow, engine="parallel", flow_detail=detail, executor="threads")
    resumed.run()
    assert resumed.storage.get("bad") == "done"


def test_a_result_that_can_not_be_pickled_fails_the_task_like_any_failure(tmp_path):
    path = tmp_path / "log"
    engine = _load(pt.Written("before", str(path)), pt.ReturnsLock("bad"))
    with pytest.raises(
        pickle.PicklingError, match=r"The result of task 'bad' .*: result\['parts'\]\[1\] \(_thread\.lock\)"
    ):
        engine.run()
    assert (_state(engine, "before"), _state(engine, "bad")) == (states.REVERTED, states.REVERTED)


def test_a_result_that_can_not_be_read_here_fails_the_task_like_any_failure():
    engine = _load(pt.ReturnsOnlyThere("bad"))
    with pytest.raises(pickle.UnpicklingError, match="result of task 'bad' .*LookupError: only at home"):
        engine.run()
    assert _state(engine, "bad") == states.REVERTED


def test_a_task_that_can_not_be_read_there_was_not_begun():
    engine = _load(pt.Holds("bad", pt.OnlyThere()))
    with pytest.raises(pickle.UnpicklingError, match="Task 'bad' .*could not be read there: LookupError: only at home"):
        engine.run()
    assert (_state(engine, "bad"), engine.storage.get_flow_state()) == (states.RUNNING, states.FAILURE)
