"""The batch size for a Hugging Face ``Trainer``.

    trainer = Trainer(model, args, train_dataset=...)
    tune(trainer)
    trainer.train()

A step is the trainer's own ``compute_loss`` on batches of its own loader, and a rehearsal calls its
own ``evaluate``, with all that this keeps and generates; its callbacks are not called. Of several
processes all call it: trials train the model in ``DistributedDataParallel``, as ``train()`` will.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from autobatch.errors import WorkloadError
from autobatch.integrations.loaders import with_batch_size
from autobatch.probe.isolation.process_state import ProcessState
from autobatch.records import Confidence
from autobatch.training import TrainingFinding
from autobatch.training.call import find_for_objects
from autobatch.training.notice import announce
from autobatch.training.ranks import meet_all_ranks

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
        WorkloadError: If the model is wrapped by other means than DDP, or there is no data.
        AutobatchError: As ``find_batch_size`` does.
    """
    _refuse_other_wrapping(trainer)
    args = trainer.args
    per_device = args.train_batch_size * args.gradient_accumulation_steps
    asked = per_device * args.world_size
    own = {"precision": _precision_of(args), "base_batch_size": asked}
    options = own | {"eval": trainer.eval_dataset is not None} | options
    if keep_global_batch:
        options["global_batch_size"] = asked
        options["max_batch_size"] = min(per_device, options.get("max_batch_size") or per_device)
    with _as_in_training(trainer) as (model, loader, optimizer):
        find = partial(_find, trainer, model, loader, optimizer)
        finding = find(options)
        reached = finding.batch_size * finding.gradient_accumulation_steps
        if keep_global_batch and reached != per_device:
            # The fastest size does not divide it: of those that do, the largest up to there.
            size = max(n for n in range(1, finding.batch_size + 1) if per_device % n == 0)
            finding = find(options | {"min_batch_size": size, "max_batch_size": size})
        del find, model  # and with them what DDP hangs on the parameters
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
    trainer: Trainer,
    model: Any,
    loader: DataLoader[Any],
    optimizer: Any,
    options: dict[str, Any],
) -> TrainingFinding:
    return find_for_objects(
        model,
        loader,
        None,
        optimizer,
        training_step=_make_step(trainer),
        optimizer_step=_make_optimizer_step(trainer.args.max_grad_norm),
        **(_describe_evaluation(trainer) if options.get("rehearse") else {}),
        **options,
    )


def _refuse_other_wrapping(trainer: Trainer) -> None:
    args = trainer.args
    if args.n_gpu > 1:
        raise WorkloadError(
            f"{args.n_gpu} GPUs train in one process, by DataParallel",
            hint=f"start a process for each: torchrun --nproc-per-node {args.n_gpu} train.py",
        )
    kind = trainer.accelerator.distributed_type.value
    if args.world_size > 1 and not kind.startswith("MULTI_"):
        raise WorkloadError(
            f"{args.world_size} processes train together by {kind}, and not by DDP",
            hint="wrap the model yourself, and call autobatch.find_batch_size on every rank",
        )


def _precision_of(args: Any) -> str:
    if args.bf16:
        return "bf16"
    if args.fp16:
        return "fp16"
    return "tf32" if args.tf32 else "fp32"


@contextmanager
def _as_in_training(trainer: Any) -> Iterator[tuple[Any, DataLoader[Any], Any]]:
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
        # What Accelerate wraps, and the model as it will.
        yield _wrap(trainer), loader, getattr(made, "optimizer", made)
    finally:
        if checkpointing is not None:
            checkpointing[1]()
        trainer.optimizer = optimizer
        trainer.accelerator._dataloaders[:] = loaders
        state.restore()


def _wrap(trainer: Any) -> Any:
    if trainer.args.world_size == 1:
        return trainer.model
    meet_all_ranks()  # DDP would wait half an hour for a rank that does not come
    if trainer.accelerator.ddp_handler is None:  # Transformers 5.0 makes it as training begins
        trainer._wrap_model(trainer.model)
    handler = trainer.accelerator.ddp_handler
    wrapped = DistributedDataParallel(trainer.model, **handler.to_kwargs())
    handler.register_comm_hook(wrapped)
    return wrapped


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
