# SPDX-License-Identifier: Apache-2.0
"""Does the package metadata say what is true?"""

import ast
import importlib
import importlib.metadata
import importlib.util
import pathlib
import re
import sys
import tomllib

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
ENTRY_POINTS = [(group, *entry) for group, entries in PROJECT["entry-points"].items() for entry in entries.items()]
NEVER = {"pbr", "debtcollector", "eventlet", "oslo"}


def requirement_name(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_entry_point_names_a_class_that_exists(group, name, target):
    module, _, attribute = target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), type)


@pytest.mark.parametrize("name", ["default", "serial", "parallel"])
def test_engine_names_are_registered(name):
    assert name in PROJECT["entry-points"]["taskflow.engines"]


@pytest.mark.parametrize("name", ["memory", "sqlite", "mysql", "postgresql"])
def test_persistence_names_are_registered(name):
    assert name in PROJECT["entry-points"]["taskflow.persistence"]


def test_groups_for_jobboards_and_conductors_are_prepared():
    assert {"taskflow.jobboards", "taskflow.conductors"} <= set(PROJECT["entry-points"])


def test_no_requirement_brings_in_what_the_library_does_without():
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    names = {requirement_name(requirement) for requirement in wanted}
    assert not {name for name in names if name in NEVER or name.startswith("oslo")}


def test_extra_all_holds_every_other_extra():
    extras = PROJECT["optional-dependencies"]
    reached, wanted = set(), ["all"]
    while wanted:
        extra = wanted.pop()
        reached.add(extra)
        for requirement in extras[extra]:
            if (inner := re.fullmatch(r"taskflow\[(.*)\]", requirement)) is not None:
                wanted.extend(set(inner.group(1).split(",")) - reached)
    assert reached == set(extras)


def third_party_imports(where):
    """Returns the top-level names that the files below a folder import from outside the standard library."""
    found = set()
    for path in (TOP / where).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0].lower() for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0].lower())
    return found - sys.stdlib_module_names - {"taskflow"}


def test_every_imported_library_is_required_and_every_required_one_imported():
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    declared = {requirement_name(requirement).replace("-", "_") for requirement in wanted} - {"taskflow"}
    assert third_party_imports("taskflow") <= declared
    required = {requirement_name(requirement).replace("-", "_") for requirement in PROJECT["dependencies"]}
    assert required <= third_party_imports("taskflow")


def test_type_information_is_shipped():
    assert (TOP / "taskflow" / "py.typed").is_file()


def test_installed_version_is_the_one_of_the_source():
    try:
        installed = importlib.metadata.version("taskflow")
    except importlib.metadata.PackageNotFoundError:
        installed = PROJECT["version"]  # run from the source folder without an installation
    assert installed == PROJECT["version"]


def test_the_licence_is_the_full_text():
    text = (TOP / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def floors():
    """Returns the module tools/check_floors.py."""
    spec = importlib.util.spec_from_file_location("check_floors", TOP / "tools" / "check_floors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_package_imports_down_the_floors_only():
    wrong, counts = floors().check(TOP / "taskflow")
    assert wrong == []
    assert counts["module level"] > 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"task": "from taskflow import engines"}, "floor 2.*floor 4.*module level", id="up"),
        pytest.param({"task": "def f():\n from taskflow.engines import run"}, "inside a function", id="in-function"),
        pytest.param({"task": "if TYPE_CHECKING:\n import taskflow.engines"}, "for type checkers", id="typing"),
        pytest.param({"task": "import taskflow.flow", "flow": "from . import task"}, "^circle: ", id="circle"),
        pytest.param({"task": "from taskflow import atom"}, None, id="missing-attribute-is-not-a-module"),
        pytest.param({"task": "import taskflow.atom"}, "does not exist", id="missing-module"),
        pytest.param({"attic": ""}, "stands on no floor", id="new-module"),
        pytest.param({"engines": "from taskflow import task", "task": ""}, None, id="down"),
    ],
)
def test_imports_against_the_floors_are_found(files, expected, tmp_path):
    package = tmp_path / "taskflow"
    package.mkdir()
    for name, text in {"__init__": "", "engines": "", **files}.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    wrong, _ = floors().check(package)
    assert [bool(re.search(expected or "$^", line)) for line in wrong] == [True] * (expected is not None)
