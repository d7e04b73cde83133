"""Whether a step with levers on is the step without them, and which levers there are."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autobatch.accumulation.measure import without_dropout
from autobatch.errors import WorkloadError
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import is_compiled
from autobatch.probe.trial.evaluation import buffers_kept
from autobatch.probe.trial.start import drop_gradients_at_end, seed_everything, start_anew
from autobatch.records import Precision
from autobatch.tuning.blocks import find_block_names, find_switch
from autobatch.tuning.levers import LEVERS, put_on_all
from autobatch.tuning.records import Changes, Facts, Truth
from autobatch.tuning.tuned import TunedTask
from autobatch.workload.task import move_to

#: Norm of a difference over the norm, up to which two steps in full precision are the same: other
#: orders of summation differ by 1e-6 to 1e-4, a dropout mask that is drawn again by 0.1 and more.
TOLERANCE_FRACTION = 1e-3
# In other types, and where the same step twice differs: multiples of what a number rounds to, and
# of that difference.
_ROUNDINGS, _CHANCES = 8, 4
_FORMS = ("fused", "foreach")


def find_facts(context: JobContext) -> Facts:
    """Look for all that decides which levers there are."""
    task, device = context.task, context.device
    optimizer = task.built.optimizer
    own = task.loss.facts.steps_itself
    others = [each for each in Precision if each not in (Precision.FP32, context.precision)]
    return Facts(
        has_convolutions=any(isinstance(each, nn.Conv2d) for each in task.model.modules()),
        is_compiled=is_compiled(task.model),
        checkpoint_switch=find_switch(task.model),
        blocks=find_block_names(task.model),
        optimizer="" if own else type(optimizer).__name__,
        optimizer_forms=() if own else _find_forms(optimizer, device.name),
        optimizer_has_state=bool(optimizer.state) or context.is_mid_training,
        num_threads=context.num_threads or torch.get_num_threads(),
        precisions=tuple(each.value for each in others if not device.unsupported_reason(each)),
        has_8bit_optimizer=_has_8bit(optimizer),
    )


def _find_forms(optimizer: torch.optim.Optimizer, device_name: str) -> tuple[str, ...]:
    """Implementations besides the one in use; on a GPU foreach is the usual one."""
    defaults = optimizer.defaults
    usual = () if device_name == "cpu" else ("foreach",)
    is_set = any(defaults.get(name) for name in _FORMS)
    return () if is_set else tuple(n for n in _FORMS if n in defaults and n not in usual)


def _has_8bit(optimizer: torch.optim.Optimizer) -> bool:
    if importlib.util.find_spec("bitsandbytes") is None:
        return False
    library = importlib.import_module("bitsandbytes").optim
    return hasattr(library, f"{type(optimizer).__name__}8bit")


def check_truth(context: JobContext, batch_size: int) -> Truth:
    """Compare loss, gradients and buffers of a step with levers on and off, in full precision.

    Everything random is drawn alike, dropout included, so that a mask that is drawn again where it
    should be kept is seen. Levers that draw it in another order are compared without it, and the
    others with it beside them.

    Args:
        context: Has a task with levers on.
        batch_size: Samples of the batch.

    Raises:
        WorkloadError: If the training step leaves no gradient to compare.
    """
    task = context.task
    assert isinstance(task, TunedTask)
    changes, device = task.switch.changes, torch.device(context.device.name)
    start_anew(context.device, context.seed)
    with (
        drop_gradients_at_end(task.built.optimizer),
        context.device.enforce(context.limits.budget_bytes),
        buffers_kept(task.model),
    ):
        batch = move_to(next(task.source.batches(batch_size)), device)
        steps = _Steps(task, batch, context.seed)
        redrawing = {name: value for name, value in changes.items() if LEVERS[name].redraws}
        if not redrawing:
            return steps.compare_with({}, draws=True)
        truths = steps.compare_with({}, draws=False), steps.compare_with(redrawing, draws=True)
        return max(truths, key=lambda each: bool(each.fault))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step leaves, detached.

    Attributes:
        loss: The loss.
        gradients: Of each parameter; ``None`` for one without.
        buffers: Of the model, afterwards.
    """

    loss: torch.Tensor
    gradients: Sequence[torch.Tensor | None]
    buffers: Sequence[torch.Tensor]


def compare(plain: Step, again: Step, tuned: Step) -> Truth:
    """How far a step with levers on is from one without.

    Args:
        plain: Without levers.
        again: The same once more.
        tuned: With levers.
    """
    chance = distance(plain.gradients, again.gradients)
    dtypes = {each.dtype for each in plain.gradients if each is not None}
    rounding = max((torch.finfo(each).eps for each in dtypes), default=0.0)
    return Truth(
        loss_fraction=distance([plain.loss], [tuned.loss]),
        gradient_fraction=distance(plain.gradients, tuned.gradients),
        buffer_fraction=distance(plain.buffers, tuned.buffers),
        chance_fraction=chance,
        tolerance_fraction=max(TOLERANCE_FRACTION, _ROUNDINGS * rounding, _CHANCES * chance),
    )


def distance(mine: Sequence[torch.Tensor | None], theirs: Sequence[torch.Tensor | None]) -> float:
    """Norm of the difference over the norm of the first; infinite where one has none.

    Args:
        mine: Tensors.
        theirs: The same number of them.
    """
    difference = norm = 0.0
    for a, b in zip(mine, theirs, strict=True):
        if a is None and b is None:
            continue
        if a is None or b is None or a.shape != b.shape:
            return math.inf
        norm += float(a.double().square().sum())
        difference += float((a.double() - b.double()).square().sum())
    return math.sqrt(difference / norm) if norm else (math.inf if difference else 0.0)


class _Steps:
    """Steps of one task on one batch, from the same buffers and seed.

    Args:
        task: Has levers on.
        batch: On the device.
        seed: Of what is drawn.
    """

    def __init__(self, task: TunedTask, batch: Any, seed: int) -> None:
        self._task, self._batch, self._seed = task, batch, seed
        self._buffers = [each.detach().clone() for each in task.model.buffers()]

    def compare_with(self, others: Changes, *, draws: bool) -> Truth:
        """Compare the step with one that has only these levers on.

        Args:
            others: The levers.
            draws: Whether dropout is on.
        """
        task = self._task
        with _same_random_numbers(task.switch.changes):
            tuned = self._run(draws=draws)
        task.switch.off()
        take_off = put_on_all(task.switch.parts, others)
        try:
            plain, again = (self._run(draws=draws) for _ in range(2))
        finally:
            take_off()
            task.switch.on()
        return compare(plain, again, tuned)

    def _run(self, *, draws: bool) -> Step:
        task = self._task
        for buffer, before in zip(task.model.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        task.model.zero_grad(set_to_none=True)
        seed_everything(self._seed)
        with nullcontext() if draws else without_dropout(task.model, trains_norm=True):
            loss = task.loss(task.model, self._batch)
            if task.loss.facts.steps_itself:
                raise WorkloadError(
                    f"no gradient can be compared: {task.loss.facts.description}",
                    hint="return the loss from it, without backward() and step()",
                )
            loss.backward()  # type: ignore[no-untyped-call]
        return Step(
            loss=loss.detach().clone(),
            gradients=[_dense(each.grad) for each in task.model.parameters()],
            buffers=[each.detach().clone() for each in task.model.buffers()],
        )


def _dense(gradient: torch.Tensor | None) -> torch.Tensor | None:
    if gradient is None:
        return None
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach().clone()


def _same_random_numbers(changes: Changes) -> AbstractContextManager[Any]:
    """Compiled code draws its random numbers in an order of its own, unless told not to."""
    if "compile" not in changes:
        return nullcontext()
    config: Any = importlib.import_module("torch._inductor.config")
    patched: AbstractContextManager[Any] = config.patch(fallback_random=True)
    return patched
