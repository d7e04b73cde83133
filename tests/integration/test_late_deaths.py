"""Trainings that are built to die late: two of the eight of ``scripts.claims.late_deaths``."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the limits are those of Linux", allow_module_level=True)

from scripts.claims.late_deaths import TRAPS, run_trap


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["kept_logits", "multi_scale"])
def test_it_dies_where_ordinary_steps_fit_and_ends_at_the_size_that_was_rehearsed(
    name: str,
) -> None:
    assert run_trap(name, TRAPS[name]).failures == ()
