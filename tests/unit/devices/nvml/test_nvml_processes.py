"""Who holds a GPU's memory, and which of them is us."""

from __future__ import annotations

import os
from typing import Any

import pytest

from autobatch.devices.nvml.processes import (
    find_own_pid,
    name_process,
    read_other_processes,
    read_process_bytes,
)
from autobatch.records import ProcessUse, Unknown

GIB = 2**30
NOBODY = 4_000_001  # above the kernel's largest number of a process by default
COMPUTE = "nvmlDeviceGetComputeRunningProcesses_v3"
GRAPHICS = "nvmlDeviceGetGraphicsRunningProcesses_v3"


def test_a_process_of_another_container_has_no_name(gpu: Any) -> None:
    (process,) = read_other_processes(gpu)  # type: ignore[misc]
    assert process.pid == NOBODY
    assert process.used_bytes == 20 * GIB
    assert process.name == Unknown(reason="another container")


def test_the_largest_is_first_and_we_are_not_among_the_others(
    gpu: Any, module: Any, nvml_process: Any
) -> None:
    module.answers[COMPUTE] = [
        nvml_process(11, GIB),
        nvml_process(os.getpid(), 50 * GIB),
        nvml_process(12, 3 * GIB),
    ]
    others = read_other_processes(gpu, name_of=lambda pid: f"name of {pid}")
    assert others == (
        ProcessUse(pid=12, name="name of 12", used_bytes=3 * GIB),
        ProcessUse(pid=11, name="name of 11", used_bytes=GIB),
    )


def test_a_process_that_computes_and_draws_counts_once(
    gpu: Any, module: Any, nvml_process: Any
) -> None:
    module.answers[COMPUTE] = [nvml_process(11, GIB)]
    module.answers[GRAPHICS] = [nvml_process(11, GIB), nvml_process(13, 5)]
    assert read_process_bytes(gpu) == {11: GIB, 13: 5}


def test_an_older_driver_lists_them_in_its_own_way(
    gpu: Any, module: Any, nvml_process: Any, nvml_error: Any
) -> None:
    module.answers[COMPUTE] = nvml_error("FUNCTION_NOT_FOUND")
    module.answers["nvmlDeviceGetComputeRunningProcesses_v2"] = [nvml_process(11, GIB)]
    assert read_process_bytes(gpu) == {11: GIB}


def test_a_driver_that_does_not_count_by_process_is_a_reason(
    gpu: Any, module: Any, nvml_process: Any
) -> None:
    module.answers[COMPUTE] = [nvml_process(11, None)]
    (process,) = read_other_processes(gpu, name_of=str)  # type: ignore[misc]
    assert isinstance(process.used_bytes, Unknown)


def test_no_permission_to_list_them_is_a_reason(gpu: Any, module: Any, nvml_error: Any) -> None:
    module.answers[COMPUTE] = nvml_error("NO_PERMISSION")
    assert "administrators" in read_other_processes(gpu).reason  # type: ignore[union-attr]


def test_a_process_that_has_a_gpu_open_is_named() -> None:
    name = name_process(os.getpid(), lambda pid: ["/dev/null", "/dev/nvidia0"])
    assert isinstance(name, str) and name


def test_a_process_without_a_gpu_is_not_taken_for_the_one_that_is_meant() -> None:
    assert name_process(os.getpid(), lambda pid: ["/dev/null"]) == Unknown(
        reason="another container"
    )


def test_a_process_whose_files_cannot_be_read_is_named_in_good_faith() -> None:
    assert isinstance(name_process(os.getpid(), lambda pid: None), str)


def test_this_process_has_files_open_that_are_no_gpu() -> None:
    if os.path.isdir("/proc/self/fd") and not os.path.exists("/dev/nvidia0"):
        assert isinstance(name_process(os.getpid()), Unknown)


@pytest.mark.parametrize(
    ("before", "after", "own"),
    [
        ({}, {os.getpid(): 1}, os.getpid()),
        ({7: 1}, {7: 1, os.getpid(): 1, 8: 1}, os.getpid()),
        ({7: 1}, {7: 1, 31_000: 1}, 31_000),  # counted by the host's numbers
        ({7: 1}, {7: 1, 8: 1, 9: 1}, None),  # another one came at the same time
        ({7: 1}, {7: 1}, None),  # we are not shown
        (Unknown(reason="x"), {8: 1}, None),
        ({7: 1}, Unknown(reason="x"), None),
    ],
    # Values would name this process, which is another one in every test worker.
    ids=["alone", "listed", "renumbered", "two came", "not shown", "before?", "after?"],
)
def test_our_own_number_is_known_or_not_guessed(before: Any, after: Any, own: int | None) -> None:
    assert find_own_pid(before, after) == own
