"""Everything that a few objects hold, saved, and put back bit by bit.

The walk goes through modules, optimizers, containers and tensors; what it meets is the same
object afterwards, with the same contents:

    dict, list, deque, set   a shallow copy, filled back in
    tensor                   the bytes of its storage, its gradient, its version, requires_grad
    generator                its state
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy
import torch
from torch import nn

_VISITED_OBJECTS = (nn.Module, torch.optim.Optimizer)


class SavedState:
    """What objects hold at this moment.

    Args:
        deep: Modules and optimizers: all that they hold, whole.
        shallow: Loaders, samplers, datasets: their attributes and generators alone.

    Attributes:
        held_bytes: Size of the copies, all in the host's memory.
    """

    def __init__(self, deep: Iterable[Any], shallow: Iterable[Any]) -> None:
        self.held_bytes = 0
        self._seen: dict[int, Any] = {}
        self._restorers: list[Callable[[], None]] = []
        self._storages: dict[int, tuple[torch.UntypedStorage, torch.Tensor]] = {}
        self._tensors: list[torch.Tensor] = []
        self._versions: list[tuple[torch.Tensor, int]] = []
        self._gradients: list[torch.Tensor] = []
        for each in deep:
            self._visit(each)
        for each in shallow:
            self._visit_attributes(each)

    def free_gradients(self) -> None:
        """Take gradients off the tensors and give their memory back, until ``restore``."""
        for tensor in self._tensors:
            if tensor.is_leaf and tensor.grad is not None:
                tensor.grad = None
        for gradient in self._gradients:
            with suppress(RuntimeError, NotImplementedError):  # memory shared with others stays
                gradient.untyped_storage().resize_(0)

    def restore(self) -> None:
        """Put everything back."""
        # First, since it drops what was made meanwhile, such as an optimizer's state: gradients
        # need its memory again.
        for restore in reversed(self._restorers):
            restore()
        for storage, copy in self._storages.values():
            if storage.nbytes() != copy.nbytes:
                storage.resize_(copy.nbytes)
            _bytes_of(storage).copy_(copy)
        _set_versions(self._versions)

    def _visit(self, value: Any) -> None:
        if id(value) in self._seen:
            return
        if isinstance(value, torch.Tensor):
            self._seen[id(value)] = value
            self._visit_tensor(value)
        elif isinstance(value, torch.Generator):
            self._seen[id(value)] = value
            state = value.get_state()
            self._restorers.append(lambda: _discard(value.set_state(state)))
        elif isinstance(value, numpy.ndarray):
            self._seen[id(value)] = value
            self._visit_array(value)
        elif isinstance(value, _VISITED_OBJECTS):
            self._seen[id(value)] = value
            self._visit(vars(value))
        elif isinstance(value, (dict, list, deque, set)):
            self._seen[id(value)] = value
            self._visit_container(value)
        elif isinstance(value, tuple):
            for part in value:
                self._visit(part)

    def _visit_container(self, value: Any) -> None:
        copy = list(value.items()) if isinstance(value, dict) else list(value)
        self._restorers.append(lambda: _refill(value, copy))
        for part in copy:
            self._visit(part)

    def _visit_attributes(self, value: Any) -> None:
        attributes = getattr(value, "__dict__", None)
        if attributes is None:
            return
        copy = list(attributes.items())
        self._restorers.append(lambda: _refill(attributes, copy))
        for _, part in copy:
            if isinstance(part, torch.Generator):
                self._visit(part)

    def _visit_array(self, array: Any) -> None:
        copy = array.copy()
        self.held_bytes += copy.nbytes
        if array.flags.writeable:
            self._restorers.append(lambda: numpy.copyto(array, copy))

    def _visit_tensor(self, tensor: torch.Tensor) -> None:
        self._tensors.append(tensor)
        if not tensor.is_inference():  # those have no version
            self._versions.append((tensor, tensor._version))
        has_storage = self._save_bytes(tensor)
        if not tensor.is_leaf:
            return
        alias, gradient, needs_gradient = tensor.detach(), tensor.grad, tensor.requires_grad
        if gradient is not None:
            self._gradients.append(gradient)
            self._visit(gradient)

        def restore() -> None:
            if has_storage and tensor.data_ptr() != alias.data_ptr():
                tensor.data = alias
            tensor.requires_grad_(needs_gradient)
            tensor.grad = gradient

        self._restorers.append(restore)
        for hooks in (tensor._backward_hooks, getattr(tensor, _POST_HOOKS, None)):
            self._visit(hooks)

    def _save_bytes(self, tensor: torch.Tensor) -> bool:
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            # A sparse tensor has none. It is a gradient, and not changed once it is taken off.
            return False
        if storage._cdata not in self._storages:
            copy = _bytes_of(storage).to("cpu", copy=True)
            self._storages[storage._cdata] = storage, copy
            self.held_bytes += copy.nbytes
        return True


_POST_HOOKS = "_post_accumulate_grad_hooks"


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _set_versions(versions: list[tuple[torch.Tensor, int]]) -> None:
    put: Any = torch._C._autograd._unsafe_set_version_counter
    try:
        put(tuple(tensor for tensor, _ in versions), tuple(version for _, version in versions))
    except TypeError:  # before PyTorch 2.7
        for tensor, version in versions:
            put(tensor, version)


def _refill(container: Any, copy: list[Any]) -> None:
    container.clear()
    if isinstance(container, dict):
        # A Counter's update would count, and dict's own would leave an OrderedDict empty.
        for key, value in copy:
            container[key] = value
    elif isinstance(container, set):
        container.update(copy)
    else:
        container.extend(copy)


def _discard(value: object) -> None:
    """Make an expression a statement."""
