# SPDX-License-Identifier: Apache-2.0
"""Does every benchmark run, at its smallest size, and do the tables, goals and pictures say what was found?"""

import dataclasses
import importlib
import importlib.util
import json
import pathlib
import sys
import time
import xml.etree.ElementTree as ET

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def _package():
    """Returns the package, also where the top folder is not among those that modules are searched in."""
    if "benchmarks" not in sys.modules:
        folder = TOP / "benchmarks"
        spec = importlib.util.spec_from_file_location(
            "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        package = importlib.util.module_from_spec(spec)
        sys.modules["benchmarks"] = package
        spec.loader.exec_module(package)
    names = (
        "answering",
        "figures",
        "floors",
        "flows",
        "goals",
        "plan",
        "plot",
        "processes",
        "report",
        "running",
        "timing",
        "wal",
    )
    return {name: importlib.import_module(f"benchmarks.{name}") for name in names}


BENCH = _package()
answering, figures, floors, flows, goals, plan, plot, processes, report, running, timing, wal = (
    BENCH[name] for name in sorted(BENCH)
)


class Inside:
    """Measures in this process, once each."""

    def __init__(self, cut=()):
        self.asked = []
        self.cut = cut
        self.closed = False

    def ask(self, request):
        self.asked.append(request["measure"])
        result = answering.measure({**request, "repeats": 1, "limit": None})
        for part in self.cut:
            if part in result.parts:
                result.parts[part].cut = True
        return result

    def close(self):
        self.closed = True


@pytest.fixture
def settings(tmp_path):
    return plan.Settings(
        folder=str(tmp_path),
        scale=0.02,
        growth=(20, 40),
        reference_growth=(20,),
        base=20,
        footprint=20,
        sqlite=(20, 20),
        rounds=1,
        growth_rounds=1,
        seconds=0.0,
    )


def of_group(settings, group):
    return [comparison for comparison in plan.comparisons(settings) if comparison.group == group]


NAMES = [comparison.name for comparison in plan.comparisons(plan.Settings(folder=""))]


def cost(seconds, cut=False):
    return timing.Cost(seconds, seconds, cut)


# -- every case -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_case_runs_on_all_sides(name, settings):
    comparison = next(c for c in plan.comparisons(settings) if c.name == name)
    runner = running.Runner(settings, Inside, Inside)
    runner.compare([comparison])
    row = runner.findings.rows[name]
    if "missing" in row.ours.facts:
        assert report.missing(runner.findings)
        return
    found = {figure.part: figure for figure in figures.of_row(row)}
    assert found["run"].cpu > 0
    assert found["run"].times_floor > 0
    if comparison.reference is not None:
        assert found["run"].ratio > 0
    if comparison.counted is not None:
        assert row.counted["run_commits"] >= 1
        assert row.counted["run_bytes"] > 0


@pytest.mark.parametrize("shape", plan.SHAPES_THAT_GROW)
def test_memory_is_measured(shape, settings):
    facts = answering.measure(plan.footprint(shape, 200)).facts
    assert facts["tasks"] == 200
    assert facts["peak"] >= 0


@pytest.mark.parametrize("shape", flows.SHAPES)
def test_floor_runs_the_tasks_of_the_flow(shape):
    tasks, waits, takes = floors.wiring(shape, 20)
    assert len(tasks) == {"failing": 21}.get(shape, 20)
    assert all(before < i for i in range(len(tasks)) for before in waits[i])
    assert [len(tasks[i].rebind) for i in range(len(tasks))] == [len(taken) for taken in takes]


def test_layers_have_three_inputs_each():
    _, waits, _ = floors.wiring("layered", 60)
    assert [len(set(before)) for before in waits] == [0] * 20 + [3] * 40


def test_listener_that_does_not_hear_is_an_error(monkeypatch):
    from taskflow.types import notifier

    monkeypatch.setattr(notifier.Notifier, "notify", lambda *_args: None)
    with pytest.raises(ValueError, match="heard 0 events, expected 40"):
        answering.measure({"measure": "in_memory.listened", "arguments": {"size": 20, "event": "*"}})


# -- timing -----------------------------------------------------------------------------------------------------------


def test_least_of_repeats_is_kept():
    least = timing.Result({"a": cost(2.0)}).merge(timing.Result({"a": cost(1.0), "b": cost(3.0)}))
    assert {name: part.cpu for name, part in least.parts.items()} == {"a": 1.0, "b": 3.0}


def test_full_figure_is_better_than_a_least_one():
    assert not timing.Result({"a": cost(2.0)}).merge(timing.Result({"a": cost(1.0, cut=True)})).parts["a"].cut


def test_part_that_takes_too_long_is_stopped():
    def endless(result):
        with result.part("short"):
            pass
        with result.part("long"):
            while time.process_time() < end:
                pass
        result.facts["reached"] = True

    end = time.process_time() + 20
    result = timing.repeated(endless, {}, repeats=3, seconds=10, limit=0.05)
    assert result.parts["long"].cut
    assert not result.parts["short"].cut
    assert result.facts == {}


def test_result_survives_the_way_between_processes():
    result = timing.Result({"run": timing.Cost(1.5, 0.5, cut=True)}, {"commits": 3})
    assert timing.Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


# -- order ------------------------------------------------------------------------------------------------------------


def test_sides_are_measured_in_turn(settings):
    ours, reference = Inside(), Inside()
    runner = running.Runner(dataclasses.replace(settings, rounds=2), lambda: ours, lambda: reference)
    runner.compare(of_group(settings, "memory")[:1])
    assert ours.asked == ["in_memory.flow", "floors.loop", "in_memory.flow"] * 2
    assert reference.asked == ["in_memory.flow"] * 2
    runner.close()
    assert ours.closed
    assert reference.closed


def test_reference_that_was_stopped_is_given_up(settings):
    made = []

    def start():
        made.append(Inside(cut=["run"]))
        return made[-1]

    runner = running.Runner(settings, Inside, start)
    runner.compare(of_group(settings, "memory")[:2])
    assert [side.closed for side in made] == [True, True]
    row = runner.findings.rows["linear"]
    assert [figure.at_least for figure in figures.of_row(row)] == [False, True]


def test_goes_on_without_reference(settings):
    runner = running.Runner(settings, Inside)
    runner.compare(of_group(settings, "memory")[:1])
    assert [figure.ratio for figure in figures.of_row(runner.findings.rows["linear"])] == [None, None]


# -- goals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "found", "at_least", "verdict"),
    [
        (True, 11.0, False, "met"),
        (True, 9.0, False, "not met"),
        (True, 11.0, True, "met"),
        (True, 9.0, True, "open: the other was stopped too early"),
        (False, 9.0, False, "met"),
        (False, 10.0, False, "met"),
        (False, 11.0, False, "not met"),
        (False, None, False, "not measured"),
    ],
)
def test_verdict(least, found, at_least, verdict):
    assert goals.Goal("speed", 10.0, least, "x", found, at_least).verdict == verdict


def test_goals_are_about_cases_that_exist():
    named = {name for name, _ in goals.FASTER} | {*goals.OVERHEAD_OF, *goals.POOL_OF}
    assert named <= {*NAMES, "import"}


def test_ratio_and_overhead(settings):
    runner = running.Runner(settings, Inside)
    comparison = dataclasses.replace(of_group(settings, "memory")[0], tasks=10, reference_tasks=5)
    runner.findings.rows["linear"] = running.Row(
        comparison,
        ours=timing.Result({"load": cost(2e-4), "run": cost(4e-4)}),
        floor=timing.Result({"run": cost(1e-4)}),
        reference=timing.Result({"load": cost(1e-3), "run": cost(1e-2)}),
    )
    load, run = figures.of_findings(runner.findings)
    assert (load.cpu, load.ratio, load.floor) == (pytest.approx(20), pytest.approx(10), None)
    assert (run.cpu, run.ratio, run.times_floor) == (pytest.approx(40), pytest.approx(50), pytest.approx(4))
    judged = {goal.title: goal for goal in goals.judge(runner.findings, settings)}
    assert judged["a line: load and run beyond the bare loop"].found == pytest.approx(50)
    assert judged["a line: run, times faster"].verdict == "not met"


def test_growth_is_relative_to_the_base():
    sizes = {
        10: timing.Result({"load": cost(1e-4), "run": cost(1e-4)}),
        100: timing.Result({"load": cost(2e-3), "run": cost(1e-3)}),
        1000: timing.Result({"load": cost(2e-3), "run": cost(1e-3, cut=True)}),
    }
    first, second = figures.of_growth({"linear": sizes}, 10)
    assert (first.load_growth, second.load_growth, second.run_growth) == (1.0, pytest.approx(2), pytest.approx(1))


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.fixture
def findings(settings):
    runner = running.Runner(settings, Inside, Inside)
    chosen = [*of_group(settings, "memory")[:2], *of_group(settings, "listeners"), *of_group(settings, "sqlite")[:1]]
    runner.compare(chosen)
    runner.grow()
    runner.weigh()
    imported = timing.Result({"import": cost(0.02), "start": cost(0.01)})
    runner.time_imports({"ours": lambda: imported, "reference": lambda: imported})
    return runner.findings


def test_everything_is_shown(findings, settings):
    found = report.tables(findings, settings)
    text = report.as_text(found)
    for title in (*report.GROUPS.values(), "growing sizes", "Memory of a task", "Written to SQLite", "Goals"):
        assert (title in text) == (title != report.GROUPS["pools"]), title
    about = report.circumstances({"taskflow": "7", "reference": "6.5.0"})
    assert "taskflow 7 beside TaskFlow 6.5.0" in report.as_sentence(about)
    page = report.as_rst(found, report.as_sentence(about))
    assert page.count(".. list-table::") == len(found)
    assert r"a listener on \*: run" in page
    again = json.loads(json.dumps(report.as_json(findings, settings, about)))
    assert again["about"]["reference"] == "6.5.0"
    assert {goal["verdict"] for goal in again["goals"]} <= {"met", "not met", "not measured"}


def test_picture_has_a_line_for_each_library_and_shape(findings, settings):
    tree = ET.fromstring(plot.svg(plot.lines(findings, settings)))
    assert len(tree.findall("{*}polyline")) == 2 * len(plan.SHAPES_THAT_GROW)
    names = {element.text for element in tree.findall("{*}text")}
    assert {"linear", "linear, 6.5"} <= names


def test_picture_without_lines_is_a_picture():
    assert ET.fromstring(plot.svg([])).tag.endswith("svg")


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers_have_three_places_that_count(value, text):
    assert report.number(value) == text


# -- processes --------------------------------------------------------------------------------------------------------


def test_process_measures_and_says_what_went_wrong():
    with processes.Process(sys.executable, ours=True) as process:
        result = process.ask(plan.growing("linear", 20))
        assert set(result.parts) == {"load", "run"}
        with pytest.raises(processes.MeasurementError, match="KeyError: 'round'"):
            process.ask(plan.growing("round", 20))
        assert process.ask(plan.growing("linear", 20)).parts["run"].cpu > 0


def test_import_is_timed_in_a_new_interpreter():
    found = processes.import_cost(sys.executable, ours=True)
    assert found.parts["import"].cpu > 0
    assert found.parts["start"].cpu > 0


# -- the log of SQLite ------------------------------------------------------------------------------------------------


def test_transactions_in_a_log_are_counted(tmp_path):
    import sqlite3

    path = tmp_path / "some.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    before = wal.read(path)
    for i in range(7):
        connection.execute("INSERT INTO t VALUES (?)", (i,))
    after = wal.read(path)
    assert after.commits - before.commits == 7
    assert after.size == (tmp_path / "some.db-wal").stat().st_size
    connection.close()
    assert wal.read(path) == wal.Log(0, 0, 0)


def test_figures_are_put_into_a_page_in_place_of_older_ones():
    table = ("Times", ["what", "us"], [["a line", "1.5"]])
    page = f"Title\n=====\n\n{report.MARKER}\n\nold\n"
    first = report.put_into_page(page, [table], "Measured today.")
    assert first.startswith(f"Title\n=====\n\n{report.MARKER}\n\nMeasured today.\n\n.. code-block:: text\n\n   Times\n")
    assert "a line" in first
    assert "old" not in first
    assert report.put_into_page(first, [table], "Measured today.") == first
    with pytest.raises(ValueError, match="lacks the line"):
        report.put_into_page("no marker", [table], "")
