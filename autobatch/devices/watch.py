"""What slowed a device down during a stretch of work.

    start   violation counters
      |     sample (as often as the caller likes): clock limits
    stop    both

Clock limits are of the moment in which they are read. The driver's violation counters tell of
the whole stretch, where a GPU has them: with them, reading at the ends is enough.
"""

from __future__ import annotations

from typing import Any, Protocol

from autobatch.devices.nvml.readings import IDLE, read_clock_limits
from autobatch.devices.nvml.session import NvmlGpu
from autobatch.records import Unknown

# What held the clocks down, in words; empty if nothing did.
ThrottleReasons = tuple[str, ...] | Unknown

_UNSEEN = "clock limits are told of NVIDIA GPUs only"
# Counters in nanoseconds, and the words that clock limits have for the same.
_VIOLATIONS = {
    "NVML_PERF_POLICY_POWER": "power limit",
    "NVML_PERF_POLICY_THERMAL": "too hot",
    "NVML_PERF_POLICY_BOARD_LIMIT": "board limit",
    "NVML_PERF_POLICY_RELIABILITY": "reliability limit",
}


class DeviceWatch(Protocol):
    """Readings around a stretch of work. The caller synchronises the device before both."""

    def start(self) -> None:
        """Begin."""

    def sample(self) -> None:
        """Look once more in between: one question to the driver."""

    def stop(self) -> ThrottleReasons:
        """What lowered the clocks since ``start``."""


class BlindWatch:
    """For devices that do not tell.

    Args:
        reason: Why not.
    """

    def __init__(self, reason: str = _UNSEEN) -> None:
        self._unseen = Unknown(reason=reason)

    def start(self) -> None:
        """Begin."""

    def sample(self) -> None:
        """Nothing can be seen."""

    def stop(self) -> ThrottleReasons:
        """Why it is not known."""
        return self._unseen


class NvmlWatch:
    """A watch on an NVIDIA GPU.

    Args:
        gpu: The GPU or slice.
    """

    def __init__(self, gpu: NvmlGpu) -> None:
        self._gpu, self._whole = gpu, gpu.whole_gpu()
        self.start()

    def start(self) -> None:
        """Begin."""
        self._seen: dict[str, None] = {}
        self._failure: Unknown | None = None
        self._violations_ns = self._read_violations_ns()

    def sample(self) -> None:
        """Look at what limits the clocks now."""
        limits = read_clock_limits(self._whole)
        if isinstance(limits, Unknown):
            self._failure = limits
        else:
            self._seen |= dict.fromkeys(word for word in limits if word != IDLE)

    def stop(self) -> ThrottleReasons:
        """What lowered the clocks since ``start``."""
        self.sample()
        self._add_violations()
        return self._failure or tuple(self._seen)

    def _add_violations(self) -> None:
        for words, after_ns in self._read_violations_ns().items():
            is_new = not any(seen.startswith(words) for seen in self._seen)
            if after_ns > self._violations_ns.get(words, after_ns) and is_new:
                self._seen[words] = None

    def _read_violations_ns(self) -> dict[str, int]:
        counters = {}
        for policy, words in _VIOLATIONS.items():
            status: Any = self._whole.ask(
                "nvmlDeviceGetViolationStatus", self._gpu.nvml.constant(policy)
            )
            if not isinstance(status, Unknown):
                counters[words] = int(status.violationTime)
        return counters


def watch_device(name: str) -> DeviceWatch:
    """A watch on a device, started.

    Args:
        name: The device as PyTorch writes it: ``cpu``, ``cuda:0``.
    """
    kind, _, index = name.partition(":")
    if kind != "cuda":
        return BlindWatch()
    # Loads PyTorch, which other devices' watches do without.
    from autobatch.devices.cuda import find_nvml_gpu

    gpu = find_nvml_gpu(int(index or 0))
    if isinstance(gpu, Unknown):
        return BlindWatch(gpu.reason)
    return NvmlWatch(gpu)
