"""A Lightning callback that finds the batch size when ``fit`` starts.

    trainer = Trainer(callbacks=[BatchSizeTuner()])
    trainer.fit(module, datamodule)

Of the user's code it calls what a training step is made of, and nothing else: ``training_step``,
what moves a batch to the device, what clips gradients, and ``train_dataloader``. What is logged
meanwhile is dropped. Of several processes under ``ddp`` each has the callback, and all get the same
size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from autobatch.errors import SearchInterrupted, WorkloadError
from autobatch.integrations.loaders import with_batch_size
from autobatch.probe.isolation.process_state import ProcessState
from autobatch.records import Confidence
from autobatch.training import TrainingFinding
from autobatch.training.call import find_for_objects
from autobatch.training.notice import announce, log
from autobatch.training.ranks import leads

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

    from autobatch.training.options import SearchOptions
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:  # the same under its older name
        from pytorch_lightning import Callback

_PRECISIONS = {"16-mixed": "fp16", "bf16-mixed": "bf16"}


class BatchSizeTuner(Callback):  # type: ignore[misc]
    """Finds the batch size at the start of ``fit`` and has the run train with it.

    The size is set where the data comes from: in ``DataLoader`` objects that were passed to
    ``fit``, or in the attribute ``batch_size`` of the datamodule, the module or its ``hparams``,
    from which ``train_dataloader`` reads it.

    Args:
        attribute: Name of that attribute.
        scale_learning_rate: Set the optimizer's learning rates, and where its schedulers begin,
            to what goes with the size.
        global_batch_size: Samples per optimizer step to reach; sets ``accumulate_grad_batches``.
        **options: Those of ``find_batch_size``, such as ``max_batch_size`` or ``memory_limit``.

    Attributes:
        finding: The answer, once ``fit`` has started.
    """

    def __init__(
        self,
        *,
        attribute: str = "batch_size",
        scale_learning_rate: bool = False,
        global_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.finding: TrainingFinding | None = None
        self._attribute = attribute
        self._scale_learning_rate = scale_learning_rate
        self._global_batch_size = global_batch_size
        self._options: SearchOptions | dict[str, Any] = options

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the size and set it; a ``fast_dev_run`` is left alone."""
        self.finding = None
        if trainer.fast_dev_run:
            return
        try:
            self.finding = self.tune(trainer, pl_module)
        except SearchInterrupted as interrupt:  # the trainer ends the process without a word of it
            self.finding = interrupt.finding
            if leads():
                log(f"{type(self).__name__} {interrupt}")
            raise

    def tune(self, trainer: Trainer, pl_module: LightningModule) -> TrainingFinding:
        """Find the batch size for what a trainer is about to fit, and set it if it is sure.

        Args:
            trainer: The trainer; its loaders are replaced.
            pl_module: The module that it will fit.

        Raises:
            WorkloadError: If the module optimizes by itself, or the size cannot be set.
            AutobatchError: As ``find_batch_size`` does.
        """
        _refuse_what_has_no_single_size(trainer, pl_module)
        with _random_numbers_untouched():
            loader = _deal_out(trainer, _find_loader(trainer))
        self._require_place_for_size(trainer, pl_module)
        finding = find_for_objects(
            trainer.strategy.model,  # the module, or what wraps it
            loader,
            None,
            trainer.optimizers[0],
            training_step=_make_step(trainer, pl_module),
            optimizer_step=_make_optimizer_step(trainer, pl_module),
            **self._choose_options(trainer, loader),
        )
        if finding.confidence is Confidence.HIGH:  # what is not sure is not set
            self._set_size(trainer, pl_module, finding.batch_size)
            if self._global_batch_size is not None:
                trainer.accumulate_grad_batches = finding.gradient_accumulation_steps
            if self._scale_learning_rate:
                _scale_rates(trainer, finding)
        announce(
            finding,
            f"{type(self).__name__} set",
            stacklevel=2,
            with_rate=self._scale_learning_rate,
            unset="; nothing was set",
        )
        return finding

    def _choose_options(self, trainer: Trainer, loader: DataLoader[Any]) -> Any:
        options: dict[str, Any] = {"precision": _PRECISIONS.get(str(trainer.precision), "fp32")}
        per_step = trainer.accumulate_grad_batches
        if loader.batch_size is not None:
            options["base_batch_size"] = loader.batch_size * per_step * trainer.world_size
        if self._global_batch_size is not None:
            options["global_batch_size"] = self._global_batch_size
        else:
            options["gradient_accumulation_steps"] = per_step
        return options | self._options

    def _require_place_for_size(self, trainer: Trainer, module: LightningModule) -> None:
        if _takes_passed_loader(trainer) or list(self._holders(trainer, module)):
            return
        name = self._attribute
        raise WorkloadError(
            f"there is no {name!r} in the module, its hparams or the datamodule to set the batch "
            "size with",
            hint=f"have train_dataloader() use self.{name}, or pass a DataLoader to fit()",
        )

    def _holders(self, trainer: Trainer, module: LightningModule) -> Iterator[Any]:
        for owner in (module, trainer.datamodule):
            if owner is None:
                continue
            if hasattr(owner, self._attribute):
                yield owner
            if self._attribute in getattr(owner, "hparams", {}):
                yield owner.hparams

    def _set_size(self, trainer: Trainer, module: LightningModule, batch_size: int) -> None:
        if _takes_passed_loader(trainer):
            source = trainer.fit_loop._data_source
            source.instance = with_batch_size(source.instance, batch_size)
            return
        for holder in list(self._holders(trainer, module)):
            if isinstance(holder, dict):
                holder[self._attribute] = batch_size
            else:
                setattr(holder, self._attribute, batch_size)
        with _random_numbers_untouched():
            used = _find_loader(trainer).batch_size
        if used != batch_size:
            raise WorkloadError(
                f"{self._attribute} was set to {batch_size}, and train_dataloader() makes "
                f"batches of {used}",
                hint=f"have train_dataloader() use self.{self._attribute}",
            )


def _refuse_what_has_no_single_size(trainer: Trainer, module: LightningModule) -> None:
    if not module.automatic_optimization:
        raise WorkloadError(
            f"{type(module).__name__} has automatic_optimization = False: only it knows its steps",
            hint="call autobatch.find_batch_size with a training_step",
        )
    if len(trainer.optimizers) != 1:
        raise WorkloadError(
            f"{type(module).__name__} has {len(trainer.optimizers)} optimizers",
            hint="call autobatch.find_batch_size with a training_step",
        )


def _takes_passed_loader(trainer: Trainer) -> bool:
    return not trainer.fit_loop._data_source.is_module()


def _find_loader(trainer: Trainer) -> DataLoader[Any]:
    loader = trainer.fit_loop._data_source.dataloader()
    if isinstance(loader, DataLoader):
        return loader
    raise WorkloadError(
        f"the training data is a {type(loader).__name__}, not one torch.utils.data.DataLoader",
        hint="call autobatch.find_batch_size with batch(batch_size)",
    )


def _deal_out(trainer: Trainer, loader: DataLoader[Any]) -> DataLoader[Any]:
    """The loader of one process of several as ``fit`` will make it, which always shuffles."""
    connector, stage = trainer._data_connector, trainer.state.stage
    dealt = connector._prepare_dataloader(loader, shuffle=True, mode=stage)
    assert isinstance(dealt, DataLoader)
    return dealt


def _make_step(trainer: Trainer, module: LightningModule) -> Callable[[Any, Any], torch.Tensor]:
    takes_index = len(inspect.signature(module.training_step).parameters) > 1

    def training_step(model: Any, batch: Any) -> torch.Tensor:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch)
        batch = trainer.strategy.batch_to_device(batch)
        with _nothing_logged(trainer, module):  # the strategy's step goes through DDP's forward
            output = trainer.strategy.training_step(batch, *([0] if takes_index else []))
        loss: torch.Tensor = output["loss"] if isinstance(output, dict) else output
        return loss

    return training_step


def _make_optimizer_step(trainer: Trainer, module: LightningModule) -> Callable[..., None]:
    """The step with the gradients clipped as the trainer or the module does it."""

    def optimizer_step(model: Any, optimizer: Any) -> None:
        with _nothing_logged(trainer, module):
            module.configure_gradient_clipping(
                trainer.optimizers[0],
                gradient_clip_val=trainer.gradient_clip_val,
                gradient_clip_algorithm=trainer.gradient_clip_algorithm,
            )
        optimizer.step()

    return optimizer_step


@contextmanager
def _nothing_logged(trainer: Any, module: Any) -> Iterator[None]:
    from lightning.pytorch.loggers.logger import DummyLogger

    logger, own = trainer.loggers, {name: vars(module).get(name) for name in ("log", "log_dict")}
    trainer.loggers = [DummyLogger() for _ in logger]
    module.log = module.log_dict = lambda *arguments, **keywords: None
    try:
        yield
    finally:
        trainer.loggers = logger
        for name, method in own.items():
            del vars(module)[name]
            if method is not None:
                vars(module)[name] = method


@contextmanager
def _random_numbers_untouched() -> Iterator[None]:
    state = ProcessState()
    try:
        yield
    finally:
        state.restore()


def _scale_rates(trainer: Trainer, finding: TrainingFinding) -> None:
    optimizer = trainer.optimizers[0]
    before = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    finding.apply(optimizer)
    after = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    factors = [new / old if old else 1.0 for old, new in zip(before, after, strict=True)]
    for config in trainer.lr_scheduler_configs:
        rates = getattr(config.scheduler, "base_lrs", None)
        if rates is not None:
            config.scheduler.base_lrs = [rate * f for rate, f in zip(rates, factors, strict=True)]
