# SPDX-License-Identifier: Apache-2.0
"""What do the options of every engine change, and how are their values read?"""

from __future__ import annotations

import pytest

from taskflow import engines

TRUE = [True, "t", "true", "TRUE", " True ", "on", "y", "yes", "Yes", "1", 1]
FALSE = [False, "f", "false", "off", "n", "no", "0", 0, None, "", "bogus", 2, "enabled"]
VALUES = [(value, True) for value in TRUE] + [(value, False) for value in FALSE]


@pytest.mark.parametrize(("value", "is_on"), VALUES, ids=lambda v: repr(v))
def test_never_resolve(kit, value, is_on):
    run = kit.run(kit.linear("f", "a", "F!"), never_resolve=value)
    assert run.state == ("FAILURE" if is_on else "REVERTED")
    assert run.raised == "RuntimeError: F"


@pytest.mark.parametrize(("value", "is_on"), VALUES, ids=lambda v: repr(v))
def test_inject_transient(kit, value, is_on):
    a = kit.Step("a", requires=["x"], inject={"x": 1})
    run = kit.run(kit.linear("f", a), inject_transient=value)
    (detail,) = run.engine.storage._flowdetail
    assert detail.meta.get("injected") == (None if is_on else {"x": 1})
    assert a.executed == [{"x": 1}]


@pytest.mark.parametrize(("value", "is_on"), VALUES, ids=lambda v: repr(v))
def test_gather_statistics(kit, value, is_on):
    run = kit.run(kit.linear("f", "a"), gather_statistics=value)
    assert bool(run.engine.statistics) is is_on


@pytest.mark.parametrize(("value", "is_on"), [(True, True), ("yes", True), (False, False), ("bogus", False)], ids=repr)
def test_defer_reverts(kit, value, is_on):
    flow = kit.linear("top", "t", kit.linear("inner", "b", "F!", retry=kit.Judge("r", "REVERT")))
    run = kit.run(flow, defer_reverts=value)
    assert run.atom_states("t")[0].startswith("REVERTED" if is_on else "SUCCESS")


def test_by_default_failures_are_resolved_injections_transient_and_statistics_gathered(kit):
    run = kit.run(kit.linear("f", kit.Step("a", requires=["x"], inject={"x": 1}), "F!"))
    assert run.state == "REVERTED"
    assert not any("injected" in detail.meta for detail in run.engine.storage._flowdetail)
    assert run.engine.statistics


def test_persistent_injections_reach_the_next_engine(kit):
    a = kit.Step("a", requires=["x"], inject={"x": 1})
    first = kit.load(kit.linear("f", a), inject_transient=False)
    first.engine.compile()
    first.engine.prepare()
    plain = kit.Step("a", requires=["x"])
    run = kit.run(kit.linear("f", plain), flow_detail=first.engine.storage._flowdetail)
    assert run.raised == ""
    assert plain.executed == [{"x": 1}]


def test_unknown_options_are_kept_and_ignored(kit):
    engine = engines.load(kit.linear("f", "a"), engine="serial://?unknown=1", other=[2])
    assert engine.options == {"unknown": "1", "other": [2]}
    engine.run()


def test_options_by_uri_are_texts(kit):
    run = kit.run(kit.linear("f", "a", "F!"), engine="serial://?never_resolve=on&gather_statistics=off")
    assert run.state == "FAILURE"
    assert run.engine.statistics == {}
