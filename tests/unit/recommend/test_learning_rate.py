from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.recommend.learning_rate import (
    ScaledLearningRate,
    scale_betas,
    scale_learning_rate,
)
from autobatch.records import LearningRateRule

AUTO, LINEAR, SQRT, NONE = (
    LearningRateRule.AUTO,
    LearningRateRule.LINEAR,
    LearningRateRule.SQRT,
    LearningRateRule.NONE,
)
ratios = st.integers(1, 2**16)


def scale(
    rule: LearningRateRule,
    global_batch_size: int,
    *,
    rate: float | None = 0.1,
    base: int = 32,
    optimizer: str | None = None,
) -> ScaledLearningRate:
    return scale_learning_rate(
        rule,
        base_learning_rate=rate,
        base_batch_size=base,
        global_batch_size=global_batch_size,
        optimizer=optimizer,
    )


def test_linear_takes_a_tenth_at_256_to_3_2_at_8192() -> None:
    assert scale(LINEAR, 8192, base=256).learning_rate == pytest.approx(3.2)


def test_sqrt_takes_a_tenth_at_256_to_its_root_of_32_fold_at_8192() -> None:
    assert scale(SQRT, 8192, base=256).learning_rate == pytest.approx(0.1 * math.sqrt(32))


def test_none_leaves_the_rate_as_it_is() -> None:
    scaled = scale(NONE, 8192)
    assert (scaled.learning_rate, scaled.multiplier) == (0.1, 1.0)


def test_without_a_base_rate_the_multiplier_is_still_given() -> None:
    scaled = scale(LINEAR, 128, rate=None)
    assert (scaled.learning_rate, scaled.multiplier) == (None, 4.0)


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        ("SGD", LINEAR),
        ("ASGD", LINEAR),
        ("FusedSGD", LINEAR),
        ("SGDScheduleFree", LINEAR),
        ("Adam", SQRT),
        ("AdamW", SQRT),
        ("AdamW8bit", SQRT),
        ("DeepSpeedCPUAdam", SQRT),
        ("NAdam", SQRT),
        ("RAdam", SQRT),
        ("SparseAdam", SQRT),
        ("Adamax", SQRT),
        ("Adagrad", SQRT),
        ("RMSprop", SQRT),
        ("Adafactor", SQRT),
        ("Lion", SQRT),
        ("SignSGD", SQRT),
        ("Muon", SQRT),
        ("LAMB", SQRT),
        ("LARS", SQRT),
        ("Adadelta", NONE),
        ("DAdaptAdam", NONE),
        ("DAdaptSGD", NONE),
        ("Prodigy", NONE),
        ("LBFGS", NONE),
        ("Rprop", NONE),
        ("MyOwnThing", SQRT),
        (None, SQRT),
    ],
)
def test_auto_goes_by_the_optimizer_and_says_why(
    optimizer: str | None, rule: LearningRateRule
) -> None:
    scaled = scale(AUTO, 128, optimizer=optimizer)
    assert scaled.rule is rule
    assert (optimizer or "unknown optimizer") in scaled.reason


@pytest.mark.parametrize("rule", [LINEAR, SQRT, NONE])
def test_a_rule_that_was_asked_for_goes_before_the_optimizer(rule: LearningRateRule) -> None:
    for optimizer in ("SGD", "Adam", "Prodigy"):
        scaled = scale(rule, 128, optimizer=optimizer)
        assert scaled.rule is rule
        assert "as asked" in scaled.reason


def test_linear_advises_warm_up_only_when_the_rate_rises() -> None:
    assert "warm the rate up" in scale(LINEAR, 64).reason
    assert "warm" not in scale(LINEAR, 32).reason
    assert "warm" not in scale(LINEAR, 16).reason


def test_a_rule_that_goes_far_says_where_it_was_shown_to_hold() -> None:
    assert "shown" not in scale(LINEAR, 256).reason
    assert "8,192, on ImageNet with warm-up" in scale(LINEAR, 257).reason
    assert "8,192, on ImageNet" in scale(LINEAR, 16_384, base=8_192).reason
    assert "shown on CIFAR-10" in scale(AUTO, 32 * 65, optimizer="RMSprop").reason
    assert "32,768, for BERT" in scale(AUTO, 32 * 65, optimizer="LAMB").reason
    assert "beyond the gradient noise scale" in scale(AUTO, 32 * 65, optimizer="Lion").reason
    assert "not shown to hold" in scale(SQRT, 32 * 65).reason
    assert "shown" not in scale(SQRT, 32 * 64).reason
    assert "shown" not in scale(NONE, 2**20).reason


def test_the_sqrt_rule_for_adam_scales_betas_and_epsilon() -> None:
    scaled = scale(AUTO, 128, optimizer="AdamW")
    assert scaled.multiplier == 2.0
    assert scaled.adam_betas == (0.6, 0.996)
    assert scaled.adam_epsilon_multiplier == 0.5


def test_where_a_beta_would_leave_its_range_no_rate_is_given_and_the_reason_says_so() -> None:
    scaled = scale(AUTO, 32 * 16, optimizer="Adam")
    given = (scaled.learning_rate, scaled.multiplier, scaled.adam_betas)
    assert given == (None, None, None)
    assert scaled.adam_epsilon_multiplier is None
    assert "16 times the base takes a beta of Adam below 0" in scaled.reason
    assert scaled.formula_multiplier == 4


def test_a_beta_of_exactly_zero_is_still_in_range() -> None:
    assert scale_betas(10) == (0.0, 0.99)
    assert scale_betas(10.1) is None


def test_rmsprop_gets_an_epsilon_but_no_adam_betas() -> None:
    scaled = scale(AUTO, 128, optimizer="RMSprop")
    assert scaled.adam_betas is None
    assert scaled.adam_epsilon_multiplier == 0.5
    assert "alpha" in scaled.reason


@pytest.mark.parametrize(
    ("rule", "optimizer"), [(SQRT, "SGD"), (LINEAR, "Adam"), (NONE, "Adam"), (AUTO, "Lion")]
)
def test_other_rules_and_optimizers_leave_betas_and_epsilon_alone(
    rule: LearningRateRule, optimizer: str
) -> None:
    scaled = scale(rule, 128, optimizer=optimizer)
    assert (scaled.adam_betas, scaled.adam_epsilon_multiplier) == (None, None)


def test_the_base_batch_size_itself_changes_nothing() -> None:
    scaled = scale(AUTO, 32, optimizer="Adam")
    assert (scaled.learning_rate, scaled.adam_betas) == (0.1, (0.9, 0.999))


@given(there=ratios, base=ratios, rule=st.sampled_from([LINEAR, SQRT, NONE]))
def test_scaling_there_and_back_again_gives_the_rate_back(
    there: int, base: int, rule: LearningRateRule
) -> None:
    out = scale(rule, there, base=base).learning_rate
    assert scale(rule, base, rate=out, base=there).learning_rate == pytest.approx(0.1)


@given(first=ratios, base=ratios)
def test_sqrt_lies_between_none_and_linear(first: int, base: int) -> None:
    low, high = sorted([1.0, first / base])
    assert low <= scale(SQRT, first, base=base).formula_multiplier <= high


@given(ratio=st.floats(0.001, 100))
def test_betas_that_are_given_are_betas(ratio: float) -> None:
    betas = scale_betas(ratio)
    assert betas is None or all(0 <= beta < 1 for beta in betas)
    assert (betas is None) == (ratio > 10)
