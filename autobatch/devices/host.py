"""Host memory of this process, of its loader workers, and pinned memory."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import psutil

from autobatch.devices.meter import sample_loader_bytes
from autobatch.devices.pinned import PinnedMemory
from autobatch.records import Unknown

_ON_LINUX = sys.platform == "linux"
if _ON_LINUX:
    from autobatch.devices import family, linux


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """Host memory of a training.

    Attributes:
        own_bytes: The most that this process held since the reset, pinned memory included.
        loader_bytes: What its loader workers hold now, batches on their way included.
        pinned_bytes: The most that was pinned since the reset, by PyTorch's allocator.
        is_lower_bound: Whether ``own_bytes`` may have been exceeded between two looks.
    """

    own_bytes: int
    loader_bytes: int | Unknown
    pinned_bytes: int | Unknown
    is_lower_bound: bool


class HostMemory:
    """Reads them.

    Args:
        pinned: Pinned memory; ``None`` where nothing is pinned, or why it cannot be told.
        template_pid: The process that this one was forked from for the trial.
        uses_kernel: Whether to ask the kernel, as Linux lets one; else by sampling.
    """

    def __init__(
        self,
        pinned: PinnedMemory | Unknown | None,
        *,
        template_pid: int | None = None,
        uses_kernel: bool = _ON_LINUX,
    ) -> None:
        self._pinned = pinned
        self._template_pid = template_pid
        self._uses_kernel = uses_kernel
        self._kernel_tells_peak = False

    def reset_peak(self) -> None:
        """Begin a new measurement."""
        self._kernel_tells_peak = self._uses_kernel and linux.reset_peak()
        if isinstance(self._pinned, PinnedMemory):
            self._pinned.reset_peak()

    def read(self) -> HostReading:
        """What was held since the reset, and what loader workers hold at this moment."""
        if self._kernel_tells_peak:
            own_bytes = linux.read_status_bytes()["VmHWM"]
        else:
            own_bytes = _own_resident_bytes()
        pinned_bytes: int | Unknown = 0
        if isinstance(self._pinned, PinnedMemory):
            own_bytes += self._pinned.unseen_bytes()
            pinned_bytes = self._pinned.peak_bytes()
        elif self._pinned is not None:
            pinned_bytes = self._pinned
        return HostReading(
            own_bytes=own_bytes,
            loader_bytes=self._read_loader(),
            pinned_bytes=pinned_bytes,
            is_lower_bound=not self._kernel_tells_peak,
        )

    def _read_loader(self) -> int | Unknown:
        if self._uses_kernel:
            return family.read_loader_bytes(
                os.getpid(), template_pid=self._template_pid, is_between_steps=True
            )
        return sample_loader_bytes(os.getpid())


def open_pinned(device_name: str) -> PinnedMemory | Unknown | None:
    """Pinned memory as a device's allocator counts it, or why it cannot be told.

    ``None`` for devices whose memory is the machine's own: nothing is pinned for them.

    Args:
        device_name: As PyTorch writes it: ``cpu``, ``cuda:0``.
    """
    kind = device_name.partition(":")[0]
    if kind in ("cpu", "mps"):
        return None
    # Loads PyTorch, which other devices do without.
    import torch

    if kind != "cuda":
        return Unknown(reason=f"PyTorch does not count what is pinned for {device_name}")
    return PinnedMemory(
        torch.cuda,
        str(torch.__version__),
        pin=lambda size: torch.empty(size, dtype=torch.uint8, pin_memory=True),
        resident_bytes=_own_resident_bytes,
    )


def _own_resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
