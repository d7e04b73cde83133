"""Which storages exist: seen by a dispatch mode, and held in a model of the allocator."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autobatch.prediction.allocator import Block, CachingAllocator, OutOfMemory


class Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside a ``with`` block, has an allocator hold what operators return for as long as it lives.

    Args:
        allocator: Holds as many bytes as each storage has.
        scale: Or so many times as many: the memory of a large model at the cost of a small one.
    """

    def __init__(self, allocator: CachingAllocator, scale: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scale = scale
        self._allocator = allocator
        self._blocks: dict[int, Block] = {}
        self._is_paused = False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator, and hold what it returns."""
        result = func(*args, **(kwargs or {}))
        if not self._is_paused:
            for each in tree_leaves(result):
                if isinstance(each, torch.Tensor):
                    self.hold(each)
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what operators make here in the host's memory."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def hold(self, tensor: torch.Tensor) -> None:
        """Hold a tensor's storage, unless it is held already.

        Raises:
            torch.OutOfMemoryError: If the allocator has no room for it.
        """
        storage = tensor.untyped_storage()
        key, num_bytes = storage._cdata, self._scale * storage.nbytes()
        known = self._blocks.get(key)
        if num_bytes == 0 or (known is not None and known.requested_bytes == num_bytes):
            return
        if known is not None:  # it was resized in place
            self._allocator.free(self._blocks.pop(key))
        try:
            self._blocks[key] = self._allocator.allocate(num_bytes)
        except OutOfMemory as error:
            raise torch.OutOfMemoryError(f"replayed: {error}") from None
        if known is None:
            weakref.finalize(storage, self._drop, key).atexit = False

    def _drop(self, key: int) -> None:
        block = self._blocks.pop(key, None)
        if block is not None:
            self._allocator.free(block)
