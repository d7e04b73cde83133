"""The batch size for what ``Accelerator.prepare`` returned.

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
finding = find_batch_size(accelerator, model, loader, loss, optimizer)
loader = resize(accelerator, loader, finding.batch_size)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from autobatch.integrations.loaders import with_batch_size
from autobatch.records import Confidence
from autobatch.training import TrainingFinding
from autobatch.training.call import find_for_objects
from autobatch.training.notice import announce

if TYPE_CHECKING:
    from accelerate import Accelerator

_PRECISIONS = {"no": "fp32", "bf16": "bf16", "fp16": "fp16"}


def find_batch_size(
    accelerator: Accelerator,
    model: torch.nn.Module,
    loader: Any,
    loss: Callable[..., torch.Tensor] | None = None,
    optimizer: Any = None,
    *,
    training_step: Callable[[Any, Any], torch.Tensor] | None = None,
    optimizer_step: Callable[[Any, Any], Any] | None = None,
    **options: Any,
) -> TrainingFinding:
    """Find the batch size to train prepared objects with.

    Trials accumulate gradients as the accelerator's ``gradient_accumulation_steps`` says; with
    ``global_batch_size`` that is set to reach it with the size that was found. Of several
    processes that train together all call it, and get the same finding.

    Args:
        accelerator: The one that prepared them.
        model: A prepared model.
        loader: A prepared loader, or one that is not; all but its batch size is kept.
        loss: A function of output and target; not needed by a model that returns its loss.
        optimizer: A prepared optimizer.
        training_step: A function of the model and a batch that returns the loss.
        optimizer_step: A function of the model and the optimizer, such as one that clips gradients
            and then calls ``optimizer.step()``.
        **options: Those of ``autobatch.find_batch_size``.

    Raises:
        AutobatchError: As ``autobatch.find_batch_size`` does.
    """
    precision = _PRECISIONS.get(str(accelerator.mixed_precision), "fp32")
    plain_loader = with_batch_size(loader)
    per_step = accelerator.gradient_accumulation_steps
    per_pass = (plain_loader.batch_size or 1) * accelerator.num_processes
    base = {"precision": precision, "base_batch_size": per_pass * per_step}
    if options.get("global_batch_size") is None:
        base["gradient_accumulation_steps"] = per_step
    finding = find_for_objects(
        model,
        plain_loader,
        loss,
        getattr(optimizer, "optimizer", optimizer),
        training_step=training_step,
        optimizer_step=optimizer_step,
        **{**base, **options},
    )
    is_sure = finding.confidence is Confidence.HIGH
    if is_sure and options.get("global_batch_size") is not None:
        accelerator.gradient_accumulation_steps = finding.gradient_accumulation_steps
    announce(finding, "recommended", stacklevel=2)
    return finding


def resize(accelerator: Accelerator, loader: Any, batch_size: int) -> DataLoader[Any]:
    """Replace a prepared loader by one with another batch size.

    Args:
        accelerator: The one that prepared it; forgets the old loader.
        loader: Whose dataset, sampler and workers are kept.
        batch_size: Samples in a batch.
    """
    resized: DataLoader[Any] = accelerator.prepare_data_loader(with_batch_size(loader, batch_size))
    known = accelerator._dataloaders
    known[:] = [each for each in known if each is not loader]
    return resized
