"""What slowed a GPU down during a stretch of work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu
from autobatch.devices.watch import BlindWatch, NvmlWatch, watch_device
from autobatch.records import Unknown

LIMITS = "nvmlDeviceGetCurrentClocksEventReasons"


@pytest.fixture
def watch(gpu: NvmlGpu, module: Any) -> NvmlWatch:
    module.answers[LIMITS] = 0
    return NvmlWatch(gpu)


def test_a_second_stretch_begins_anew(watch: Any, module: Any) -> None:
    module.answers[LIMITS] = 0x4
    assert watch.stop() == ("power limit",)
    module.answers[LIMITS] = 0
    watch.start()
    assert watch.stop() == ()


def test_all_reasons_that_were_seen_are_kept_once(watch: Any, module: Any) -> None:
    watch.start()
    for bits in (0x4, 0, 0x24):
        module.answers[LIMITS] = bits
        watch.sample()
    module.answers[LIMITS] = 0
    assert watch.stop() == ("power limit", "too hot (driver)")


def test_an_idle_gpu_is_not_throttled(watch: Any, module: Any) -> None:
    module.answers[LIMITS] = 0x1
    watch.start()
    watch.sample()
    assert watch.stop() == ()


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
    assert watch.stop() == ("too hot",)


def test_what_was_seen_already_is_not_told_twice(watch: Any, module: Any) -> None:
    module.answers["nvmlDeviceGetViolationStatus"] = _violations()
    watch.start()
    module.answers[LIMITS] = 0x20
    module.answers["nvmlDeviceGetViolationStatus"] = _violations(thermal=10)
    assert watch.stop() == ("too hot (driver)",)


def test_a_gpu_that_does_not_tell_has_a_reason(silent_gpu: Any) -> None:
    watch = NvmlWatch(silent_gpu)
    assert isinstance(watch.stop(), Unknown)


def test_a_gpu_lost_meanwhile_has_a_reason(watch: Any, module: Any, nvml_error: Any) -> None:
    watch.start()
    for name in module.answers:
        module.answers[name] = nvml_error("GPU_IS_LOST")
    assert "lost" in watch.stop().reason


def test_a_slice_has_the_throttling_of_its_gpu(module: Any) -> None:
    module.answers[LIMITS] = 0x4
    watch = NvmlWatch(NvmlGpu(Nvml(module), "slice", is_mig_slice=True))
    assert watch.stop() == ("power limit",)


@pytest.mark.parametrize("name", ["cpu", "mps", "xpu:0", "simulated"])
def test_other_devices_have_a_reason(name: str) -> None:
    watch = watch_device(name)
    assert isinstance(watch, BlindWatch)
    watch.start()
    watch.sample()
    assert isinstance(watch.stop(), Unknown)
