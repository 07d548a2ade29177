"""The table of a step in docs/architecture.md has the operations that the code records."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rbmcli import _kernels
from rbmcli.learning.batch import Images

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", ROOT / "benchmarks" / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(count: int, units: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, units)).astype(np.uint8)
    return Images(pixels, 255.0, np.arange(count))


def test_the_table_has_the_operations_of_a_step(plan):
    timed, _ = plan.trained(plan.new(images(200, 784), (28, 28), 500, 100), 2)
    text = plan.DOCUMENT.read_text("utf-8")
    rows = text[text.index(plan.BEGIN) : text.index(plan.END)].splitlines()[3:]
    rows = rows[: next(i for i, row in enumerate(rows) if row.startswith("| all "))]
    written = [" | ".join(row.strip("| ").split(" | ")[:3]) for row in rows]
    assert written == plan.described(timed.operations)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_timed_step_is_the_step(plan, threads):
    before = _kernels.threads()
    _kernels.set_threads(threads)
    _kernels.share_from(0)
    try:
        timed, plain = (plan.new(images(60, 30), (5, 6), 20, 10) for _ in range(2))
        measured, seconds = plan.trained(timed, 9)
        for event in plain.run():
            if event.step == 9:
                break
    finally:
        _kernels.set_threads(before)
        _kernels.share_from(_kernels.WORTH_SHARING)
    np.testing.assert_array_equal(timed.model.link.weights, plain.model.link.weights)
    assert len(measured.steps) == 8
    assert 0 < measured.nanoseconds.sum() < sum(seconds) * 1e9
    assert all(each.items for each in measured.operations)
    # The loops do not depend on who runs them.
    assert measured.operations[0].items == (10,)
