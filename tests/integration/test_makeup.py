"""Looking at what a step is made of, in real processes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ends processes as Linux does")

# What becomes of a step is decided by its batch size.
PERILS = """
    import os, time

    model = nn.Linear(64, 8)
    dataset = [(torch.randn(64), torch.randn(8))] * 64

    def training_step(model, batch):
        size = len(batch[0])
        if size == 3:
            os._exit(7)
        if size == 5:
            raise LookupError("no sample of the fifth kind")
        if size == 7:
            time.sleep(600)
        if size == 9:
            torch.ones(2**50)
        return nn.functional.mse_loss(model(batch[0]), batch[1])
"""


@pytest.fixture(scope="module")
def perils(probe_once: Any) -> Any:
    probe = probe_once(PERILS)
    probe.load()
    return probe


def test_a_step_is_counted_in_a_process_of_its_own(perils: Any) -> None:
    found = perils.prober.inspect_step(16)
    # Forward, and backward for the weights.
    assert found.matrix_flops == 2 * 2 * 16 * 64 * 8
    assert found.num_calls > 5


@pytest.mark.parametrize("size", [3, 5, 7, 9], ids=["exits", "raises", "hangs", "out of memory"])
def test_a_step_that_does_not_run_to_its_end_tells_nothing_and_trials_go_on(
    perils: Any, size: int
) -> None:
    assert perils.prober.inspect_step(size, timeout_s=2.0 if size == 7 else None) is None
    assert perils.measure(4).fits
