# SPDX-License-Identifier: Apache-2.0
"""What does ``python -m benchmarks`` do?"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import time
import tomllib
from typing import TYPE_CHECKING

from benchmarks import plan, plot, processes, reference, report, running

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = reference.CACHE
RESULTS = processes.FOLDER / "results"
FIGURES = processes.TOP / "docs" / "figures"

KINDS = ("memory", "pools", "listeners", "sqlite", "import", "growth", "footprint")


def arguments() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this library beside the published TaskFlow 6.5 and beside bare loops, pools and commits.",
    )
    parser.add_argument("--quick", action="store_true", help="about a minute, with coarser figures")
    parser.add_argument("--full", action="store_true", help="let the published library run to its end: half an hour")
    parser.add_argument("--only", action="append", choices=KINDS, help="measure only this; may be given several times")
    parser.add_argument("--rounds", type=int, help="how often everything is gone through")
    parser.add_argument("--no-reference", action="store_true", help="leave the published library out")
    parser.add_argument("--reference", metavar="PYTHON", help="an interpreter that has the published library already")
    parser.add_argument("--publish", action="store_true", help="also write the figures that the documentation shows")
    return parser


def settings_of(said: argparse.Namespace) -> plan.Settings:
    """How much is measured, by what was said on the command line."""
    settings = plan.Settings(folder=str(CACHE))
    if said.quick:
        settings = settings.quick()
    if said.full:
        settings = dataclasses.replace(settings, limit=None)
    if said.rounds:
        settings = dataclasses.replace(settings, rounds=said.rounds)
    return settings


def find_reference(said: argparse.Namespace) -> pathlib.Path | None:
    """The interpreter that has the published library, if there is to be one and it can be had."""
    if said.no_reference:
        return None
    if said.reference:
        return pathlib.Path(said.reference)
    python, why = reference.prepare()
    if python is None:
        print(f"benchmarks: going on without the published library, which could not be installed:\n{why}", flush=True)
    return python


def progress() -> Callable[[str], None]:
    """Something that says what is measured now: over and over on one line of a terminal, else now and then."""
    began = time.monotonic()
    last = [-60.0]

    def say(text: str) -> None:
        now = time.monotonic() - began
        if sys.stdout.isatty():
            print(f"\r\033[K[{now:3.0f}s] {text}", end="", flush=True)
        elif now - last[0] >= 15:
            last[0] = now
            print(f"[{now:3.0f}s] {text}", flush=True)

    return say


def measure(
    runner: running.Runner, settings: plan.Settings, kinds: set[str], pythons: dict[str, pathlib.Path | str]
) -> None:
    """Measure what is wanted."""
    if "import" in kinds:
        costs = {
            name: functools.partial(processes.import_cost, python, name == "ours") for name, python in pythons.items()
        }
        runner.time_imports(dict(costs))
    runner.compare([c for c in plan.comparisons(settings) if c.group in kinds])
    if "growth" in kinds:
        runner.grow()
    if "footprint" in kinds:
        runner.weigh()


def main() -> int:
    """Measure, show the tables, and write them down."""
    said = arguments().parse_args()
    settings = settings_of(said)
    CACHE.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    published = find_reference(said)
    pythons: dict[str, pathlib.Path | str] = {"ours": sys.executable}
    if published is not None:
        pythons["reference"] = published
    versions = {}
    for name, python in pythons.items():
        with processes.Process(python, ours=name == "ours") as process:
            versions["taskflow" if name == "ours" else name] = process.about["version"]
    if versions["taskflow"] == "unknown":  # run from the source folder without an installation
        project = tomllib.loads((processes.TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        versions["taskflow"] = project["version"]
    starts = {name: functools.partial(processes.Process, python, name == "ours") for name, python in pythons.items()}
    runner = running.Runner(settings, starts["ours"], starts.get("reference"), progress())
    began = time.monotonic()
    with contextlib.closing(runner):
        measure(runner, settings, set(said.only or KINDS), pythons)
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    about = report.circumstances(versions)
    found = report.tables(runner.findings, settings)
    print(report.as_text(found))
    for text in report.missing(runner.findings):
        print(text)
    print(report.as_sentence(about))
    picture = plot.svg(plot.lines(runner.findings, settings))
    values = json.dumps(report.as_json(runner.findings, settings, about), indent=2)
    (RESULTS / "latest.json").write_text(f"{values}\n", encoding="utf-8")
    (RESULTS / "latest.svg").write_text(picture, encoding="utf-8")
    if said.publish:
        (FIGURES / "cost_of_a_task.svg").write_text(picture, encoding="utf-8")
        (FIGURES / "performance.rst").write_text(report.as_rst(found, report.as_sentence(about)), encoding="utf-8")
        page = processes.FOLDER / "README.rst"
        text = report.put_into_page(page.read_text(encoding="utf-8"), found, report.as_sentence(about))
        page.write_text(text, encoding="utf-8")
    print(f"Took {time.monotonic() - began:.0f} s. Written: benchmarks/results/latest.json and latest.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
