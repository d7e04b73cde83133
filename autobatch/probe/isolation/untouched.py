"""A stretch of work after which everything is as it was.

    save objects and process | silence the user's hooks | work ... | put everything back

Ctrl-C while things are put back waits until they are.
"""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules import module as global_hooks

from autobatch.probe.isolation.process_state import ProcessState
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.workload.contract import Workload

if TYPE_CHECKING:
    from typing_extensions import Self

_MODULE_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)
# What computes a weight (weight_norm, pruning) or moves it (offloading) is part of the step.
_LIBRARIES = frozenset({"torch", "accelerate", "peft", "transformers", "deepspeed"})


class Untouched:
    """Saves on entry, puts back on exit, whatever happened in between.

    Args:
        workload: The caller's objects.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.held_bytes = 0

    def __enter__(self) -> Self:
        workload = self._workload
        deep = [workload.model, workload.loss, workload.optimizer]
        deep += [{name: getattr(global_hooks, name) for name in _GLOBAL_HOOKS}]
        deep += _find_state(workload.optimizer_step)
        self._process = ProcessState()
        self._objects = SavedState(deep, _data_objects(workload))
        self.held_bytes = self._objects.held_bytes
        try:
            self._objects.free_gradients()
            _silence_hooks(workload)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _restore(self) -> None:
        with _interrupts_deferred():
            self._objects.restore()
            self._process.restore()
            del self._objects


def _find_state(function: Any) -> Iterator[Any]:
    """What a function of the caller's changes: averaged models, schedulers."""
    if not inspect.isfunction(function):
        return
    names = inspect.getclosurevars(function)
    for value in (*names.nonlocals.values(), *names.globals.values()):
        if isinstance(value, (nn.Module, torch.optim.Optimizer)):
            yield value
        elif isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            yield vars(value)


def _data_objects(workload: Workload) -> Iterator[Any]:
    loader = workload.train_loader
    yield from (workload.dataset, workload.collate_fn, workload.batch)
    if loader is not None:
        yield loader
        yield from (loader.dataset, loader.sampler, loader.batch_sampler)


def _silence_hooks(workload: Workload) -> None:
    for name in _GLOBAL_HOOKS:
        _keep_library_hooks(getattr(global_hooks, name))
    for root in (workload.model, workload.loss):
        if not isinstance(root, nn.Module):
            continue
        for module in root.modules():
            for name in _MODULE_HOOKS:
                _keep_library_hooks(getattr(module, name))
        for tensor in root.parameters():
            _keep_library_hooks(tensor._backward_hooks)
            _keep_library_hooks(getattr(tensor, "_post_accumulate_grad_hooks", None))
    if isinstance(workload.optimizer, torch.optim.Optimizer):
        for name in _OPTIMIZER_HOOKS:
            _keep_library_hooks(getattr(workload.optimizer, name))


def _keep_library_hooks(hooks: Any) -> None:
    for key, hook in list((hooks or {}).items()):
        home = getattr(hook, "__module__", None) or type(hook).__module__
        if home.partition(".")[0] not in _LIBRARIES:
            del hooks[key]


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received and callable(before):
            before(*received[0])
