"""A fault on one of two ranks is an outcome that names it, and the next trial runs."""

from __future__ import annotations

import sys

import pytest

from scripts.faults.ranks import find_left, run_config

if sys.platform != "linux":
    pytest.skip("forks, and reads /proc", allow_module_level=True)

KINDS = ["out_of_memory", "sigkill", "exception", "unequal_batches", "sigstop", "hang"]


@pytest.mark.timeout(240)
def test_each_kind_of_fault_names_its_rank_and_its_cause_and_leaves_nothing() -> None:
    reports = list(run_config("ddp2", len(KINDS), 1, KINDS))
    assert [report for report in reports if report.losses] == []
    assert {report.fault.kind for report in reports} == set(KINDS)
    assert find_left() == []
