"""Storages as they come and go, seen by a dispatch mode."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autobatch.breakdown.timeline import Part, Storage, Timeline
from autobatch.devices import linux


class OperatorMeter:
    """Memory of the process at the operator after which tensors are largest, as the kernel counts.

    Not where the process is largest: freed memory that the allocator keeps would move that to the
    end. So it is given back there, and counted.

    Attributes:
        peak_bytes: The highest use during that operator.
        buffer_bytes: What it held beyond what it left: buffers of its own.
        kept_bytes: Freed memory that the allocator kept.
        num_events: Events of the timeline by its end.
    """

    def __init__(self) -> None:
        self.peak_bytes = self.buffer_bytes = self.kept_bytes = self.num_events = 0
        self._most_bytes = 0

    def start(self) -> None:
        """An operator begins."""
        linux.reset_peak()

    def stop(self, num_events: int, held_bytes: int) -> None:
        """It has ended, and what it made has been noted.

        Args:
            num_events: Events of the timeline so far.
            held_bytes: Sum of all storages.
        """
        if held_bytes <= self._most_bytes:
            return
        self._most_bytes, self.num_events = held_bytes, num_events
        status = linux.read_status_bytes()
        self.peak_bytes = status["VmHWM"]
        self.buffer_bytes = status["VmHWM"] - status["VmRSS"]
        linux.return_freed_memory()
        self.kept_bytes = max(0, status["VmRSS"] - linux.read_status_bytes()["VmRSS"])


class StorageRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every storage that operators make, and when it is freed.

    A storage is an activation of the innermost module that is running; outside of all modules it is
    what the phase says.

    Args:
        device: Whose storages count.
        meter: Reads the process's memory around each operator, where that can be had.

    Attributes:
        timeline: What was recorded.
        phase: What a storage is that no module makes.
    """

    def __init__(self, device: torch.device, meter: OperatorMeter | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.meter = meter
        self.timeline = Timeline()
        self.phase = Part.OTHER
        self._device_type = device.type
        self._known: dict[int, Storage] = {}
        self._modules: list[str] = []
        self._last_part_ended = 0
        self._held_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note what it made."""
        if self.meter is not None:
            self.meter.start()
        result = func(*args, **(kwargs or {}))
        module = self._modules[-1] if self._modules else None
        part = self.phase if module is None else Part.ACTIVATIONS
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.note(leaf, part, module)
        if self.meter is not None:
            self.meter.stop(len(self.timeline.events), self._held_bytes)
        return result

    def note(self, tensor: torch.Tensor, part: Part, module: str | None = None) -> Storage | None:
        """Note a tensor's storage, if it is not known yet.

        Args:
            tensor: Any tensor.
            part: What it is, if it is new.
            module: What made it.

        Returns:
            The storage; ``None`` if it has none, or one elsewhere.
        """
        storage = _storage_of(tensor)
        if storage is None or storage.device.type != self._device_type:
            return None
        key = storage._cdata
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Storage(storage.nbytes(), part, module)
            self.timeline.came(known)
            self._held_bytes += known.num_bytes
            weakref.finalize(storage, self._free, key, known).atexit = False
        return known

    def mark(self, tensors: Iterable[Any], part: Part) -> None:
        """Say what tensors are, whatever they were taken for when they were made."""
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                known = self.note(tensor, part)
                if known is not None and known.part is not Part.WEIGHTS:
                    known.part = part

    def mark_others(self) -> None:
        """Note all tensors of the process that were not yet."""
        for each in gc.get_objects():
            if issubclass(type(each), torch.Tensor):
                self.note(each, Part.OTHER)

    @contextmanager
    def watching(self, model: nn.Module, blocks: Iterable[str]) -> Iterator[None]:
        """Know the module that runs, and the gradients of the model, while the block lasts.

        Args:
            model: The model.
            blocks: Names of modules whose outputs are kept by checkpointing.
        """
        outer = set(blocks)
        with ExitStack() as stack:
            for name, module in model.named_modules():
                for handle in self._watch(name, module, is_block=name in outer):
                    stack.callback(handle.remove)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    register: Any = parameter.register_post_accumulate_grad_hook
                    handle = register(lambda each: self.mark([each.grad], Part.GRADIENTS))
                    stack.callback(handle.remove)
            yield

    def _watch(self, name: str, module: nn.Module, *, is_block: bool) -> Iterator[Any]:
        makes_loss = isinstance(module, nn.modules.loss._Loss)

        def enter(*_: Any) -> None:
            if not makes_loss:
                self._modules.append(name)

        def leave(_: Any, inputs: Any, output: Any) -> None:
            if makes_loss:
                return
            if self._modules and self._modules[-1] == name:
                self._modules.pop()
            if name == "":
                if self.phase is not Part.TEMPORARIES:
                    self._find_logits(output)
                return
            self._last_part_ended = len(self.timeline.events)
            if is_block:
                for leaf in tree_leaves(output):
                    known = self.note(leaf, self.phase) if isinstance(leaf, torch.Tensor) else None
                    if known is not None:
                        known.is_block_output = True

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave, always_call=True)

    def _find_logits(self, output: Any) -> None:
        """Outputs of the model, and what it made of them itself, behind its last part."""
        self.mark(tree_leaves(output), Part.LOGITS)
        for storage, has_come in self.timeline.events[self._last_part_ended :]:
            if has_come and storage.module == "":
                storage.part = Part.LOGITS

    def _free(self, key: int, storage: Storage) -> None:
        if self._known.get(key) is storage:
            del self._known[key]
            self.timeline.went(storage)
            self._held_bytes -= storage.num_bytes


def find_blocks(model: nn.Module) -> list[str]:
    """Names of modules that repeat: the elements of the longest list or sequence of alike ones."""
    best: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            children = [
                (f"{name}.{key}" if name else key, child)
                for key, child in module.named_children()
                if next(child.parameters(), None) is not None and next(child.children(), None)
            ]
            kinds = {type(child) for _, child in children}
            if len(children) > max(1, len(best)) and len(kinds) == 1:
                best = [each for each, _ in children]
    return best


def _storage_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # a sparse tensor has none
        return None
