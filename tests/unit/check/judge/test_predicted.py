"""Verdicts on memory that was predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.check.judge.predicted import find_notes, judge_prediction
from autobatch.check.predicted import refuse_what_is_not_predicted
from autobatch.check.predicted_memory import PredictedMemory, find_grown
from autobatch.check.records import CheckSettings, HardwareLimits, TargetLimits, Verdict
from autobatch.check.report.wording import figure_text, sentence
from autobatch.errors import BaselineError, SettingsError
from autobatch.ranks.settings import RanksSettings
from autobatch.records import RequirementName, Settings, Status

GIB = 2**30
MODULES = {"": GIB, "encoder.0": GIB, "encoder.1.up": GIB, "encoder.1.down": GIB, "head": GIB}
NOW = PredictedMemory(
    target="model.py",
    batch_size=8,
    precision="fp32",
    gpu="l4",
    versions={"torch": "2.13.0"},
    peak_bytes=10 * GIB,
    low_bytes=9 * GIB,
    high_bytes=11 * GIB,
    modules_bytes=MODULES,
)


def judge(
    now: PredictedMemory = NOW, *, baseline: Any = None, fits: bool | None = True, **limits: Any
) -> dict[RequirementName, Verdict]:
    found = judge_prediction(TargetLimits(**limits), now, 20 * GIB, baseline, fits=fits)
    return {each.requirement: each for each in found}


@pytest.mark.parametrize(
    ("fits", "status", "figure"),
    [
        (True, Status.MET, "to fit"),
        (False, Status.NOT_MET, "not to fit"),
        (None, Status.INCONCLUSIVE, "-"),
    ],
)
def test_a_size_fits_does_not_or_that_is_not_known(
    fits: bool | None, status: Status, figure: str
) -> None:
    verdict = judge(fits=fits)[RequirementName.FITS]
    assert (verdict.status, figure_text(verdict)) == (status, figure)
    assert bool(verdict.reason) == (fits is None)


@pytest.mark.parametrize(
    ("limit_gib", "status"),
    [(12, Status.MET), (11, Status.MET), (10, Status.INCONCLUSIVE), (8, Status.NOT_MET)],
)
def test_a_limit_within_what_is_not_known_is_left_open(limit_gib: int, status: Status) -> None:
    verdict = judge(max_memory_bytes=limit_gib * GIB)[RequirementName.MAX_MEMORY]
    assert verdict.status is status
    assert (verdict.value, verdict.low, verdict.high) == (10 * GIB, 9 * GIB, 11 * GIB)
    assert bool(verdict.reason) == (status is Status.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("least", "status"),
    [(0.4, Status.MET), (0.5, Status.INCONCLUSIVE), (0.6, Status.NOT_MET)],
)
def test_headroom_is_what_the_gpu_has_left(least: float, status: Status) -> None:
    verdict = judge(min_headroom_fraction=least)[RequirementName.MIN_HEADROOM]
    assert verdict.status is status
    assert verdict.limit == least
    assert (verdict.value, verdict.low, verdict.high) == (0.5, 0.45, 0.55)


def test_every_verdict_says_that_it_is_predicted() -> None:
    verdicts = judge(max_memory_bytes=GIB, min_headroom_fraction=0.1, baseline=NOW)
    assert len(verdicts) == 4
    assert all(each.is_predicted for each in verdicts.values())
    assert sentence(verdicts[RequirementName.MAX_MEMORY]).startswith(
        "max-memory NOT MET: predicted 10.0 GiB (9.0 GiB to 11.0 GiB), required 1.0 GiB"
    )


def test_growth_names_the_module_that_has_most_of_it() -> None:
    grown = replace(NOW, peak_bytes=12 * GIB, modules_bytes={**MODULES, "encoder.1.up": 3 * GIB})
    verdict = judge(grown, baseline=NOW)[RequirementName.BASELINE_MEMORY]
    assert verdict.status is Status.NOT_MET
    assert verdict.value == pytest.approx(0.2)
    assert verdict.reason == "most of it in module encoder.1.up: 1.0 GiB then, 3.0 GiB now"
    for other, limit in ((replace(grown, peak_bytes=10 * GIB), 0.02), (grown, 0.2001)):
        met = judge(other, baseline=NOW, memory_tolerance_fraction=limit)
        assert met[RequirementName.BASELINE_MEMORY].status is Status.MET
        assert met[RequirementName.BASELINE_MEMORY].reason == ""


@pytest.mark.parametrize(
    ("changes", "grown"),
    [
        ({"encoder.1.up": 2 * GIB}, ("encoder.1.up", GIB, 2 * GIB)),
        ({"encoder.1.up": 2 * GIB, "encoder.1.down": 2 * GIB}, ("encoder.1", 2 * GIB, 4 * GIB)),
        ({"encoder.0": 2 * GIB, "encoder.1.down": 2 * GIB}, ("encoder", 3 * GIB, 5 * GIB)),
        ({"encoder.0": 2 * GIB, "head": 2 * GIB}, ("", 5 * GIB, 7 * GIB)),
        ({"encoder.2": 2 * GIB}, ("encoder.2", 0, 2 * GIB)),
        ({"head": 3 * GIB, "encoder.0": 0}, ("head", GIB, 3 * GIB)),
        ({"head": 0}, None),
        ({}, None),
    ],
)
def test_the_innermost_module_with_the_growth_is_found(
    changes: dict[str, int], grown: tuple[str, int, int] | None
) -> None:
    assert find_grown({**MODULES, **changes}, MODULES) == grown


def test_a_baseline_of_something_else_is_refused_and_other_versions_are_told() -> None:
    other = replace(NOW, versions={"torch": "2.12.0", "timm": "1.0"})
    assert find_notes(NOW, other) == [
        "Not as in the baseline: torch 2.12.0 then, 2.13.0 now",
        "Not as in the baseline: timm 1.0 then, none now",
    ]
    assert find_notes(NOW, NOW) == []
    for field, value in (("batch_size", 9), ("precision", "bf16"), ("gpu", "t4")):
        with pytest.raises(BaselineError, match=f"{value} then"):
            find_notes(NOW, replace(NOW, **{field: value}))


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("`max_step_time`", {"limits": TargetLimits(max_step_time_s=1.0)}),
        ("`min_throughput`", {"limits": TargetLimits(min_samples_per_s=1.0)}),
        ("`tolerance`", {"limits": TargetLimits(tolerance_fraction=0.2)}),
        ("hardware", {"hardware": HardwareLimits(min_devices=1)}),
        ("`reference=base.py`", {"reference": "base.py"}),
        ("`device=cpu`", {"training": Settings(device="cpu")}),
        ("`any_hardware`", {"any_hardware": True}),
        ("`nproc_per_node=2`", {"ranks": RanksSettings(nproc_per_node=2)}),
    ],
)
def test_what_only_a_run_can_tell_is_refused(named: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=named):
        refuse_what_is_not_predicted(CheckSettings(gpu="l4", **settings), is_command=False)


def test_requirements_on_memory_are_not_refused_and_commands_are() -> None:
    limits = TargetLimits(
        max_memory_bytes=GIB, min_headroom_fraction=0.1, memory_tolerance_fraction=0.1
    )
    settings = CheckSettings(gpu="l4", limits=limits, strict=True, batch_size=8)
    refuse_what_is_not_predicted(settings, is_command=False)
    with pytest.raises(SettingsError, match="a command"):
        refuse_what_is_not_predicted(settings, is_command=True)
