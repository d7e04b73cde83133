"""Whose memory is it on a GPU: our allocator's, our overhead, or others'?

    total = free + others' + ours
                             ours = reserved by our caching allocator + overhead
                                    overhead = context, kernels, library workspaces

The driver tells free and total for the whole GPU, the allocator what it reserved. Where the
driver also tells what this process holds, the rest follows at any time. Where it does not,
the memory of others is measured again whenever bounds are read, between trials, on the assumption
that our overhead is then what it was at the start; anything beyond that is our overhead.
"""

from __future__ import annotations

from collections.abc import Callable


class SharedMemory:
    """The accounts of one GPU, all in bytes.

    Args:
        info: Free and total memory of the GPU.
        reserved: What our caching allocator has reserved.
        own: What the driver says that this process holds; ``None`` if it does not say.
        free_before_bytes: Free memory before this process opened the GPU; ``None`` if that
            could not be read, and then what the context takes counts as others'.
    """

    def __init__(
        self,
        *,
        info: Callable[[], tuple[int, int]],
        reserved: Callable[[], int],
        own: Callable[[], int | None] = lambda: None,
        free_before_bytes: int | None = None,
    ) -> None:
        self._info, self._reserved, self._own = info, reserved, own
        used_bytes = self._used_bytes()
        others_bytes = used_bytes - reserved()
        if free_before_bytes is not None:
            others_bytes = min(others_bytes, info()[1] - free_before_bytes)
        self._others_bytes = max(0, others_bytes)
        self._first_overhead_bytes = max(0, used_bytes - reserved() - self._others_bytes)

    def available_bytes(self) -> int:
        """What this process could come to hold, at this moment: all that others do not use."""
        own_bytes = self._own()
        if own_bytes is None:
            own_bytes = self._reserved() + self._first_overhead_bytes
        self._others_bytes = max(0, self._used_bytes() - own_bytes)
        return self.total_bytes() - self._others_bytes

    def overhead_bytes(self) -> int:
        """What this process holds besides its caching allocator."""
        own_bytes = self._own()
        if own_bytes is None:
            own_bytes = self._used_bytes() - self._others_bytes
        return max(0, own_bytes - self._reserved())

    def total_bytes(self) -> int:
        """All the memory of the GPU."""
        return self._info()[1]

    def _used_bytes(self) -> int:
        free_bytes, total_bytes = self._info()
        return total_bytes - free_bytes
