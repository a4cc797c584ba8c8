# SPDX-License-Identifier: Apache-2.0
"""Do flows run on a backend, and are they resumed from what it kept?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow, unordered_flow
from taskflow.persistence import models
from taskflow.testing import _basis

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow import flow as flow_type

LENGTH = 6


class _Step(task.Task):
    """Notes that it was executed or undone."""

    def __init__(self, name: str, log: list[str], fails: bool = False, result: Any = None, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._log = log
        self._fails = fails
        self._result = name if result is None else result

    def execute(self, *_: Any, **__: Any) -> Any:
        """Returns what it was made with, or raises an error."""
        self._log.append(self.name)
        self.update_progress(0.5)
        if self._fails:
            raise ValueError(f"{self.name} fails", {"é": 1})
        return self._result

    def revert(self, *_: Any, **__: Any) -> Any:
        """Returns what undoing gave."""
        self._log.append(f"-{self.name}")
        return f"undone {self.name}"


class Running(_basis.Basis):
    """Engines on the backend, which stop anywhere and are gone on with elsewhere."""

    def _line(self, log: list[str], **last: Any) -> flow_type.Flow:
        names = [f"s{number}" for number in range(LENGTH)]
        steps = [_Step(name, log, provides=f"value {name}") for name in names[:-1]]
        return linear_flow.Flow("line").add(*steps, _Step(names[-1], log, **last))

    def _found(self, book: models.LogBook, flow: models.FlowDetail) -> models.FlowDetail:
        """The record of a flow as somebody else finds it."""
        found = self.other_connection().get_logbook(book.uuid).find(flow.uuid)
        assert found is not None
        return found

    def _started(self, flow: flow_type.Flow, **options: Any) -> tuple[models.LogBook, Any]:
        book = models.LogBook("book")
        return book, engines.load(flow, backend=self.tested, book=book, store={"given": [1, "é"]}, **options)

    def test_flow_runs_and_its_record_tells_everything(self) -> None:
        for kind in ("serial", "parallel"):
            with self.subTest(kind):
                log: list[str] = []
                book, engine = self._started(self._line(log), engine=kind)
                engine.run()
                found = self._found(book, engine.storage._flowdetail)
                self.assertEqual(found.state, states.SUCCESS)
                atoms = {atom.name: atom for atom in found}
                for name in log:
                    self.assertEqual((atoms[name].state, atoms[name].results), (states.SUCCESS, name))
                    self.assertEqual(atoms[name].meta["progress"], 1.0)
                self.assertEqual([atom.results for atom in found if atom.name not in log], [{"given": [1, "é"]}])

    def test_flow_that_stopped_anywhere_is_gone_on_with(self) -> None:
        for stop in range(0, 4 * LENGTH, 3):
            with self.subTest(stop):
                log: list[str] = []
                book, engine = self._started(self._line(log))
                self._step(engine, stop)
                before = list(log)
                # Nothing but the stored record is left of that run.
                again = engines.load(
                    self._line(log), flow_detail=self._found(book, engine.storage._flowdetail), backend=self.tested
                )
                again.run()
                names = [f"s{number}" for number in range(LENGTH)]
                self.assertIn(log, (names, [*before, *before[-1:], *names[len(before) :]]))
                found = self._found(book, engine.storage._flowdetail)
                self.assertEqual(found.state, states.SUCCESS)
                self.assertEqual(again.storage.fetch("given"), [1, "é"])
                self.assertEqual({a.name: a.results for a in found if a.name in names}, {n: n for n in names})

    def _step(self, engine: Any, stop: int) -> None:
        steps = engine.run_iter()
        for _ in range(stop):
            if next(steps, None) is None:
                break
        steps.close()

    def test_failed_flow_is_undone_and_that_is_gone_on_with(self) -> None:
        for stop in (None, *range(3 * LENGTH, 9 * LENGTH, 5)):
            with self.subTest(stop):
                log: list[str] = []
                book, engine = self._started(self._line(log, fails=True))
                if stop is not None:
                    self._catching(lambda: self._step(engine, stop))  # noqa: B023 - called at once
                    engine = engines.load(
                        self._line(log, fails=True),
                        flow_detail=self._found(book, engine.storage._flowdetail),
                        backend=self.tested,
                    )
                self._catching(engine.run)
                found = self._found(book, engine.storage._flowdetail)
                if found.state == states.REVERTED:
                    atoms = {atom.name: atom for atom in found}
                    for number in range(LENGTH - 1):
                        self.assertEqual(
                            (atoms[f"s{number}"].state, atoms[f"s{number}"].revert_results),
                            (states.REVERTED, f"undone s{number}"),
                        )
                    failure = atoms[f"s{LENGTH - 1}"].failure
                    assert failure is not None
                    self.assertEqual(failure.exception_str, f"('s{LENGTH - 1} fails', {{'é': 1}})")
                else:
                    self.fail(f"the flow ended {found.state}")
                undone = [name for name in dict.fromkeys(log) if name.startswith("-")]
                self.assertEqual(undone[-1], "-s0")
                self.assertEqual(len(undone), LENGTH)

    def _catching(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (ValueError, exc.WrappedFailure) as e:
            self.assertIn("fails", str(e))

    def test_attempts_are_counted_over_a_stop(self) -> None:
        log: list[str] = []

        def build() -> flow_type.Flow:
            flow = linear_flow.Flow("attempts", retry=retry.Times(4, name="times", provides="attempt"))
            return flow.add(_Step("good", log), _Step("bad", log, fails=True))

        book, engine = self._started(build())
        steps = engine.run_iter()
        for _ in steps:
            if log.count("bad") >= 2:
                break
        steps.close()
        again = engines.load(build(), flow_detail=self._found(book, engine.storage._flowdetail), backend=self.tested)
        self._catching(again.run)
        self.assertIn(log.count("bad"), (4, 5))
        found = self._found(book, engine.storage._flowdetail)
        self.assertEqual(found.state, states.REVERTED)

    def test_history_of_a_retry_is_there_after_a_stop(self) -> None:
        log: list[str] = []

        def build(fails: bool) -> flow_type.Flow:
            flow = linear_flow.Flow("values", retry=retry.ForEach([10, 20, 30], name="each", provides="value"))
            return flow.add(_Step("step", log, fails=fails, requires=["value"]))

        book, engine = self._started(build(fails=True))
        steps = engine.run_iter()
        for _ in steps:
            if len(log) >= 3:
                break
        steps.close()
        found = self._found(book, engine.storage._flowdetail)
        (each,) = (atom for atom in found if isinstance(atom, models.RetryDetail))
        self.assertEqual([result for result, _ in each.results], [10, 20])
        self.assertEqual(each.results[0][1]["step"].exception_str, "('step fails', {'é': 1})")
        again = engines.load(build(fails=False), flow_detail=found, backend=self.tested)
        again.run()
        # It had failed again by then, which may have been recorded.
        self.assertIn(again.storage.fetch("value"), (20, 30))
        self.assertEqual(again.storage.get_flow_state(), states.SUCCESS)

    def test_independent_tasks_of_many_threads_are_all_recorded(self) -> None:
        log: list[str] = []
        names = [f"s{number}" for number in range(30)]
        flow = unordered_flow.Flow("wide").add(*(_Step(name, log) for name in names))
        book, engine = self._started(flow, engine="parallel", executor="threads", max_workers=8)
        engine.run()
        found = self._found(book, engine.storage._flowdetail)
        self.assertEqual(sorted(log), sorted(names))
        self.assertEqual(
            {a.name: (a.state, a.results) for a in found if a.name in names}, {n: ("SUCCESS", n) for n in names}
        )
