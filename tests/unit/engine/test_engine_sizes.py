# SPDX-License-Identifier: Apache-2.0
"""Do large flows run to their end in a time that grows with their size only?"""

from __future__ import annotations

import time

import pytest

from taskflow import engines, retry

SIZE = 1500


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


SHAPES = {
    "linear": lambda k: k.linear("f", *(f"t{i}" for i in range(SIZE))),
    "unordered": lambda k: k.unordered("f", *(f"t{i}" for i in range(SIZE))),
    "linear of unordered": lambda k: k.linear(
        "f", *(k.unordered(f"u{i}", *(f"t{i}-{j}" for j in range(30))) for i in range(SIZE // 30))
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_runs(kit, shape):
    engine = engines.load(SHAPES[shape](kit))
    assert timed(engine.run) < 20
    assert engine.storage.get_flow_state() == "SUCCESS"
    assert engine.statistics["completed"] == SIZE


@pytest.mark.parametrize("shape", SHAPES)
def test_reverts_under_a_retry(kit, shape):
    flow = kit.linear("top", SHAPES[shape](kit), "F!", retry=retry.Times(2, "r"))
    engine = engines.load(flow)

    def run():
        with pytest.raises(RuntimeError, match="^F$"):
            engine.run()

    assert timed(run) < 30
    assert engine.storage.get_flow_state() == "REVERTED"


def test_deep_nesting(kit):
    flow = kit.linear("f0", "t0")
    for i in range(1, 600):
        flow = kit.linear(f"f{i}", f"t{i}", flow)
    run = kit.run(flow)
    assert run.raised == ""
    assert run.starts == [f"t{i}" for i in reversed(range(600))]
