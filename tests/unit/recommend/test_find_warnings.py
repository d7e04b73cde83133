from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.records import decision_of

from autobatch.recommend.build import recommend
from autobatch.recommend.largest import Largest
from autobatch.recommend.warnings import find_warnings
from autobatch.records import (
    Confirmation,
    FindingWarning,
    Goal,
    LearningRateRule,
    MemoryBudget,
    Outcome,
    Settings,
    Trial,
    WarningCode,
    WorkloadSummary,
)

MIB = 2**20
BUDGET = MemoryBudget(
    capacity_bytes=2**31,
    used_by_others_bytes=0,
    headroom_fraction=0.0,
    budget_bytes=2**31,
    bound_by="physical memory",
)
CONFIRMED = Confirmation(
    batch_size=64,
    num_steps=32,
    peak_bytes=2**30,
    window_peaks_bytes=(2**30,) * 3,
    window_num_steps=(10,) * 3,
)
Warn = Callable[..., dict[WarningCode, dict[str, float]]]


@pytest.fixture
def warn(make_trial, make_workload) -> Warn:
    """The warnings of a search, by code, for a recommendation of the first trial's size."""

    def find(
        *trials: Trial,
        settings: Settings | None = None,
        spread_fraction: float = 0.02,
        memory_is_enforced: bool = True,
        num_cores: int = 8,
        confirmation: Confirmation | None = CONFIRMED,
        **workload: Any,
    ) -> dict[WarningCode, dict[str, float]]:
        trials = trials or (make_trial(64),)
        settings = settings or Settings()
        summary: WorkloadSummary = make_workload(**workload)
        decision = decision_of(
            {t.batch_size: t.samples_per_s for t in trials if t.samples_per_s},
            spread_fraction=spread_fraction,
        )
        answer = recommend(
            settings=settings,
            workload=summary,
            trials=trials,
            batch_size=trials[0].batch_size,
            largest=Largest(batch_size=trials[-1].batch_size, was_run=True, is_lower_bound=False),
            reason="",
            decision=decision,
            throughput_curve=None,
        )
        found: tuple[FindingWarning, ...] = find_warnings(
            settings=settings,
            workload=summary,
            trials=trials,
            recommendation=answer,
            decision=decision,
            memory_is_enforced=memory_is_enforced,
            num_cores=num_cores,
            confirmation=confirmation,
            budget=BUDGET,
        )
        assert len({warning.code for warning in found}) == len(found)
        return {warning.code: warning.figures for warning in found}

    return find


def test_a_clean_search_has_no_warnings(warn: Warn, make_trial) -> None:
    trials = (make_trial(64, 0.1), make_trial(128, 0.19, peak_bytes=2**31))
    assert warn(*trials) == {}


def test_waiting_for_data_is_named_with_its_figures(warn: Warn, make_trial) -> None:
    found = warn(make_trial(64, 0.1, data_time_s=0.08), num_loader_workers=2)
    assert found == {
        WarningCode.DATA_LOADING: {
            "data_fraction": pytest.approx(0.8),
            "data_time_s": 0.08,
            "step_time_s": 0.1,
            "num_loader_workers": 2,
        }
    }


def faulting(make_trial, batch_size: int) -> Trial:
    return make_trial(
        batch_size, batch_size / 640, page_faults_per_step=50_000, kernel_time_fraction=0.5
    )


def test_page_faults_are_named_at_the_recommended_size(warn: Warn, make_trial) -> None:
    found = warn(faulting(make_trial, 64), faulting(make_trial, 128))
    assert found == {
        WarningCode.PAGE_FAULTS: {
            "page_faults_per_step": 50_000,
            "kernel_time_fraction": 0.5,
            "batch_size": 64,
        }
    }


def test_page_faults_of_larger_sizes_alone_are_named_at_the_largest(warn: Warn, make_trial) -> None:
    found = warn(make_trial(64), *(faulting(make_trial, size) for size in (128, 256)))
    assert found[WarningCode.PAGE_FAULTS]["batch_size"] == 256


def test_page_faults_of_smaller_sizes_alone_do_not_matter(warn: Warn, make_trial) -> None:
    assert warn(make_trial(64), faulting(make_trial, 32)) == {}


def test_a_size_that_meets_the_allocators_limit_in_every_step_is_named(
    warn: Warn, make_trial
) -> None:
    found = warn(make_trial(64, alloc_retries_per_step=1.5))
    assert found == {WarningCode.ALLOC_RETRIES: {"batch_size": 64, "alloc_retries_per_step": 1.5}}


def test_a_cache_that_was_given_back_now_and_then_is_let_pass(warn: Warn, make_trial) -> None:
    assert warn(make_trial(64, alloc_retries_per_step=0.1)) == {}
    assert warn(make_trial(64), make_trial(128, alloc_retries_per_step=2.0)) == {}


def test_falling_throughput_names_the_answer_and_the_worst_size(warn: Warn, make_trial) -> None:
    trials = (make_trial(64, 0.1), make_trial(128, 0.25), make_trial(256, 1.0))
    assert warn(*trials) == {
        WarningCode.FALLING_THROUGHPUT: {
            "batch_size": 64,
            "samples_per_s": pytest.approx(640),
            "worst_batch_size": 256,
            "worst_samples_per_s": pytest.approx(256),
        }
    }


def test_a_fall_of_less_than_a_tenth_is_no_fall(warn: Warn, make_trial) -> None:
    assert warn(make_trial(64, 0.1), make_trial(128, 0.21)) == {}


def test_a_fall_within_the_intervals_is_no_fall(warn: Warn, make_trial) -> None:
    trials = (make_trial(64, 0.1), make_trial(128, 0.25))
    assert warn(*trials, spread_fraction=0.1) != {}
    assert warn(*trials, spread_fraction=0.12) == {}


def test_slow_small_sizes_are_no_fall(warn: Warn, make_trial) -> None:
    assert warn(make_trial(64, 0.1), make_trial(1, 0.05)) == {}


def test_a_faster_size_below_the_answer_is_not_held_against_larger_ones(
    warn: Warn, make_trial
) -> None:
    assert warn(make_trial(64, 0.2), make_trial(8, 0.01), make_trial(128, 0.41)) == {}


def test_few_updates_an_epoch_are_named(warn: Warn) -> None:
    assert warn(dataset_size=64 * 19) == {
        WarningCode.FEW_UPDATES: {"iterations_per_epoch": 19, "global_batch_size": 64}
    }
    assert warn(dataset_size=64 * 20) == {}


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        (Settings(goal=Goal.EFFICIENCY), {}),
        (Settings(global_batch_size=640), {}),
        (Settings(base_batch_size=64), {}),
        (Settings(), {"base_batch_size": 64}),
    ],
    ids=["weighed", "asked for", "as now, by the settings", "as now, by the loader"],
)
def test_few_updates_that_the_user_knows_of_are_let_pass(
    warn: Warn, settings: Settings, workload: dict[str, Any]
) -> None:
    assert warn(settings=settings, dataset_size=640, **workload) == {}


def test_a_loss_that_is_not_finite_is_named_at_the_recommended_size(warn: Warn, make_trial) -> None:
    bad = [make_trial(size, size / 640, loss_is_finite=False) for size in (64, 32)]
    assert warn(*bad) == {WarningCode.LOSS_NOT_FINITE: {"batch_size": 64}}


def test_a_loss_that_is_not_finite_elsewhere_is_named_too(warn: Warn, make_trial) -> None:
    found = warn(make_trial(64), make_trial(128, 0.2, loss_is_finite=False))
    assert found == {WarningCode.LOSS_NOT_FINITE: {"batch_size": 128}}


def test_a_last_batch_of_one_breaks_batch_norm(warn: Warn) -> None:
    found = warn(dataset_size=1_281, has_batch_norm=True)
    assert found == {WarningCode.LAST_BATCH_OF_ONE: {"iterations_per_epoch": 21}}


def test_a_last_pass_of_one_counts_by_device(warn: Warn) -> None:
    settings = Settings(num_devices=2)
    assert WarningCode.LAST_BATCH_OF_ONE in warn(
        settings=settings, dataset_size=2_562, has_batch_norm=True
    )
    assert warn(settings=settings, dataset_size=2_563, has_batch_norm=True) == {}


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        (Settings(drop_last=True), {"dataset_size": 1_281, "has_batch_norm": True}),
        (Settings(), {"dataset_size": 1_281, "has_batch_norm": False}),
        (Settings(), {"dataset_size": 1_282, "has_batch_norm": True}),
    ],
)
def test_a_last_batch_of_one_is_let_pass_where_it_does_no_harm(
    warn: Warn, settings: Settings, workload: dict[str, Any]
) -> None:
    assert warn(settings=settings, **workload) == {}


def test_a_size_of_one_that_ran_with_batch_norm_is_no_surprise_at_the_end(
    warn: Warn, make_trial
) -> None:
    assert warn(make_trial(1), has_batch_norm=True) == {}


def test_drop_last_that_drops_everything_is_named(warn: Warn) -> None:
    found = warn(settings=Settings(drop_last=True), dataset_size=40)
    assert found == {WarningCode.DROP_LAST_DROPS_ALL: {"dataset_size": 40, "global_batch_size": 64}}


def test_memory_that_falls_with_the_size_is_named(warn: Warn, make_trial) -> None:
    peaks = {64: 1000 * MIB, 128: 700 * MIB, 256: 1200 * MIB}
    found = warn(*(make_trial(size, size / 640, peak_bytes=peaks[size]) for size in peaks))
    assert found == {
        WarningCode.MEMORY_NOT_MONOTONE: {
            "small_batch_size": 64,
            "small_peak_bytes": 1000 * MIB,
            "large_batch_size": 128,
            "large_peak_bytes": 700 * MIB,
        }
    }


@pytest.mark.parametrize("peaks", [(1000, 810), (200, 140)])
def test_memory_that_falls_by_little_is_let_pass(
    warn: Warn, make_trial, peaks: tuple[int, int]
) -> None:
    small, large = peaks
    trials = (
        make_trial(64, 0.1, peak_bytes=small * MIB),
        make_trial(128, 0.2, peak_bytes=large * MIB),
    )
    assert warn(*trials) == {}


def test_a_global_batch_that_does_not_come_out_names_its_remainder(warn: Warn) -> None:
    found = warn(settings=Settings(global_batch_size=1_000))
    assert found == {
        WarningCode.GLOBAL_BATCH_REMAINDER: {
            "global_batch_size": 1_000,
            "batch_size": 64,
            "steps": 16,
            "remainder": 24,
        }
    }
    assert warn(settings=Settings(global_batch_size=1_024)) == {}


def test_an_unknown_data_set_size_is_named_unless_the_user_gives_it(warn: Warn) -> None:
    assert warn(dataset_size=None) == {WarningCode.DATASET_SIZE_UNKNOWN: {}}
    assert warn(settings=Settings(dataset_size=6_400), dataset_size=None) == {}


def test_a_missing_base_rate_is_named_with_the_multiplier(warn: Warn) -> None:
    assert warn(base_learning_rate=None) == {
        WarningCode.NO_BASE_LEARNING_RATE: {
            "learning_rate_multiplier": 2.0,
            "base_batch_size": 32,
        }
    }


def test_a_missing_base_rate_is_let_pass_where_nobody_needs_it(warn: Warn) -> None:
    assert warn(base_learning_rate=None, optimizer_was_given=False) == {}
    keep = Settings(learning_rate_rule=LearningRateRule.NONE)
    assert warn(settings=keep, base_learning_rate=None) == {}
    assert warn(base_learning_rate=None, optimizer="Prodigy") == {}
    beyond_adam = Settings(base_batch_size=2)
    assert warn(settings=beyond_adam, base_learning_rate=None, optimizer="Adam") == {}


def test_a_killed_trial_is_named_by_the_smallest_size(warn: Warn, make_trial) -> None:
    killed = [make_trial(size, outcome=Outcome.KILLED) for size in (256, 128)]
    assert warn(make_trial(64), *killed) == {WarningCode.TRIAL_KILLED: {"batch_size": 128}}


def test_a_size_that_raised_is_named_with_the_error(warn: Warn, make_trial) -> None:
    failed = [make_trial(size, outcome=Outcome.FAILED) for size in (256, 128)]
    assert warn(make_trial(64), *failed) == {WarningCode.TRIAL_FAILED: {"batch_size": 128}}


def test_a_budget_that_nobody_enforces_is_named(warn: Warn) -> None:
    assert warn(memory_is_enforced=False) == {WarningCode.BUDGET_NOT_ENFORCED: {}}


def test_a_machine_that_others_keep_busy_is_named(warn: Warn, make_trial) -> None:
    trials = [make_trial(size, others_busy_cores=1.2) for size in (64, 128)]
    assert warn(*trials, num_threads=2, num_cores=2) == {
        WarningCode.BUSY_MACHINE: {"others_busy_cores": 1.2, "num_cores": 2, "num_threads": 2}
    }


def test_a_step_of_one_thread_that_waits_for_a_core_is_named_too(warn: Warn, make_trial) -> None:
    trial = make_trial(64, others_busy_cores=1.5)
    assert WarningCode.BUSY_MACHINE in warn(trial, num_threads=1, num_cores=2)


def test_searches_that_ran_at_the_same_time_are_named(warn: Warn, make_trial) -> None:
    trials = [make_trial(size, num_other_searches=size // 64 - 1) for size in (64, 128, 192)]
    assert warn(*trials) == {WarningCode.OTHER_SEARCHES: {"num_searches": 2, "num_trials": 2}}
    assert trials[0].confirmed_by(replace(trials[0], num_other_searches=1)).num_other_searches


@pytest.mark.parametrize(
    ("others_busy_cores", "num_threads", "num_cores"),
    [(1.2, 2, 8), (0.1, 2, 2), (0.9, 1, 2), (0.4, 2, 2), (None, 2, 2)],
    ids=["cores to spare", "quiet", "a core for its one thread", "little missing", "not known"],
)
def test_others_that_are_not_in_the_way_are_not_named(
    warn: Warn, make_trial, others_busy_cores, num_threads, num_cores
) -> None:
    trial = make_trial(64, others_busy_cores=others_busy_cores)
    assert warn(trial, num_threads=num_threads, num_cores=num_cores) == {}


def test_memory_that_grows_from_step_to_step_is_named_with_the_steps_left(warn: Warn) -> None:
    leaking = Confirmation(
        batch_size=64,
        num_steps=72,
        peak_bytes=2**30,
        window_peaks_bytes=tuple(2**30 - gone * 100 * MIB for gone in (2, 1, 0)),
        window_num_steps=(50, 12, 8),  # a slow moment makes a window short
    )
    assert warn(confirmation=leaking) == {
        WarningCode.LEAK: {"batch_size": 64, "growth_bytes": 10 * MIB, "steps_left": 102}
    }


@pytest.mark.parametrize(
    "peaks_mib",
    [(1000, 1100, 1100), (1000, 990, 1200), (1000, 1000.5, 1001), (1000, 1100), ()],
    ids=["settles", "goes down in between", "by next to nothing", "two windows", "no windows"],
)
def test_memory_that_only_settles_is_no_leak(warn: Warn, peaks_mib: tuple[float, ...]) -> None:
    peaks = tuple(round(peak * MIB) for peak in peaks_mib)
    confirmation = Confirmation(
        batch_size=64,
        num_steps=30,
        peak_bytes=2**30,
        window_peaks_bytes=peaks,
        window_num_steps=(10,) * len(peaks),
    )
    assert warn(confirmation=confirmation) == {}


def test_growth_over_a_few_slow_steps_is_no_leak(warn: Warn) -> None:
    few = Confirmation(
        batch_size=64,
        num_steps=4,
        peak_bytes=1448 * MIB,
        window_peaks_bytes=tuple(peak * MIB for peak in (1431, 1440, 1448)),
        window_num_steps=(2, 1, 1),
    )
    assert warn(confirmation=few) == {}


def test_an_answer_that_was_not_confirmed_says_so(warn: Warn) -> None:
    assert warn(confirmation=None) == {WarningCode.NOT_CONFIRMED: {"batch_size": 64}}


def test_throttling_at_the_recommended_size_is_named_with_its_reasons(warn, make_trial):
    trials = (
        make_trial(64, throttle_reasons=("power limit",)),
        make_trial(128, throttle_reasons=("too hot", "power limit")),
    )
    assert warn(*trials)[WarningCode.THROTTLED] == {"batch_size": 64}


@pytest.mark.parametrize("reasons", [None, ()])
def test_clocks_that_nothing_held_down_are_no_warning(reasons, warn, make_trial):
    assert WarningCode.THROTTLED not in warn(make_trial(64, throttle_reasons=reasons))
