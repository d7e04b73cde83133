"""Sees every operator of a training, and writes down the memory that a GPU would give it.

operator -> its result has new storages?     -> allocated, until the storage is gone
         -> does a library take some as well? -> allocated too: ``workspaces``
         -> adds two gradients?               -> in place, as the engine does on a GPU
"""

from __future__ import annotations

import sys
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from autobatch.prediction.attention import AttentionCall
from autobatch.prediction.trace import Category, Mark, Storage, Trace
from autobatch.prediction.tracing.arithmetic import describe_operation
from autobatch.prediction.tracing.values import read_for_pytorch
from autobatch.prediction.tracing.workspaces import Workspaces
from autobatch.prediction.work import Operation

if TYPE_CHECKING:
    from typing_extensions import Self

_aten = torch.ops.aten
_NAMESPACES = ("aten", "prim", "prims")
# References to a gradient that waits to be added to: the engine's own, and that of this call.
_OWN_REFERENCES = 2


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records allocations and frees on ``cuda``; a context manager around a training.

    Args:
        model: For the names of modules, parameters and buffers.
        torch_version: The version whose workspaces to record.
    """

    def __init__(self, model: nn.Module, torch_version: tuple[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self._names = {id(module): name for name, module in model.named_modules()}
        self._places = _Places(self._names)
        self._workspaces = Workspaces(torch_version)
        self._storages: list[Storage] = []
        self._events: list[int] = []
        self._marks: list[Mark] = []
        self._operations: list[Operation] = []
        self._knows_work = True
        self._index_of: dict[int, int] = {}
        self._makers: dict[int, int] = {}
        # cuDNN runs a recurrent layer as a whole, in memory that it keeps.
        is_recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
        self._unseen: dict[str, None] = {"rnn": None} if is_recurrent else {}
        self._category: Category | None = None
        self._step = 0
        self._part = ""
        self._hooks = ExitStack()
        self._is_recording = True

    def __enter__(self) -> Self:
        for hook in (
            register_module_forward_pre_hook(self._places.enter),
            register_module_forward_hook(self._places.leave, always_call=True),
            register_optimizer_step_pre_hook(self._before_optimizer),
            register_optimizer_step_post_hook(self._after_optimizer),
        ):
            self._hooks.callback(hook.remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self._is_recording = False
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.close()

    @contextmanager
    def allocating(self, category: Category, module: str = "") -> Iterator[None]:
        """Take what is allocated inside for a category.

        Args:
            category: What it is for.
            module: Where it belongs.
        """
        before, self._category = self._category, category
        with self._places.at(module):
            yield
        self._category = before

    def begin_step(self) -> None:
        """Note that a step begins."""
        self._step += 1
        self._operations.clear()
        self._begin("forward")

    def finish(
        self,
        batch_size: int,
        capability: tuple[int, int],
        attention: tuple[AttentionCall, ...] = (),
    ) -> Trace:
        """End the recording.

        Args:
            batch_size: Samples of a pass.
            capability: Compute capability of the card that was traced for.
            attention: Calls of attention.
        """
        self._is_recording = False
        return Trace(
            batch_size=batch_size,
            compute_capability=capability,
            storages=tuple(self._storages),
            events=tuple(self._events),
            marks=tuple(self._marks),
            attention=attention,
            unseen=tuple(self._unseen),
            operations=tuple(self._operations) if self._knows_work else (),
        )

    def label(self, tensors: Iterable[Any], category: Category) -> None:
        """Say of tensors that exist what they are for.

        Args:
            tensors: They, and what is to be skipped.
            category: What they are for.
        """
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                continue
            index = self._index_of.get(tensor.untyped_storage()._cdata)
            if index is not None:
                self._storages[index] = replace(self._storages[index], category=category)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and record what it allocates."""
        is_backward = torch._C._current_graph_task_id() != -1
        if is_backward and self._part != "backward":
            self._begin("backward")
        node = torch._C._current_autograd_node() if is_backward else None
        maker = -1 if node is None else node._sequence_nr()
        if is_backward and func is _aten.add.Tensor and self._adds_gradients(args, kwargs, maker):
            func = _aten.add_.Tensor
        if func is _aten._local_scalar_dense.default and args[0].device.type == "cuda":
            # Not by a method of the tensor, which ``KnownValues`` would have answered.
            is_own, value = read_for_pytorch(args[0], sys._getframe(1))
            if is_own:
                return value
        result = func(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_iter(result) if isinstance(tensor, torch.Tensor)]
        is_on_gpu = False
        for tensor in made:
            if tensor.device.type == "cuda":
                is_on_gpu = True
                self._track(tensor, func, args, maker)
        if is_on_gpu:
            self._note_unseen(func)
            for storage, stays in self._workspaces.of(func, args, made, is_backward):
                self._allocate(replace(storage, module=self._places.find(maker)))
                if not stays:
                    self._events.append(~(len(self._storages) - 1))
        if self._step > 1 and self._knows_work:  # the first step also makes what later ones find
            self._describe(func, args, kwargs or {}, result)
        return result

    def _describe(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        is_update = self._part == "optimizer"
        try:
            done = describe_operation(func, args, kwargs, result, is_update=is_update)
        except Exception:  # a formula of PyTorch's that does not take these arguments
            self._knows_work = False
            return
        if done is not None:
            self._operations.append(done)

    def _track(self, tensor: torch.Tensor, func: Any, args: Any, maker: int) -> None:
        storage = tensor.untyped_storage()
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._index_of or not num_bytes:
            return
        self._index_of[key] = self._allocate(
            Storage(
                num_bytes=num_bytes,
                category=self._category or self._guess_category(func, args),
                module=self._places.find(maker),
                operator=str(func),
            )
        )
        self._makers[key] = maker
        weakref.finalize(storage, self._free, key).atexit = False

    def _allocate(self, storage: Storage) -> int:
        self._storages.append(storage)
        if self._is_recording:
            self._events.append(len(self._storages) - 1)
        return len(self._storages) - 1

    def _free(self, key: int) -> None:
        index = self._index_of.pop(key)
        self._makers.pop(key, None)
        if self._is_recording:
            self._events.append(~index)

    def _guess_category(self, func: Any, args: Any) -> Category:
        if self._part != "forward":
            return Category.TEMPORARY
        source: Any = args[0] if args else None
        is_copy = func is _aten._to_copy.default
        if is_copy and source.device.type == "cpu" and source.dim():
            return Category.INPUT
        return Category.ACTIVATION

    def _adds_gradients(self, args: Any, keywords: Any, maker: int) -> bool:
        """Whether the engine adds up what two operators send to a third, and could do so in place.

        PyTorch's engine does it in place where nothing else holds the sum
        (``InputBuffer::accumulate``), but never for the tensors of a trace.
        """
        if torch.is_grad_enabled() or keywords or len(args) != 2:
            return False
        one, other = args
        if not all(isinstance(each, torch.Tensor) for each in args):
            return False
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        storage = one.untyped_storage()
        made_by = self._makers.get(storage._cdata)
        if made_by is None or made_by == maker:
            return False
        num_references = torch._C._storage_Use_Count(storage._cdata)
        return bool(num_references <= _OWN_REFERENCES and is_dense(one))

    def _note_unseen(self, func: Any) -> None:
        name = func.overloadpacket.__name__
        if func.namespace not in _NAMESPACES:
            self._unseen[f"{func.namespace}::{name}"] = None
        elif name.startswith("convolution"):
            self._unseen["convolution"] = None

    def _begin(self, part: str) -> None:
        self._part = part
        self._marks.append(Mark(name=part, step=self._step, position=len(self._events)))

    def _before_optimizer(self, optimizer: Any, args: Any, keywords: Any) -> None:
        self.label((each.grad for each in self._model.parameters()), Category.GRADIENT)
        self._begin("optimizer")

    def _after_optimizer(self, optimizer: Any, args: Any, keywords: Any) -> None:
        for state in optimizer.state.values():
            self.label(state.values(), Category.OPTIMIZER_STATE)


@dataclass(frozen=True, slots=True)
class _Visit:
    """From which operator on a module ran."""

    first: int
    name: str


class _Places:
    """Which module runs; in a backward pass, which one ran when the operator's forward did."""

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._stack = [""]
        self._visits = [_Visit(0, "")]

    def enter(self, module: nn.Module, args: Any) -> None:
        self._stack.append(self._names.get(id(module), self._stack[-1]))
        self._note()

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()
        self._note()

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        self._stack.append(name)
        yield
        self._stack.pop()

    def find(self, maker: int) -> str:
        if maker < 0:
            return self._stack[-1]
        index = bisect_right(self._visits, maker, key=lambda visit: visit.first) - 1
        return self._visits[max(index, 0)].name

    def _note(self) -> None:
        # Nodes of the graph are numbered as the forward pass makes them.
        first = torch._C._autograd._get_sequence_nr()
        self._visits.append(_Visit(first, self._stack[-1]))


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's elements fill one stretch of memory, each once."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
