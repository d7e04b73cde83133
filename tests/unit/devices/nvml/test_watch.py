"""Energy and throttling around a stretch of work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu
from autobatch.devices.watch import BlindWatch, NvmlWatch, watch_device
from autobatch.records import Unknown

LIMITS = "nvmlDeviceGetCurrentClocksEventReasons"
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(gpu: NvmlGpu, clock: Clock, module: Any) -> NvmlWatch:
    module.answers[LIMITS] = 0
    return NvmlWatch(gpu, clock)


def test_energy_is_what_the_counter_moved_by(watch: Any, clock: Any, module: Any) -> None:
    watch.start()
    clock.now_s += 2.0
    module.answers[ENERGY] += 1_400_000
    use = watch.stop()
    assert use.energy_j == pytest.approx(1400.0)
    assert use.elapsed_s == 2.0


def test_a_second_stretch_begins_anew(watch: Any, clock: Any, module: Any) -> None:
    module.answers[LIMITS] = 0x4
    clock.now_s += 1.0
    assert watch.stop().throttle_reasons == ("power limit",)
    module.answers[LIMITS] = 0
    watch.start()
    clock.now_s += 1.0
    use = watch.stop()
    assert use.throttle_reasons == ()
    assert use.energy_j == 0.0


def test_too_short_a_stretch_has_no_energy(watch: Any, clock: Any) -> None:
    watch.start()
    clock.now_s += 0.2
    assert "too short" in watch.stop().energy_j.reason


def test_a_counter_that_began_anew_is_no_negative_energy(
    watch: Any, clock: Any, module: Any
) -> None:
    watch.start()
    clock.now_s += 1.0
    module.answers[ENERGY] = 7
    assert isinstance(watch.stop().energy_j, Unknown)


def test_all_reasons_that_were_seen_are_kept_once(watch: Any, module: Any) -> None:
    watch.start()
    for bits in (0x4, 0, 0x24):
        module.answers[LIMITS] = bits
        watch.sample()
    module.answers[LIMITS] = 0
    assert watch.stop().throttle_reasons == ("power limit", "too hot (driver)")


def test_an_idle_gpu_is_not_throttled(watch: Any, module: Any) -> None:
    module.answers[LIMITS] = 0x1
    watch.start()
    watch.sample()
    assert watch.stop().throttle_reasons == ()


def _violations(**counters_ns: int) -> Any:
    kinds = {0: "power", 1: "thermal", 3: "board", 5: "reliability"}
    return lambda _, kind: SimpleNamespace(
        referenceTime=1, violationTime=counters_ns.get(kinds[kind], 0)
    )


def test_throttling_between_two_looks_is_told_by_the_violation_counters(
    watch: Any, module: Any
) -> None:
    module.answers["nvmlDeviceGetViolationStatus"] = _violations(power=5, thermal=9)
    watch.start()
    module.answers["nvmlDeviceGetViolationStatus"] = _violations(power=5, thermal=10)
    assert watch.stop().throttle_reasons == ("too hot",)


def test_what_was_seen_already_is_not_told_twice(watch: Any, module: Any) -> None:
    module.answers["nvmlDeviceGetViolationStatus"] = _violations()
    watch.start()
    module.answers[LIMITS] = 0x20
    module.answers["nvmlDeviceGetViolationStatus"] = _violations(thermal=10)
    assert watch.stop().throttle_reasons == ("too hot (driver)",)


def test_a_gpu_that_tells_neither_has_reasons(silent_gpu: Any, clock: Any) -> None:
    watch = NvmlWatch(silent_gpu, clock)
    clock.now_s += 1.0
    use = watch.stop()
    assert isinstance(use.energy_j, Unknown)
    assert isinstance(use.throttle_reasons, Unknown)
    assert use.elapsed_s == 1.0


def test_a_gpu_lost_meanwhile_has_reasons(
    watch: Any, clock: Any, module: Any, nvml_error: Any
) -> None:
    watch.start()
    clock.now_s += 1.0
    for name in module.answers:
        module.answers[name] = nvml_error("GPU_IS_LOST")
    use = watch.stop()
    assert "lost" in use.energy_j.reason
    assert "lost" in use.throttle_reasons.reason


def test_a_slice_has_throttling_and_no_energy(module: Any, clock: Any) -> None:
    module.answers[LIMITS] = 0x4
    watch = NvmlWatch(NvmlGpu(Nvml(module), "slice", is_mig_slice=True), clock)
    clock.now_s += 1.0
    use = watch.stop()
    assert "MIG" in use.energy_j.reason  # type: ignore[union-attr]
    assert use.throttle_reasons == ("power limit",)


@pytest.mark.parametrize("name", ["cpu", "mps", "xpu:0", "simulated"])
def test_other_devices_tell_the_time_and_reasons(name: str) -> None:
    watch = watch_device(name)
    assert isinstance(watch, BlindWatch)
    watch.start()
    watch.sample()
    use = watch.stop()
    assert use.elapsed_s >= 0
    assert isinstance(use.energy_j, Unknown)
    assert isinstance(use.throttle_reasons, Unknown)
