"""The batch size for a Hugging Face ``Trainer``.

    trainer = Trainer(model, args, train_dataset=...)
    tune(trainer)
    trainer.train()

A step is the trainer's own ``compute_loss`` on batches of its own loader, and a rehearsal calls its
own ``evaluate``, with all that this keeps and generates; its callbacks are not called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from autobatch.errors import WorkloadError
from autobatch.integrations.loaders import with_batch_size
from autobatch.probe.isolation.process_state import ProcessState
from autobatch.records import Confidence
from autobatch.training import TrainingFinding
from autobatch.training.call import find_for_objects
from autobatch.training.notice import announce

if TYPE_CHECKING:
    from transformers import Trainer


def tune(trainer: Trainer, *, keep_global_batch: bool = True, **options: Any) -> TrainingFinding:
    """Find the batch sizes for a trainer and set them in its arguments, if they are sure.

    Sets ``per_device_train_batch_size`` and ``gradient_accumulation_steps``, and where there is
    an ``eval_dataset`` ``per_device_eval_batch_size``. Call it before ``train()``.

    Args:
        trainer: With its model and its training data.
        keep_global_batch: Train with as many samples per optimizer step as the arguments ask
            for, by gradient accumulation, and so with the same learning rate. If not, the batch
            is as large as is fast, and ``learning_rate`` is scaled with it.
        **options: Those of ``find_batch_size``, such as ``max_batch_size`` or ``memory_limit``.

    Raises:
        WorkloadError: If several devices train together, or there is no data.
        AutobatchError: As ``find_batch_size`` does.
    """
    _refuse_several_devices(trainer)
    args = trainer.args
    asked = args.train_batch_size * args.gradient_accumulation_steps
    own = {"precision": _precision_of(args), "base_batch_size": asked}
    options = own | {"eval": trainer.eval_dataset is not None} | options
    if keep_global_batch:
        options["global_batch_size"] = asked
        options["max_batch_size"] = min(asked, options.get("max_batch_size") or asked)
    with _as_in_training(trainer) as (loader, optimizer):
        finding = _find(trainer, loader, optimizer, options)
        reached = finding.batch_size * finding.gradient_accumulation_steps
        if keep_global_batch and reached != asked:
            # The fastest size does not divide it: of those that do, the largest up to there.
            size = max(n for n in range(1, finding.batch_size + 1) if asked % n == 0)
            limits = {"min_batch_size": size, "max_batch_size": size}
            finding = _find(trainer, loader, optimizer, options | limits)
    if finding.confidence is Confidence.HIGH:  # what is not sure is not set
        _apply(trainer, finding, keep_global_batch=keep_global_batch)
    announce(
        finding,
        "tune() set",
        stacklevel=2,
        with_rate=not keep_global_batch,
        unset="; nothing was set",
    )
    return finding


def _find(
    trainer: Trainer, loader: DataLoader[Any], optimizer: Any, options: dict[str, Any]
) -> TrainingFinding:
    return find_for_objects(
        trainer.model,
        loader,
        None,
        optimizer,
        training_step=_make_step(trainer),
        optimizer_step=_make_optimizer_step(trainer.args.max_grad_norm),
        **(_describe_evaluation(trainer) if options.get("rehearse") else {}),
        **options,
    )


def _refuse_several_devices(trainer: Trainer) -> None:
    num_devices = max(trainer.args.world_size, trainer.args.n_gpu)
    if num_devices > 1:
        raise WorkloadError(
            f"{num_devices} devices train together, and each would find a size of its own",
            hint=f"tune on one of them with num_devices={num_devices}, then set what it says",
        )


def _precision_of(args: Any) -> str:
    if args.bf16:
        return "bf16"
    if args.fp16:
        return "fp16"
    return "tf32" if args.tf32 else "fp32"


@contextmanager
def _as_in_training(trainer: Any) -> Iterator[tuple[DataLoader[Any], Any]]:
    """What ``train()`` would make first; afterwards the trainer is as it was."""
    state, optimizer = ProcessState(), trainer.optimizer
    loaders = list(trainer.accelerator._dataloaders)
    checkpointing = _checkpointing_switch(trainer)
    try:
        if trainer.model is None:
            raise WorkloadError("the trainer has no model", hint="make it with model=...")
        if trainer.train_dataset is None:
            raise WorkloadError(
                "the trainer has no train_dataset", hint="make it with train_dataset=..."
            )
        loader = with_batch_size(trainer.get_train_dataloader())
        made = trainer.create_optimizer()
        if checkpointing is not None:
            checkpointing[0]()
        yield loader, getattr(made, "optimizer", made)  # what Accelerate wraps
    finally:
        if checkpointing is not None:
            checkpointing[1]()
        trainer.optimizer = optimizer
        trainer.accelerator._dataloaders[:] = loaders
        state.restore()


def _checkpointing_switch(trainer: Any) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    """Turns activation checkpointing on and off, where ``train()`` would turn it on."""
    model, args = trainer.model, trainer.args
    if getattr(model, "is_gradient_checkpointing", False):
        return None
    for kind in ("activation_checkpointing", "gradient_checkpointing"):  # the second is older
        enable, disable = (getattr(model, f"{kind}_{verb}", None) for verb in ("enable", "disable"))
        if getattr(args, kind, False) and enable is not None and disable is not None:
            keywords = getattr(args, f"{kind}_kwargs", None)
            return partial(enable, **({f"{kind}_kwargs": keywords} if keywords else {})), disable
    return None


def _make_step(trainer: Any) -> Callable[[Any, Any], torch.Tensor]:
    def training_step(model: Any, batch: Any) -> torch.Tensor:
        inputs = trainer._prepare_inputs(batch)
        with trainer.compute_loss_context_manager():
            loss: torch.Tensor = trainer.compute_loss(model, inputs)
        return loss

    step: Any = training_step
    # It then divides the loss of each pass by the tokens of all passes of a step.
    step.weighs_passes = bool(getattr(trainer, "model_accepts_loss_kwargs", False))
    return training_step


def _make_optimizer_step(max_norm: float | None) -> Callable[[Any, Any], None]:
    def optimizer_step(model: Any, optimizer: Any) -> None:
        if max_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()

    return optimizer_step


def _describe_evaluation(trainer: Any) -> dict[str, Any]:
    """How the trainer evaluates, and on what: of several sets the one with most samples."""
    data = trainer.eval_dataset
    if data is None:
        return {}
    name = max(data, key=lambda each: len(data[each])) if isinstance(data, dict) else None

    def evaluate(model: Any, loader: DataLoader[Any]) -> None:
        with _set_apart(trainer, loader.batch_size):
            trainer.evaluate(loader.dataset)

    with _set_apart(trainer, trainer.args.per_device_eval_batch_size):
        loader = with_batch_size(trainer.get_eval_dataloader(name))
    return {"evaluate": evaluate, "eval_loader": loader}


@contextmanager
def _set_apart(trainer: Any, eval_batch_size: int | None) -> Iterator[None]:
    """As in the middle of ``train()``, but for callbacks; afterwards the trainer is as it was."""
    before, args, models = dict(vars(trainer)), trainer.args, trainer.accelerator._models
    own_size, own_models = args.per_device_eval_batch_size, list(models)
    trainer.callback_handler = copy.copy(trainer.callback_handler)
    trainer.callback_handler.callbacks = []
    trainer.state = replace(trainer.state, log_history=[])
    trainer.is_in_train = True
    models.append(trainer.model)  # else ``evaluate`` would prepare it, and change its ``forward``
    args.per_device_eval_batch_size = eval_batch_size
    try:
        yield
    finally:
        args.per_device_eval_batch_size = own_size
        models[:] = own_models
        vars(trainer).clear()
        vars(trainer).update(before)


def _apply(trainer: Any, finding: TrainingFinding, *, keep_global_batch: bool) -> None:
    args = trainer.args
    args.per_device_train_batch_size = finding.batch_size
    args.gradient_accumulation_steps = finding.gradient_accumulation_steps
    if finding.settings.evaluation and finding.eval_batch_size is not None:
        args.per_device_eval_batch_size = finding.eval_batch_size
    trainer._train_batch_size = args.train_batch_size  # read from the arguments only at first
    if not keep_global_batch:
        args.learning_rate *= finding.rate_factor()
        if trainer.optimizer is not None:
            finding.apply(trainer.optimizer)
