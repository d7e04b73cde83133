"""What counts as a report that names the part a training would die of."""

from __future__ import annotations

import sys
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("the limits are those of Linux", allow_module_level=True)

from scripts.claims.late_deaths import TRAPS, find_part


def report(**rehearsal: Any) -> dict[str, Any]:
    told = {"refused": [], "stages": [], "not_rehearsed": [], **rehearsal}
    return {"rehearsal": told, "warnings": [], "trials": [{"message": "", "num_passes": 1}]}


def test_a_report_that_is_silent_of_the_part_names_nothing() -> None:
    stages = [{"name": "300 shuffled steps"}, {"name": "saving a checkpoint"}]
    assert find_part(report(stages=stages), TRAPS["kept_logits"]) == ""
    assert find_part(report(refused=["64: saving a checkpoint: over"]), TRAPS["ema"]) == ""
    assert find_part(report(), TRAPS["accumulation"]) == ""


def test_what_was_refused_comes_before_what_ran() -> None:
    told = report(
        refused=["64: 49 shuffled steps: no room"], stages=[{"name": "300 shuffled steps"}]
    )
    assert find_part(told, TRAPS["ema"]) == "rehearsal of 64: 49 shuffled steps: no room"


def test_steps_that_did_not_run_are_not_taken_for_rehearsed() -> None:
    stages, rest = [{"name": "43 shuffled steps"}], ["the rest of an epoch of 120 steps"]
    told = report(stages=stages, not_rehearsed=rest)
    assert find_part(told, TRAPS["ema"]) == "not rehearsed: the rest of an epoch of 120 steps"
    assert find_part(report(stages=stages), TRAPS["ema"]) == "ran, and fits: 43 shuffled steps"


def test_a_final_run_and_a_trial_name_it_too() -> None:
    told = report()
    told["warnings"] = [
        {
            "code": "final_run_too_large",
            "figures": {"batch_size": 32.0},
            "details": ["saving a checkpoint: no room"],
        }
    ]
    trap = TRAPS["copying_checkpoint"]
    assert find_part(told, trap) == "final run of 32: saving a checkpoint: no room"
    told["trials"] = [{"batch_size": 8, "message": "the largest samples by x: no", "num_passes": 2}]
    assert find_part(told, TRAPS["longest_sample"]).startswith("trial of 8: the largest samples")
    assert find_part(told, TRAPS["accumulation"]) == "ran, and fits: 2 passes of a step"
