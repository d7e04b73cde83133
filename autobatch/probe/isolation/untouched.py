"""A stretch of work after which everything is as it was.

    save objects | silence the user's hooks | work | settle | work | settle | ... | put all back

Between two pieces of work, containers, attributes, counters and small tensors are put back, since
later work may depend on them. Weights and an optimizer's moments are copied once and put back once,
at the end: in between, learning rates of zero leave the weights as they are, and no piece of work
depends on what the moments are.

Ctrl-C while things are put back waits until they are.
"""

from __future__ import annotations

import gc
import inspect
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn
from torch.nn.modules import module as global_hooks

from autobatch.devices.cpu import CpuDevice
from autobatch.probe.isolation.process_state import ProcessState
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.records import MemoryBudget, Settings
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
        settings: For the device, and the fraction of the host's memory to keep free of the copies.
    """

    def __init__(self, workload: Workload, settings: Settings) -> None:
        self._workload = workload
        self._settings = settings
        self.held_bytes = 0

    def __enter__(self) -> Self:
        workload = self._workload
        deep = [workload.model, workload.loss, workload.optimizer]
        deep += [{name: getattr(global_hooks, name) for name in _GLOBAL_HOOKS}]
        deep += _find_state(workload.optimizer_step)
        self._objects = SavedState(
            deep,
            _data_objects(workload),
            room_bytes=_find_room_bytes(self._settings.headroom_fraction),
            frees_gradients=self._settings.device != "cpu",
        )
        self.held_bytes = self._objects.held_bytes
        # The garbage collections before each trial look at none of the objects made before.
        self._has_frozen = gc.get_freeze_count() == 0
        if self._has_frozen:
            gc.freeze()
        try:
            self._objects.free_gradients()
            _silence_hooks(workload)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    @contextmanager
    def piece(self) -> Iterator[Piece]:
        """One piece of work."""
        piece, process = Piece(), ProcessState()
        try:
            yield piece
        finally:
            with _interrupts_deferred():
                if piece.has_spoiled:
                    self._objects.restore()
                self._objects.settle()
                _silence_hooks(self._workload)
                process.restore()

    def _restore(self) -> None:
        with _interrupts_deferred():
            self._objects.restore()
            del self._objects
            if self._has_frozen:
                gc.unfreeze()


@dataclass(slots=True)
class Piece:
    """A piece of work.

    Attributes:
        has_spoiled: Whether it may have left large tensors in a state in which the next piece
            cannot be done, such as weights that are not finite.
    """

    has_spoiled: bool = True


def _find_room_bytes(headroom_fraction: float) -> int:
    """Host memory that this process may still take."""
    budget = MemoryBudget.from_bounds(CpuDevice().bounds(None), headroom_fraction=headroom_fraction)
    return budget.budget_bytes - int(psutil.Process().memory_info().rss)


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
