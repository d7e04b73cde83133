"""Rates set by a finding, and the warnings where its rule is far from home."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.records import LearningRateRule
from autobatch.training import TrainingFinding


def optimizer(**group: Any) -> Any:
    return SimpleNamespace(param_groups=[{"lr": 0.1, **group}])


@pytest.fixture
def found(make_finding: Any) -> Any:
    return lambda **changes: TrainingFinding.of(make_finding(recommendation=changes))


def test_a_rate_up_to_eight_times_the_base_is_set_without_a_word(found: Any) -> None:
    sgd = optimizer(initial_lr=0.1)
    found(learning_rate_multiplier=8.0).apply(sgd)
    assert sgd.param_groups == [{"lr": pytest.approx(0.8), "initial_lr": pytest.approx(0.8)}]


def test_a_rate_beyond_that_is_set_with_the_rules_own_range_as_a_warning(found: Any) -> None:
    sgd = optimizer()
    finding = found(learning_rate_multiplier=32.0, learning_rate_reason="shown up to 8,192")
    with pytest.warns(UserWarning, match="32 times the base rate: shown up to 8,192"):
        finding.apply(sgd)
    assert sgd.param_groups[0]["lr"] == pytest.approx(3.2)


def test_where_the_rule_gives_no_rate_nothing_is_set_and_the_reason_is_a_warning(
    found: Any,
) -> None:
    adam = optimizer(betas=(0.9, 0.999), eps=1e-8)
    finding = found(
        learning_rate=None,
        learning_rate_multiplier=None,
        learning_rate_rule=LearningRateRule.SQRT,
        learning_rate_reason="beyond Adam's betas",
    )
    with pytest.warns(UserWarning, match="stays as it is: beyond Adam's betas"):
        finding.apply(adam)
    assert adam.param_groups == [{"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}]


def test_a_group_whose_own_betas_leave_their_range_stays_as_it_is(found: Any) -> None:
    adam = optimizer(betas=(0.5, 0.999), eps=1e-8)
    finding = found(
        learning_rate_multiplier=2.0,
        learning_rate_rule=LearningRateRule.SQRT,
        adam_betas=(0.6, 0.996),
        adam_epsilon_multiplier=0.5,
    )
    with pytest.warns(UserWarning, match="a beta of a parameter group below 0"):
        finding.apply(adam)
    assert adam.param_groups == [{"lr": 0.1, "betas": (0.5, 0.999), "eps": 1e-8}]
