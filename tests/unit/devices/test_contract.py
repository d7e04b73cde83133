"""What every device promises; ``conftest.py`` lists the devices that are held to it."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import MemoryBudget, Precision


def test_a_device_has_a_name_and_a_hardware_name(contract: Any) -> None:
    assert contract.device.name
    assert contract.device.hardware_name()


def test_fp32_can_be_trained_with_everywhere(contract: Any) -> None:
    assert contract.device.unsupported_reason(Precision.FP32) is None


def test_a_reason_against_a_precision_is_a_sentence_or_none(contract: Any) -> None:
    for precision in Precision:
        reason = contract.device.unsupported_reason(precision)
        assert reason is None or len(reason.split()) > 2


def test_every_bound_has_a_name_and_no_more_available_than_there_is(contract: Any) -> None:
    bounds = contract.device.bounds(None)
    assert bounds
    for bound in bounds:
        assert bound.name
        assert 0 < bound.available_bytes <= bound.capacity_bytes


def test_the_users_limit_is_one_more_bound(contract: Any) -> None:
    names = [bound.name for bound in contract.device.bounds(None)]
    bounds = contract.device.bounds(123_456_789)
    assert [bound.name for bound in bounds] == [*names, "memory limit"]
    assert bounds[-1].capacity_bytes == bounds[-1].available_bytes == 123_456_789


def test_the_peak_holds_what_was_allocated_and_freed_since_the_reset(contract: Any) -> None:
    device, size = contract.device, contract.unit_bytes
    device.release()
    device.reset_peak()
    before = device.read_peak().peak_bytes
    held = contract.allocate(size)
    device.synchronize()
    del held
    device.release()
    assert device.read_peak().peak_bytes >= before + 0.95 * size


def test_a_reset_forgets_an_earlier_peak(contract: Any) -> None:
    device, size = contract.device, contract.unit_bytes
    device.reset_peak()
    held = contract.allocate(2 * size)
    device.synchronize()
    high = device.read_peak().peak_bytes
    del held
    device.release()
    device.reset_peak()
    assert device.read_peak().peak_bytes <= high - size


def test_the_parts_of_a_peak_do_not_exceed_it(contract: Any) -> None:
    contract.device.reset_peak()
    held = contract.allocate(contract.unit_bytes)
    reading = contract.device.read_peak()
    del held
    parts = (reading.allocated_bytes, reading.reserved_bytes)
    assert all(part is None or part <= reading.peak_bytes for part in parts)


def test_an_allocation_beyond_the_budget_fails_as_out_of_memory(contract: Any) -> None:
    device, size = contract.device, contract.unit_bytes
    device.release()
    device.reset_peak()
    budget_bytes = device.read_peak().peak_bytes + 2 * size
    with device.enforce(budget_bytes) as is_enforced:
        if not is_enforced:
            pytest.skip(f"{device.name} cannot enforce a budget here")
        held = contract.allocate(size)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each allocator has its own
            contract.allocate(4 * size)
        assert is_out_of_memory(caught.value)
        del held
        contract.allocate(size)


def test_after_enforcement_there_is_as_much_to_have_as_before(contract: Any) -> None:
    device, size = contract.device, contract.unit_bytes
    device.release()
    device.reset_peak()
    with device.enforce(device.read_peak().peak_bytes + size // 2):
        pass
    held = contract.allocate(4 * size)
    assert held is not None


def test_an_error_inside_enforcement_passes_through_and_lifts_the_budget(contract: Any) -> None:
    device, size = contract.device, contract.unit_bytes
    with pytest.raises(KeyError), device.enforce(device.read_peak().peak_bytes + size // 2):
        raise KeyError
    assert contract.allocate(4 * size) is not None


def test_marks_tell_how_long_the_device_took_between_them(contract: Any) -> None:
    first = contract.device.mark()
    if first is None:
        assert contract.device.name in ("cpu", "cpu:0", "mps", "simulated")
        return
    held = contract.allocate(contract.unit_bytes)
    second = contract.device.mark()
    contract.device.synchronize()
    del held
    assert 0 <= first.elapsed_time(second) < 60_000


def test_cpu_use_only_grows(contract: Any) -> None:
    before = contract.device.cpu_use()
    if before is None:
        assert contract.device.name != "cpu"
        return
    held = contract.allocate(contract.unit_bytes)
    after = contract.device.cpu_use()
    del held
    assert after.minor_faults > before.minor_faults
    assert after.user_time_s >= before.user_time_s
    assert after.kernel_time_s >= before.kernel_time_s


def test_a_budget_can_be_made_from_the_bounds(contract: Any) -> None:
    bounds = contract.device.bounds(None)
    budget = MemoryBudget.from_bounds(bounds, headroom_fraction=0.1)
    assert budget.bound_by in [bound.name for bound in bounds]
    assert 0 < budget.budget_bytes < budget.capacity_bytes
