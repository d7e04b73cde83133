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

from autobatch.errors import DeviceError
from autobatch.units import format_bytes

_VISITED_OBJECTS = (nn.Module, torch.optim.Optimizer)


# Statistics of a BatchNorm, an optimizer's count of its steps, a learning rate: what later work may
# depend on. Larger storages are weights and moments.
_SMALL_BYTES = 2**20


class SavedState:
    """What objects hold at this moment.

    Args:
        deep: Modules and optimizers: all that they hold, whole.
        shallow: Loaders, samplers, datasets: their attributes and generators alone.
        room_bytes: Host memory that the copies may take, ``None`` for any.
        frees_gradients: Whether gradients are copied, so that ``free_gradients`` can give their
            memory back. Else they are set aside: in the host's memory a copy would take as much.

    Attributes:
        held_bytes: Size of the copies, and of gradients that were set aside.

    Raises:
        DeviceError: If the copies would take more.
    """

    def __init__(
        self,
        deep: Iterable[Any],
        shallow: Iterable[Any],
        *,
        room_bytes: int | None = None,
        frees_gradients: bool = False,
    ) -> None:
        self.held_bytes = 0
        self._frees_gradients = frees_gradients
        self._seen: dict[int, Any] = {}
        self._restorers: list[Callable[[], None]] = []
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._freed: set[int] = set()
        self._tensors: list[torch.Tensor] = []
        self._versions: list[tuple[torch.Tensor, int]] = []
        self._gradients: list[torch.Tensor] = []
        for each in deep:
            self._visit(each)
        for each in shallow:
            self._visit_attributes(each)
        self.held_bytes += sum(storage.nbytes() for storage in self._storages.values())
        if room_bytes is not None and self.held_bytes > room_bytes:
            raise DeviceError(
                f"a copy of the model and the optimizer takes {format_bytes(self.held_bytes)}, and "
                f"{format_bytes(max(0, room_bytes))} of the machine's memory are left for it",
                hint="search before training has begun: without gradients and optimizer state the "
                "copy is a quarter",
            )
        self._copies = {
            key: _bytes_of(storage).to("cpu", copy=True) for key, storage in self._storages.items()
        }

    def free_gradients(self) -> None:
        """Take gradients off the tensors until ``restore``."""
        for tensor in self._tensors:
            if tensor.is_leaf and tensor.grad is not None:
                tensor.grad = None
        for gradient in self._gradients if self._frees_gradients else ():
            with suppress(RuntimeError, NotImplementedError):  # memory shared with others stays
                storage = gradient.untyped_storage()
                storage.resize_(0)
                self._freed.add(storage._cdata)

    def settle(self) -> None:
        """Put back all that takes no time: everything but what large tensors hold.

        Gradients are off again afterwards.
        """
        self._restore(lambda key, copy: copy.nbytes <= _SMALL_BYTES and key not in self._freed)
        self.free_gradients()

    def restore(self) -> None:
        """Put everything back."""
        self._restore(lambda key, copy: True)

    def _restore(self, is_meant: Callable[[int, torch.Tensor], bool]) -> None:
        # First, since it drops what was made meanwhile, such as an optimizer's state: gradients
        # need its memory again.
        for restore in reversed(self._restorers):
            restore()
        for key, storage in self._storages.items():
            copy = self._copies[key]
            if not is_meant(key, copy):
                continue
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
        has_storage = self._note_storage(tensor)
        if not tensor.is_leaf:
            return
        alias, gradient, needs_gradient = tensor.detach(), tensor.grad, tensor.requires_grad
        if gradient is not None:
            self._gradients.append(gradient)
            if self._frees_gradients:
                self._visit(gradient)
            else:
                self.held_bytes += gradient.nbytes if gradient.layout is torch.strided else 0

        def restore() -> None:
            if has_storage and tensor.data_ptr() != alias.data_ptr():
                tensor.data = alias
            tensor.requires_grad_(needs_gradient)
            tensor.grad = gradient

        self._restorers.append(restore)
        for hooks in (tensor._backward_hooks, getattr(tensor, _POST_HOOKS, None)):
            self._visit(hooks)

    def _note_storage(self, tensor: torch.Tensor) -> bool:
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            # A sparse tensor has none. It is a gradient, and not changed once it is taken off.
            return False
        self._storages.setdefault(storage._cdata, storage)
        return True


_POST_HOOKS = "_post_accumulate_grad_hooks"


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _set_versions(versions: list[tuple[torch.Tensor, int]]) -> None:
    put: Any = torch._C._autograd._unsafe_set_version_counter
    put(tuple(tensor for tensor, _ in versions), tuple(version for _, version in versions))


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
