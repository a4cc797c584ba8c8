# SPDX-License-Identifier: Apache-2.0
"""Does a flow survive that its database server is restarted, or its connections are cut, while it runs?"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import servers_base

from taskflow import engines, retry, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Callable

# What ran, in this process.
EFFECTS: list[tuple[str, str]] = []
NAMES = [*(f"a{i:02}" for i in range(25)), *(f"b{i:02}" for i in range(12)), *(f"c{i:02}" for i in range(8)), "end"]
KINDS: dict[str, dict[str, Any]] = {
    "serial": {"engine": "serial"},
    "threads": {"engine": "parallel", "executor": "threads", "max_workers": 3},
}
WAYS: dict[str, Callable[[Any], None]] = {
    "stopped": lambda server: server.stop(),
    "killed": lambda server: server.kill(),
}


class Effect(task.Task):
    """Notes what it does."""

    def __init__(self, name: str, fails: bool = False) -> None:
        super().__init__(name, provides=f"of-{name}")
        self.fails = fails

    def execute(self) -> str:
        time.sleep(0.01)
        EFFECTS.append(("execute", self.name))
        if self.fails:
            raise RuntimeError("the end is reached")
        return f"result of {self.name}"

    def revert(self, **kwargs: Any) -> None:
        time.sleep(0.005)
        EFFECTS.append(("revert", self.name))


def make_flow(fails: bool) -> Any:
    line, crowd, again = NAMES[:25], NAMES[25:37], NAMES[37:45]
    return linear_flow.Flow("whole").add(
        *(Effect(name) for name in line),
        unordered_flow.Flow("crowd").add(*(Effect(name) for name in crowd)),
        linear_flow.Flow("again", retry.Times(1, "retry")).add(*(Effect(name) for name in again)),
        Effect("end", fails),
    )


class Run:
    """A flow that runs in a thread, and is resumed for as long as a StorageFailure ends it."""

    def __init__(self, server: Any, kind: str, fails: bool, **conf: Any) -> None:
        self.server = server
        self.name = server.make_database()
        self.kind, self.fails, self.conf = kind, fails, conf
        self.stops = 0
        self.errors: list[BaseException] = []
        self.book = models.LogBook("book")
        EFFECTS.clear()
        self.thread = threading.Thread(target=self._live)

    @contextlib.contextmanager
    def backend(self) -> Any:
        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": self.server.url(self.name), **self.conf})
        try:
            connection = backend.get_connection()
            connection.upgrade()
            yield backend, connection
        finally:
            backend.close()

    def recorded(self) -> dict[str, tuple[str, Any]]:
        with self.backend() as (_, connection):
            (flow_detail,) = connection.get_logbook(self.book.uuid)
            return {detail.name: (detail.state, detail.results) for detail in flow_detail}

    def _live(self) -> None:
        try:
            with self.backend() as (backend, _):
                engine = engines.load(make_flow(self.fails), backend=backend, book=self.book, **KINDS[self.kind])
                going_on = self._stopped_by_storage(engine)
            while going_on:
                self.stops += 1
                self.server.ensure()
                before, effects = self.recorded(), list(EFFECTS)
                with self.backend() as (backend, connection):
                    (flow_detail,) = connection.get_logbook(self.book.uuid)
                    flow = make_flow(self.fails)
                    engine = engines.load(flow, flow_detail=flow_detail, backend=backend, **KINDS[self.kind])
                    going_on = self._stopped_by_storage(engine)
                self._look(before, effects)
        except BaseException as e:
            self.errors.append(e)

    def _stopped_by_storage(self, engine: Any) -> bool:
        try:
            engine.run()
        except exc.StorageFailure:
            return True
        except (RuntimeError, exc.WrappedFailure) as e:
            # Wrapped if it was raised before a resumption.
            if not self.fails or "the end is reached" not in str(e):
                raise
        return False

    def _look(self, before: dict[str, tuple[str, Any]], effects: list[tuple[str, str]]) -> None:
        """What was recorded before was neither lost nor repeated."""
        new = EFFECTS[len(effects) :]
        assert len(new) == len(set(new))
        done = {"execute": {"SUCCESS", "FAILURE", "REVERTING", "REVERTED"}, "revert": {"REVERTED"}}
        for kind, name in new:
            assert before[name][0] not in done[kind], f"{name} was {before[name][0]}, and {kind} again"
        again = set(new) & set(effects)
        assert len(again) <= (1 if self.kind == "serial" else 3), again

    def wait_for(self, effects: int) -> None:
        give_up = time.monotonic() + 60
        while len(EFFECTS) < effects and self.thread.is_alive():
            assert time.monotonic() < give_up, "the flow does not go on"
            time.sleep(0.002)

    def finish(self) -> None:
        self.thread.join(100)
        assert not self.thread.is_alive()
        assert self.errors == []
        recorded = self.recorded()
        assert {recorded[name][0] for name in NAMES} == ({"REVERTED"} if self.fails else {"SUCCESS"})
        if not self.fails:
            assert all(recorded[name][1] == f"result of {name}" for name in NAMES)
        wanted = {("execute", name) for name in NAMES}
        wanted |= {("revert", name) for name in NAMES} if self.fails else set()
        assert set(EFFECTS) == wanted
        assert len(EFFECTS) - len(wanted) <= self.stops * (1 if self.kind == "serial" else 3)


# -- what may happen to a server while a flow runs, whichever kind it is


def restart_at_once(run: Run, way: str) -> None:
    """The server is ended in some way and started again, twice: the flow does not stop."""
    run.thread.start()
    for effects in (8, 30):
        run.wait_for(effects)
        WAYS[way](run.server)
        time.sleep(0.3)
        run.server.start()
    run.finish()
    assert run.stops == 0


def stay_away(run: Run) -> None:
    """The server is away for longer than the flow waits: the flow stops, and goes on once there is a server again."""
    server = run.server
    back = threading.Event()
    ensure, server.ensure = server.ensure, lambda: back.wait(60)
    times = (6, 60) if run.fails else (6,)
    try:
        run.thread.start()
        for effects in times:
            run.wait_for(effects)
            back.clear()
            stops = run.stops
            server.kill()
            servers_base.wait_for(lambda stops=stops: run.stops > stops, "the engine stops")
            server.start()
            back.set()
    finally:
        server.ensure = ensure
        ensure()
        back.set()
    run.finish()
    assert run.stops == len(times)


def keep_silent(run: Run, seconds: float) -> None:
    """The server does not answer for some seconds: nothing runs meanwhile that is not recorded as running."""
    run.thread.start()
    run.wait_for(5)
    run.server.pause()
    time.sleep(0.2)
    before = len(EFFECTS)
    time.sleep(seconds)
    assert len(EFFECTS) == before
    run.server.resume()
    run.finish()
    assert run.stops == 0


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("fails", [False, True])
def test_connections_are_cut_again_and_again(server, kind, fails):
    run = Run(server, kind, fails)
    run.thread.start()
    cuts = 0
    for effects in range(4, 80, 8):
        run.wait_for(effects)
        cuts += server.cut_connections(run.name)
    run.finish()
    assert cuts >= 2
    # A cut alone stops nothing: everything is written again on a new connection.
    assert run.stops == 0


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("way", WAYS)
def test_server_is_started_again_at_once(server, kind, way):
    restart_at_once(Run(server, kind, fails=False), way)


@pytest.mark.parametrize("fails", [False, True])
def test_server_stays_away_and_the_flow_is_resumed(server, fails):
    stay_away(Run(server, "serial" if fails else "threads", fails, reconnect_timeout=0.05))


def test_silent_server_is_waited_for(server):
    keep_silent(Run(server, "serial", fails=False), 0.3)
