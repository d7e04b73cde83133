"""Other batch sizes in the same process: the training loader's batches change between two steps.

Where a ``BatchSampler`` makes the batches that a backward pass follows, autobatch can order another
size. From then on the sampler yields batches of that size without end, so that no epoch ends: there
is neither evaluation nor a checkpoint. All other loaders go on as they were.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any


class Resizing:
    """Carries out autobatch's orders between two steps.

    Args:
        line: To autobatch. Its configuration may have a size to begin with.
    """

    def __init__(self, line: Any) -> None:
        from torch.utils.data import BatchSampler

        self._line = line
        self._kind: Any = BatchSampler
        self._size: int | None = line.config.get("size")
        self._training: Any = None
        self._last: Any = None

    def install(self, gpu: Any) -> None:
        """Wrap the sampler's iterator.

        Args:
            gpu: Begins anew with each size.
        """
        self._gpu = gpu

        def batches(sampler: Any) -> Iterator[list[Any]]:
            inner = iter(sampler.sampler)
            while True:
                size = self._size_for(sampler)
                batch = list(islice(inner, size))
                if len(batch) < size and (self._training is not sampler or self._size is None):
                    if batch and not sampler.drop_last:
                        yield batch
                    return
                while len(batch) < size:
                    inner = iter(sampler.sampler)  # an epoch without end
                    more = list(islice(inner, size - len(batch)))
                    if not more:
                        return
                    batch += more
                yield batch

        self._kind.__iter__ = batches

    def can_resize(self, sampler: Any) -> bool:
        """Whether a loader's batches come from the sampler that is wrapped here."""
        return type(sampler).__iter__ is self._kind.__iter__

    def after_fetch(self, iterator: Any, shapes: list[list[int]]) -> None:
        """Note the loader of the latest batch.

        Args:
            iterator: The loader's.
            shapes: Of the batch.
        """
        self._last = iterator._index_sampler

    def after_backward(self, *, has_optimizer: bool) -> None:
        """Note which loader trains; where there is no optimizer, a step ends here."""
        if self._last is not None and self.can_resize(self._last):  # maybe another each epoch
            self._training = self._last
        if not has_optimizer:
            self.after_step()

    def after_step(self) -> None:
        """Carry out what autobatch has ordered."""
        for order in self._line.orders():
            if "hold" in order:
                self._hold()
            elif "size" in order:
                self._size = order["size"]

    def _hold(self) -> None:
        self._line.say("held", self._line.now(), at_once=True)
        self._size = self._line.wait_for_order()["size"]
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        self._gpu.begin_anew()
        with suppress(OSError):  # the kernel's high-water mark begins again
            Path("/proc/self/clear_refs").write_text("5")
        self._line.say("resumed", self._line.now(), self._size, at_once=True)

    def _size_for(self, sampler: Any) -> int:
        if self._size is not None and self._training is sampler:
            return self._size
        return int(sampler.batch_size)
