"""The replayed device: the package's own code for GPUs, over a stand-in for ``torch.cuda``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autobatch.devices.caching import CachingGpu
from autobatch.devices.sharing import SharedMemory
from autobatch.prediction.allocator import AllocatorSettings, CachingAllocator, Driver
from autobatch.records import Precision
from autobatch.testing.replayed.storages import Storages


class ReplayedCuda:
    """The part of ``torch.cuda`` that is about memory, over a model of the allocator.

    Args:
        capacity_bytes: Memory of the GPU.
        overhead_bytes: What the driver holds for this process besides the allocator.
        used_by_others_bytes: What other processes hold.
        expandable_segments: As the allocator's setting of that name.
    """

    def __init__(
        self,
        capacity_bytes: int,
        *,
        overhead_bytes: int = 0,
        used_by_others_bytes: int = 0,
        expandable_segments: bool = False,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.overhead_bytes = overhead_bytes
        self.used_by_others_bytes = used_by_others_bytes
        left_bytes = capacity_bytes - overhead_bytes - used_by_others_bytes
        settings = AllocatorSettings(expandable_segments=expandable_segments)
        self.allocator = CachingAllocator(Driver(left_bytes), settings=settings)

    def mem_get_info(self, device: int = 0) -> tuple[int, int]:
        """Free and total memory."""
        used_bytes = self.used_by_others_bytes + self.overhead_bytes + self.memory_reserved()
        return self.capacity_bytes - used_bytes, self.capacity_bytes

    def memory_reserved(self, device: int = 0) -> int:
        """Memory in segments."""
        return self.allocator.statistics.reserved_bytes

    def max_memory_reserved(self, device: int = 0) -> int:
        """The same, at its highest."""
        return self.allocator.statistics.peak_reserved_bytes

    def max_memory_allocated(self, device: int = 0) -> int:
        """Memory in blocks, at its highest."""
        return self.allocator.statistics.peak_allocated_bytes

    def memory_stats(self, device: int = 0) -> dict[str, int]:
        """The counts that the package reads."""
        return {"num_alloc_retries": self.allocator.statistics.num_alloc_retries}

    def reset_peak_memory_stats(self, device: int = 0) -> None:
        """Begin a new measurement of the peaks."""
        self.allocator.reset_peaks()

    def set_per_process_memory_fraction(self, fraction: float, device: int = 0) -> None:
        """Cap what the allocator may reserve.

        Args:
            fraction: Of all memory.
            device: There is but one.
        """
        self.allocator.cap_bytes = int(fraction * self.capacity_bytes)

    def empty_cache(self) -> None:
        """Give cached segments back."""
        self.allocator.release_cached()

    def synchronize(self, device: int = 0) -> None:
        """Nothing is ever under way."""

    def get_device_name(self, device: int = 0) -> str:
        """What the device calls itself."""
        return "replayed device"


class ReplayedDevice(CachingGpu):
    """A GPU whose memory is a model, and whose operators run on the CPU.

    The name is one that PyTorch takes for its CPU and the package does not: memory is the device's
    own, not the host's.

    Args:
        cuda: Its memory.
        scale: Bytes of the device for each byte of a tensor.
    """

    def __init__(self, cuda: ReplayedCuda, scale: int = 1) -> None:
        self.cuda = cuda
        self.storages = Storages(cuda.allocator, scale)
        memory = SharedMemory(
            info=cuda.mem_get_info,
            reserved=cuda.memory_reserved,
            own=lambda: cuda.overhead_bytes + cuda.memory_reserved(),
        )
        super().__init__(cuda, name="cpu:0", index=0, memory=memory, memory_name="replayed memory")

    def driver_version(self) -> str | None:
        """There is no driver."""
        return None

    def unsupported_reason(self, precision: Precision) -> str | None:
        """What the CPU cannot train with."""
        return "tf32 is a format of NVIDIA GPUs" if precision is Precision.TF32 else None

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Cap the allocator; what operators make inside is in the device's memory."""
        with super().enforce(budget_bytes) as is_enforced, self.storages:
            yield is_enforced
