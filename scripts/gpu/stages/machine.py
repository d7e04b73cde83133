"""The machine itself: what a context costs, what NVML answers, clocks, and copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autobatch.devices.nvml.session import Nvml, open_nvml
from autobatch.records import Unknown
from scripts.gpu.stages.bench import Bench

GIB = 2**30
_TOUCHED_BYTES = {True: 32 * GIB, False: GIB // 16}
_COPIED_BYTES = {True: GIB, False: GIB // 16}
# Every question that the package asks of a GPU, beside those with arguments.
QUESTIONS = (
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)


def run_machine(bench: Bench) -> None:
    """Measure and record."""
    bench.save(host_before=read_host())
    nvml = open_nvml()
    bench.save(nvml_before=ask_all(nvml))
    begin = time.perf_counter()
    torch.zeros(1, device=bench.device)
    bench.save(context_s=time.perf_counter() - begin, nvml_after=ask_all(nvml))
    if bench.is_gpu:
        bench.save(
            memory_info=torch.cuda.mem_get_info(bench.device),
            properties=str(torch.cuda.get_device_properties(bench.device)),
            segment_s=time_segments(bench.device),
        )
    bench.save(copies_s=time_copies(bench))
    bench.save(clocks=watch_clocks(nvml, bench.device))
    touch(_TOUCHED_BYTES[bench.is_gpu])
    bench.save(host_after=read_host())


def read_host() -> dict[str, int]:
    """The kernel's account of memory, in KiB; empty where there is none."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return {}
    fields = (line.partition(":") for line in file.read_text().splitlines())
    names = ("MemTotal", "MemFree", "MemAvailable")
    return {name: int(text.split()[0]) for name, _, text in fields if name in names}


def touch(num_bytes: int) -> None:
    """Have the machine give memory: some virtual machines start with little and grow."""
    torch.ones(num_bytes, dtype=torch.uint8)  # by all cores at once


def ask_all(nvml: Nvml | Unknown) -> dict[str, str]:
    """The raw answers to all questions, as text."""
    if isinstance(nvml, Unknown):
        return {"nvml": nvml.reason}
    handle = nvml.call("nvmlDeviceGetHandleByIndex", 0)
    answers = {"nvmlSystemGetDriverVersion": str(nvml.call("nvmlSystemGetDriverVersion"))}
    for name in QUESTIONS:
        answers[name] = show(nvml.call(name, handle))
    return answers


def time_segments(device: str) -> dict[str, float]:
    """Seconds to fetch and give back a gibibyte."""
    times: dict[str, Callable[[], object]] = {
        "allocate": lambda: torch.empty(GIB, dtype=torch.uint8, device=device),
        "free": torch.cuda.empty_cache,
    }
    return {name: _time(call) for name, call in times.items()}


def time_copies(bench: Bench) -> dict[str, float]:
    """Seconds to copy to the device, from memory that is pinned and that is not."""
    data = torch.zeros(_COPIED_BYTES[bench.is_gpu], dtype=torch.uint8)
    times = {"pageable": _time(lambda: data.to(bench.device, copy=True))}
    if bench.is_gpu:
        pinned = data.pin_memory()
        times["pinned"] = _time(lambda: pinned.to(bench.device, non_blocking=True))
    return times


def watch_clocks(nvml: Nvml | Unknown, device: str) -> list[dict[str, Any]]:
    """Energy and clocks every 5 ms: half a second idle, a second busy, half a second idle."""
    # On a large GPU two products take about as long as there is between two looks.
    matrix = torch.randn(4096 if device != "cpu" else 256, 4096, device=device)
    seen, begin = [], time.perf_counter()
    while (now_s := time.perf_counter() - begin) < 2.0:
        if 0.5 < now_s < 1.5:
            for _ in range(2):
                matrix @ matrix.T
        sample: dict[str, Any] = {"time_s": now_s}
        if not isinstance(nvml, Unknown):
            handle = nvml.call("nvmlDeviceGetHandleByIndex", 0)
            sample["energy_mj"] = show(nvml.call("nvmlDeviceGetTotalEnergyConsumption", handle))
            clock = nvml.constant("NVML_CLOCK_SM")
            sample["sm_mhz"] = show(nvml.call("nvmlDeviceGetClockInfo", handle, clock))
        seen.append(sample)
        time.sleep(0.005)
    return seen


def _time(call: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    del result
    return time.perf_counter() - begin


def show(answer: object) -> str:
    """An answer of NVML as text, with the fields of what it is made of."""
    if isinstance(answer, (list, tuple)):
        return f"[{', '.join(map(show, answer))}]"
    fields = getattr(answer, "_fields_", None)
    if fields is None:
        return str(answer)  # such as an object of the binding's own, which prints its fields
    return str({name: str(getattr(answer, name)) for name, *_ in fields})
