from __future__ import annotations

import pytest

from autobatch.recommend.bottleneck import (
    data_fraction,
    find_bottleneck,
    has_costly_page_faults,
)
from autobatch.records import Bottleneck, Outcome


def test_waiting_half_of_the_step_for_data_is_bound_by_data(make_trial) -> None:
    trial = make_trial(64, 0.1, data_time_s=0.05)
    assert find_bottleneck(trial, None) is Bottleneck.DATA_LOADING


def test_waiting_less_than_half_is_not(make_trial) -> None:
    trial = make_trial(64, 0.1, data_time_s=0.049)
    assert data_fraction(trial) == pytest.approx(0.49)
    assert find_bottleneck(trial, None) is Bottleneck.DEVICE


def test_faults_that_explain_the_kernel_time_are_the_bound(make_trial) -> None:
    trial = make_trial(1024, 0.7, page_faults_per_step=260_000, kernel_time_fraction=0.52)
    assert find_bottleneck(trial, None) is Bottleneck.PAGE_FAULTS


def test_a_busy_kernel_without_faults_is_not_blamed_on_them(make_trial) -> None:
    # Half of 0.52 x 0.7 s, at 4 us a fault, takes 45,500 faults.
    assert not has_costly_page_faults(
        make_trial(1024, 0.7, page_faults_per_step=45_000, kernel_time_fraction=0.52)
    )
    assert has_costly_page_faults(
        make_trial(1024, 0.7, page_faults_per_step=46_000, kernel_time_fraction=0.52)
    )


def test_faults_that_cost_a_tenth_or_less_are_let_pass(make_trial) -> None:
    trial = make_trial(64, 0.1, page_faults_per_step=10**6, kernel_time_fraction=0.1)
    assert not has_costly_page_faults(trial)


def test_a_device_that_cannot_count_faults_has_none(make_trial) -> None:
    assert not has_costly_page_faults(make_trial(64))


def test_a_step_that_is_mostly_latency_is_bound_by_launches(make_trial, make_curve) -> None:
    trial = make_trial(8, 0.018)
    assert find_bottleneck(trial, make_curve()) is Bottleneck.LAUNCH_OVERHEAD
    assert find_bottleneck(trial, make_curve(latency_s=0.009)) is Bottleneck.DEVICE


def test_a_poor_curve_says_nothing_of_latency(make_trial, make_curve) -> None:
    assert find_bottleneck(make_trial(8, 0.018), make_curve(is_good=False)) is Bottleneck.DEVICE


def test_waiting_for_data_goes_before_page_faults(make_trial) -> None:
    trial = make_trial(
        64, 0.1, data_time_s=0.06, page_faults_per_step=10**6, kernel_time_fraction=0.5
    )
    assert find_bottleneck(trial, None) is Bottleneck.DATA_LOADING


def test_a_trial_without_timings_waits_for_nothing(make_trial) -> None:
    assert data_fraction(make_trial(64, outcome=Outcome.OUT_OF_MEMORY)) == 0.0
