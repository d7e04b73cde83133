"""What a stretch of work takes of a device: energy, and what slowed it down meanwhile.

    start   energy counter, violation counters, clock limits
      |     sample (as often as the caller likes: clock limits alone)
    stop    the same counters again

Clock limits are of the moment in which they are read. The driver's violation counters tell of
the whole stretch, where a GPU has them: with them, reading at the ends is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from autobatch.devices.nvml.readings import IDLE, read_clock_limits, read_energy_j
from autobatch.devices.nvml.session import NvmlGpu
from autobatch.records import DeviceUse, Unknown

# GPUs measure their power about ten times a second (arXiv:2312.02741): over less than this the
# counter's steps show.
_SHORTEST_S = 0.5
_UNSEEN = "energy and clock limits are told of NVIDIA GPUs only"
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

    def stop(self) -> DeviceUse:
        """What the stretch since ``start`` took."""


class BlindWatch:
    """For devices that tell neither.

    Args:
        reason: Why not.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self, reason: str = _UNSEEN, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._unseen, self._clock = Unknown(reason=reason), clock
        self.start()

    def start(self) -> None:
        """Begin."""
        self._begin_s = self._clock()

    def sample(self) -> None:
        """Nothing can be seen."""

    def stop(self) -> DeviceUse:
        """Time alone."""
        return DeviceUse(
            elapsed_s=self._clock() - self._begin_s,
            energy_j=self._unseen,
            throttle_reasons=self._unseen,
        )


class NvmlWatch:
    """A watch on an NVIDIA GPU.

    Args:
        gpu: The GPU or slice.
        clock: Returns seconds from any origin.
    """

    def __init__(self, gpu: NvmlGpu, clock: Callable[[], float] = time.perf_counter) -> None:
        self._gpu, self._whole, self._clock = gpu, gpu.whole_gpu(), clock
        self.start()

    def start(self) -> None:
        """Begin."""
        self._seen: dict[str, None] = {}
        self._failure: Unknown | None = None
        self._violations_ns = self._read_violations_ns()
        self._energy_j = read_energy_j(self._gpu)
        self._begin_s = self._clock()

    def sample(self) -> None:
        """Look at what limits the clocks now."""
        limits = read_clock_limits(self._whole)
        if isinstance(limits, Unknown):
            self._failure = limits
        else:
            self._seen |= dict.fromkeys(word for word in limits if word != IDLE)

    def stop(self) -> DeviceUse:
        """What the stretch took."""
        elapsed_s = self._clock() - self._begin_s
        energy_j = read_energy_j(self._gpu)
        self.sample()
        self._add_violations()
        throttling = Unknown(reason=self._failure.reason) if self._failure else tuple(self._seen)
        return DeviceUse(
            elapsed_s=elapsed_s,
            energy_j=_difference(self._energy_j, energy_j, elapsed_s),
            throttle_reasons=throttling,
        )

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


def _difference(
    before_j: float | Unknown, after_j: float | Unknown, elapsed_s: float
) -> float | Unknown:
    if isinstance(before_j, Unknown):
        return before_j
    if isinstance(after_j, Unknown):
        return after_j
    if elapsed_s < _SHORTEST_S:
        return Unknown(reason=f"less than {_SHORTEST_S} s is too short for the energy counter")
    if after_j < before_j:
        return Unknown(reason="the energy counter began anew meanwhile")
    return after_j - before_j
