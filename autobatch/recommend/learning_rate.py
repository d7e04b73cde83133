"""How the learning rate follows the global batch size.

With ``k`` the new global batch size over the base one:

    linear   lr -> k lr            Goyal et al. 2017, "Accurate, Large Minibatch SGD"
    sqrt     lr -> sqrt(k) lr      Krizhevsky 2014, "One weird trick for parallelizing
                                   convolutional neural networks"; for Adam and RMSprop
                                   Malladi et al. 2022, "On the SDEs and Scaling Rules for
                                   Adaptive Gradient Algorithms", which adds
                                   1 - beta -> k (1 - beta) and eps -> eps / sqrt(k)
    none     lr -> lr
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autobatch.recommend.optimizers import OptimizerFamily, find_family
from autobatch.records import LearningRateRule

DEFAULT_ADAM_BETAS = (0.9, 0.999)

_RULES = {
    OptimizerFamily.SGD: LearningRateRule.LINEAR,
    OptimizerFamily.ADAM: LearningRateRule.SQRT,
    OptimizerFamily.RMSPROP: LearningRateRule.SQRT,
    OptimizerFamily.LAYERWISE: LearningRateRule.SQRT,
    OptimizerFamily.NORMALIZED: LearningRateRule.SQRT,
    OptimizerFamily.SELF_TUNING: LearningRateRule.NONE,
    OptimizerFamily.UNKNOWN: LearningRateRule.SQRT,
}
_REASONS = {
    OptimizerFamily.SGD: "the step of {name} is proportional to the gradient: linear rule "
    "(Goyal et al. 2017)",
    OptimizerFamily.ADAM: "{name} divides by the gradient's own size: square-root rule "
    "(Malladi et al. 2022)",
    OptimizerFamily.RMSPROP: "{name} divides by the gradient's own size: square-root rule "
    "(Malladi et al. 2022)",
    OptimizerFamily.LAYERWISE: "{name} scales each layer's step to its weights: square-root "
    "rule (You et al. 2020)",
    OptimizerFamily.NORMALIZED: "{name} steps by the gradient's direction more than by its "
    "size: square-root rule, good at small batches and optimistic at large ones "
    "(Li et al. 2024)",
    OptimizerFamily.SELF_TUNING: "{name} finds the size of its own steps: the rate stays",
    OptimizerFamily.UNKNOWN: "{name}: square-root rule (Krizhevsky 2014), "
    "midway between linear and none",
}


_ASKED_REASONS = {
    LearningRateRule.LINEAR: "linear rule, as asked (Goyal et al. 2017)",
    LearningRateRule.SQRT: "square-root rule, as asked (Krizhevsky 2014)",
    LearningRateRule.NONE: "the rate stays, as asked",
}
# Beyond this factor the reason says where the rule was shown to hold, and code that applies the
# rate is warned.
FAR_MULTIPLIER = 8
_LARGEST_LINEAR_BATCH_SIZE = 8192
_SHOWN_LINEAR = (
    "shown to hold up to a global batch of 8,192, on ImageNet with warm-up (Goyal et al. 2017)"
)
_SHOWN_SQRT = {
    OptimizerFamily.RMSPROP: "shown on CIFAR-10 from a batch size of 256 up (Malladi et al. 2022)",
    OptimizerFamily.LAYERWISE: "shown from a global batch of 512 to one of 32,768, for BERT with "
    "warm-up (You et al. 2020)",
    OptimizerFamily.NORMALIZED: "the best rate falls again beyond the gradient noise scale "
    "(Li et al. 2024)",
}
_NOT_SHOWN_SQRT = (
    "derived from the variance of the gradient, and not shown to hold for ratios like this"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledLearningRate:
    """A learning rate scaled to another global batch size.

    Attributes:
        learning_rate: The scaled rate; ``None`` without a base rate or a multiplier.
        multiplier: Factor from the base rate to the scaled one; ``None`` where the rule ends
            before this ratio, which the reason says.
        formula_multiplier: The same by the rule's formula alone, for experiments.
        rule: The rule that was applied, never ``AUTO``.
        reason: Why that rule, with its source, and what to mind.
        adam_betas: Betas that go with it, from Adam's defaults; ``None`` for other rules and
            optimizers, and where the rule leaves the range of a beta.
        adam_epsilon_multiplier: Factor for the epsilon of Adam or RMSprop, else ``None``.
    """

    learning_rate: float | None
    multiplier: float | None
    formula_multiplier: float
    rule: LearningRateRule
    reason: str
    adam_betas: tuple[float, float] | None = None
    adam_epsilon_multiplier: float | None = None


def scale_learning_rate(
    rule: LearningRateRule,
    *,
    base_learning_rate: float | None,
    base_batch_size: int,
    global_batch_size: int,
    optimizer: str | None,
) -> ScaledLearningRate:
    """Scale a learning rate from one global batch size to another.

    Args:
        rule: How; ``AUTO`` goes by the optimizer.
        base_learning_rate: The rate that is known to work, ``None`` if none is.
        base_batch_size: The global batch size that it goes with.
        global_batch_size: The global batch size to train with.
        optimizer: Class name of the optimizer, ``None`` if unknown.
    """
    family = find_family(optimizer)
    if rule is LearningRateRule.AUTO:
        rule = _RULES[family]
        reason = _REASONS[family].format(name=optimizer or "unknown optimizer")
    else:
        reason = _ASKED_REASONS[rule]
    ratio = global_batch_size / base_batch_size
    multiplier = _multiplier(rule, ratio)
    is_sqrt = rule is LearningRateRule.SQRT
    is_adam = is_sqrt and family is OptimizerFamily.ADAM
    is_rmsprop = is_sqrt and family is OptimizerFamily.RMSPROP
    betas = scale_betas(ratio) if is_adam else None
    if is_adam and betas is None:
        note = (
            f"a batch {ratio:,.3g} times the base takes a beta of Adam below 0, so no rate follows"
        )
        return ScaledLearningRate(
            learning_rate=None,
            multiplier=None,
            formula_multiplier=multiplier,
            rule=rule,
            reason=f"{reason}; {note}",
        )
    notes = [reason]
    if rule is LearningRateRule.LINEAR and multiplier > 1:
        notes.append("warm the rate up to it over the first five epochs")
    if is_rmsprop and multiplier != 1:
        notes.append("multiply 1 - alpha by the ratio of the batch sizes too")
    notes += _where_shown(rule, family, multiplier, global_batch_size)
    return ScaledLearningRate(
        learning_rate=None if base_learning_rate is None else base_learning_rate * multiplier,
        multiplier=multiplier,
        formula_multiplier=multiplier,
        rule=rule,
        reason="; ".join(notes),
        adam_betas=betas,
        adam_epsilon_multiplier=1 / multiplier if is_adam or is_rmsprop else None,
    )


def scale_betas(
    ratio: float, base_betas: tuple[float, float] = DEFAULT_ADAM_BETAS
) -> tuple[float, float] | None:
    """Adam's betas at a batch size ``ratio`` times the base: ``1 - beta -> ratio (1 - beta)``.

    Malladi et al. 2022, the square root scaling rule for Adam.

    Args:
        ratio: New batch size over the base.
        base_betas: Adam's betas at the base.

    Returns:
        Both betas; ``None`` if either would leave the range from 0 up to 1, which is where
        the rule ends.
    """
    # Rounded, so that no rounding error of 1e-16 is taken for a beta.
    first, second = (round(1 - ratio * (1 - beta), 12) for beta in base_betas)
    if not (0 <= first < 1 and 0 <= second < 1):
        return None
    return first, second


def _multiplier(rule: LearningRateRule, ratio: float) -> float:
    if rule is LearningRateRule.LINEAR:
        return ratio
    return math.sqrt(ratio) if rule is LearningRateRule.SQRT else 1.0


def _where_shown(
    rule: LearningRateRule, family: OptimizerFamily, multiplier: float, global_batch_size: int
) -> list[str]:
    """Where a rule was shown to hold, for a change that goes as far or farther."""
    if rule is LearningRateRule.LINEAR:
        is_beyond = multiplier > 1 and global_batch_size > _LARGEST_LINEAR_BATCH_SIZE
        return [_SHOWN_LINEAR] if multiplier > FAR_MULTIPLIER or is_beyond else []
    return [_SHOWN_SQRT.get(family, _NOT_SHOWN_SQRT)] if multiplier > FAR_MULTIPLIER else []
