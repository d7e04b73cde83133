"""The whole recipe: what follows a change of the global batch size, by which rule, how far.

``k`` is the new global batch size ``b`` over the base ``b0``, ``phi`` the gradient noise scale.
Rules that contradict each other stand side by side, each with its limit: which one holds is a
matter of the optimizer and of where ``b`` lies beside ``phi``. Those that need the noise scale
are left out where it was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from autobatch.noise.goodput import relative_efficiency
from autobatch.recommend.inputs import (
    find_base_batch_size,
    find_base_learning_rate,
    find_dataset_size,
)
from autobatch.recommend.learning_rate import DEFAULT_ADAM_BETAS, scale_betas
from autobatch.recommend.optimizers import OptimizerFamily, find_family
from autobatch.records import NoiseScale, RecipeItem, Recommendation, Settings, WorkloadSummary

_WARMUP_EPOCHS = 5
_EXAMPLE_EMA_DECAY = 0.999
_ADAPTIVE = (OptimizerFamily.ADAM, OptimizerFamily.RMSPROP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """From one global batch size to another.

    Attributes:
        base: The global batch size before.
        new: After.
        rate: Learning rate before, ``None`` if unknown.
        rate_multiplier: Factor that the recommendation applies to it, ``None`` for none.
        iterations: Optimizer steps per epoch after, ``None`` if unknown.
        family: Of the optimizer.
        phi: Noise scale, ``None`` if unknown.
    """

    base: int
    new: int
    rate: float | None
    rate_multiplier: float | None
    iterations: int | None
    family: OptimizerFamily
    phi: float | None

    @property
    def ratio(self) -> float:
        return self.new / self.base

    @property
    def root(self) -> float | None:
        """Factor of the square-root rule; ``None`` where it takes a beta of Adam below 0."""
        is_adam = self.family is OptimizerFamily.ADAM
        return None if is_adam and scale_betas(self.ratio) is None else math.sqrt(self.ratio)

    def rate_item(
        self, name: str, factor: float | None, formula: str, source: str, limit: str
    ) -> RecipeItem:
        return _item(
            f"learning rate, {name}",
            factor if self.rate is None or factor is None else factor * self.rate,
            formula,
            source,
            limit,
            is_factor=self.rate is None,
        )


def build_recipe(
    *,
    settings: Settings,
    workload: WorkloadSummary,
    recommendation: Recommendation,
    noise: NoiseScale | None,
) -> tuple[RecipeItem, ...]:
    """Every rule that applies to a recommendation.

    Args:
        settings: For the base learning rate and batch size.
        workload: For the optimizer, and the base where the settings have none.
        recommendation: For the new global batch size.
        noise: The gradient noise scale, ``None`` if it was not measured.
    """
    phi = noise.at_least if noise is not None and noise.at_least > 0 else None
    dataset_size = find_dataset_size(settings, workload)
    change = _Change(
        base=find_base_batch_size(settings, workload),
        new=recommendation.global_batch_size,
        rate=find_base_learning_rate(settings, workload),
        rate_multiplier=recommendation.learning_rate_multiplier,
        iterations=recommendation.iterations_per_epoch if dataset_size else None,
        family=find_family(workload.optimizer),
        phi=phi,
    )
    parts = (_learning_rates, _warmup, _adam, _averages, _decay, _lengths)
    return tuple(item for part in parts for item in part(change))


def adascale_gain(noise_scale: float, base_batch_size: float, ratio: float) -> float:
    """Steps at the base batch size that one step at ``ratio`` times it is worth.

    Johnson et al. 2020, "AdaScale SGD": ``(s^2 + m^2) / (s^2 / ratio + m^2)``, where
    ``s^2 = tr(Sigma) / b0`` and ``m^2 = |G|^2``. It lies between 1 and ``ratio``.

    Args:
        noise_scale: ``tr(Sigma) / |G|^2``, in samples.
        base_batch_size: ``b0``.
        ratio: New batch size over the base one.
    """
    variance = noise_scale / base_batch_size
    return (variance + 1) / (variance / ratio + 1)


def surge_factor(noise_scale: float, base_batch_size: float, batch_size: float) -> float:
    """Factor of the best learning rate of sign-like optimizers between two batch sizes.

    Li et al. 2024, "Surge Phenomenon in Optimal Learning Rate and Batch Size Scaling", theorem 3:
    the best rate is ``max / ((sqrt(phi / b) + sqrt(b / phi)) / 2)``, highest at ``b = phi``. It
    holds for ``b`` far below ``pi sigma^2 / (2 mu^2)`` of the weights' gradients; far above, the
    best rate no longer depends on ``b`` (theorem 4).
    """
    before, after = (
        math.sqrt(noise_scale / size) + math.sqrt(size / noise_scale)
        for size in (base_batch_size, batch_size)
    )
    return before / after


def _learning_rates(change: _Change) -> Iterator[RecipeItem]:
    k, phi, is_adaptive = change.ratio, change.phi, change.family in _ADAPTIVE
    if not is_adaptive:
        yield change.rate_item(
            "linear rule", k, "lr x k", "Goyal et al. 2017",
            "SGD with momentum, after a warm-up; seen to hold up to 8,192 on ImageNet; breaks "
            "where b comes near the noise scale",
        )  # fmt: skip
    yield change.rate_item(
        "square-root rule", change.root, "lr x sqrt(k)",
        "Malladi et al. 2022" if is_adaptive else "Krizhevsky 2014",
        "Adam and RMSprop where noise outweighs the gradient, with the betas and epsilon below; "
        "for a language model the best rate rose only threefold from batch size 1 to 1,024 "
        "(Marek et al. 2025)"
        if is_adaptive
        else "keeps the variance of a step; the cautious choice for SGD beyond the linear range",
    )  # fmt: skip
    if phi is None:
        return
    if not is_adaptive:
        yield change.rate_item(
            "noise-scale law", adascale_gain(phi, change.base, k),
            "lr x (1 + phi / b0) / (1 + phi / b)", "McCandlish et al. 2018",
            "SGD without momentum on a quadratic; the base rate must be the best one at b0; phi "
            "is that of the weights it was measured at",
        )  # fmt: skip
        yield change.rate_item(
            "AdaScale gain", adascale_gain(phi, change.base, k),
            "lr x r, r = (phi / b0 + 1) / (phi / b + 1)", "Johnson et al. 2020",
            "SGD with momentum, r measured anew as training goes on, and the schedule advanced "
            "by r at each step; with one fixed phi it is the noise-scale law",
        )  # fmt: skip
    if is_adaptive:
        yield change.rate_item(
            "rise and fall", surge_factor(phi, change.base, change.new),
            "lr x (sqrt(phi / b0) + sqrt(b0 / phi)) / (sqrt(phi / b) + sqrt(b / phi))",
            "Li et al. 2024",
            "sign-like steps with Gaussian gradients, noise well above the mean in each weight; "
            "highest at b = phi, lower beyond, level far beyond; its own phi, from the Hessian "
            "too, may differ from tr(Sigma) / |G|^2, used here",
        )  # fmt: skip


def _warmup(change: _Change) -> Iterator[RecipeItem]:
    if change.family is OptimizerFamily.ADAM:
        yield _item(
            "warm-up steps", round(2 / (1 - DEFAULT_ADAM_BETAS[1])), "2 / (1 - beta2)",
            "Ma and Yarats 2021",
            "Adam, linear, with its default beta2 of 0.999; in steps, whatever the batch size",
        )  # fmt: skip
        return
    steps = None if change.iterations is None else _WARMUP_EPOCHS * change.iterations
    yield _item(
        "warm-up steps", steps, "5 epochs, from the base rate up", "Goyal et al. 2017",
        "SGD with the linear rule and k above 1, in trainings of some ninety epochs",
    )  # fmt: skip


def _adam(change: _Change) -> Iterator[RecipeItem]:
    k = change.ratio
    if change.family in _ADAPTIVE:
        yield _item(
            "epsilon", 1 / math.sqrt(k), "eps / sqrt(k)", "Malladi et al. 2022",
            "goes with the square-root rule", is_factor=True,
        )  # fmt: skip
    if change.family is not OptimizerFamily.ADAM:
        return
    betas = scale_betas(k) or (None, None)
    for index, beta in enumerate(betas, start=1):
        yield _item(
            f"beta{index}, SDE rule", beta, f"1 - k (1 - beta{index})", "Malladi et al. 2022",
            f"from the default of {DEFAULT_ADAM_BETAS[index - 1]:g}; ends where k (1 - beta1) "
            "reaches 1; goes with the square-root rule",
        )  # fmt: skip
    yield _item(
        "beta2, half-life kept", DEFAULT_ADAM_BETAS[1] ** k, "beta2^k", "Marek et al. 2025",
        "from the default of 0.999; the second moment forgets after the same number of samples; "
        "shown for language models at batch sizes of 1 to 4,096, beta1 left alone",
    )  # fmt: skip


def _averages(change: _Change) -> Iterator[RecipeItem]:
    yield _item(
        "EMA decay of 0.999", _EXAMPLE_EMA_DECAY**change.ratio, "decay^k", "Busbridge et al. 2023",
        "an average of the weights kept beside the training, with the rate scaled by its rule; "
        "any other decay by the same formula",
    )  # fmt: skip


def _decay(change: _Change) -> Iterator[RecipeItem]:
    if change.family is OptimizerFamily.ADAM:
        yield _item(
            "weight decay, decoupled",
            change.ratio / change.rate_multiplier if change.rate_multiplier else None,
            "decay x k / (factor of lr)", "Wang and Aitchison 2024",
            "AdamW: keeps the epochs over which weights are averaged, 1 / (lr x decay x steps "
            "per epoch); for L2 in the gradient there is no such rule",
            is_factor=True,
        )  # fmt: skip
        return
    yield _item(
        "weight decay", 1.0, "unchanged", "Goyal et al. 2017",
        "part of the loss, which the batch size does not change; lr x decay scales with lr",
        is_factor=True,
    )  # fmt: skip


def _lengths(change: _Change) -> Iterator[RecipeItem]:
    k = change.ratio
    yield _item(
        "schedule, given in steps", 1 / k, "steps / k", "Goyal et al. 2017",
        "keeps the epochs: decay points, warm-down and total count alike; as long as b stays "
        "well below the noise scale",
        is_factor=True,
    )  # fmt: skip
    if change.phi is not None:
        worth = relative_efficiency(change.phi, change.new, change.base)
        yield _item(
            "epochs for the same progress", 1 / worth, "(phi + b) / (phi + b0)",
            "McCandlish et al. 2018; Qiao et al. 2021",
            "the best learning rate at each size; phi of the weights it was measured at",
            is_factor=True,
        )  # fmt: skip
        yield _item(
            "steps for the same progress", 1 / (worth * k), "steps / AdaScale gain",
            "Johnson et al. 2020", "as the line above", is_factor=True,
        )  # fmt: skip
    yield _item(
        "steps kept instead of epochs", k, "epochs x k", "Hoffer et al. 2017; Shallue et al. 2019",
        "what it costs to close the gap in generalisation that was seen at large batches; there "
        "is no rule for how much of it is needed",
        is_factor=True,
    )  # fmt: skip


def _item(
    name: str,
    value: float | None,
    formula: str,
    source: str,
    limit: str,
    *,
    is_factor: bool = False,
) -> RecipeItem:
    return RecipeItem(
        name=name, value=value, is_factor=is_factor, formula=formula, source=source, limit=limit
    )
