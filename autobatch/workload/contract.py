"""The workload contract: the names under which a user says what is trained.

A target file uses the same names at module level. PyTorch is not imported here, so that
``import autobatch`` stays light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained, in one object.

    Of ``train_loader``, ``dataset``, ``batch`` and ``sample`` at least one is needed; if there
    are several the first in this order is used.

    Attributes:
        model: A module, or a class or function without arguments that makes one.
        train_loader: A loader, of which everything but the batch size is kept.
        dataset: A map-style or iterable dataset of single samples.
        collate_fn: How a list of samples of ``dataset`` becomes a batch.
        batch: A function from a batch size to a batch of that size.
        sample: One sample, repeated to fill a batch.
        loss: A function of the model's output and the target. Not needed by a model that
            returns its loss.
        optimizer: A function of the parameters, an optimizer class, or an optimizer made from
            the model's parameters. AdamW if left out.
        training_step: A function of the model and a batch on the device, returning the loss,
            for full control over what happens between the two. It may also do backward passes and
            steps of its own optimizers itself, as that of a GAN does; then it returns anything.
        optimizer_step: A function of the model and the optimizer, called in the place of
            ``optimizer.step()``, which it calls itself: for all that training does there, such as
            clipping gradients, stepping a scheduler, or averaging weights.
        parallelize: A function of the model that wraps it for several processes, called in each
            with its process group there; returns the wrapped model. Without it DDP or FSDP2 does.
        length: A function from a sample of ``dataset`` to its length, where samples differ and
            the number of their elements does not say how much memory they take. It may return
            several numbers, such as ``{"nodes": 7, "edges": 12}``: the largest samples by each run.
        evaluate: A function of the model and a loader that evaluates as training does, keeping what
            that keeps. A rehearsal calls it with more and more samples of ``eval_loader``.
        eval_loader: What it evaluates on.
        batch_size: The batch size trained with now: the base for scaling the learning rate.
        lr: The learning rate trained with now.
        dataset_size: Samples in an epoch, where the data does not tell.
    """

    model: torch.nn.Module | Callable[[], torch.nn.Module]
    train_loader: DataLoader[Any] | None = None
    dataset: Any = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    batch: Callable[[int], Any] | None = None
    sample: Any = None
    loss: Callable[..., torch.Tensor] | None = None
    optimizer: Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer] | Any = None
    training_step: Callable[[torch.nn.Module, Any], Any] | None = None
    optimizer_step: Callable[[torch.nn.Module, torch.optim.Optimizer], Any] | None = None
    parallelize: Callable[[torch.nn.Module], torch.nn.Module] | None = None
    length: Callable[[Any], Any] | None = None
    evaluate: Callable[[torch.nn.Module, DataLoader[Any]], Any] | None = None
    eval_loader: DataLoader[Any] | None = None
    batch_size: int | None = None
    lr: float | None = None
    dataset_size: int | None = None


CONTRACT_NAMES = tuple(field.name for field in fields(Workload))
