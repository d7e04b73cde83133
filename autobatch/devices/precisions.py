"""Number formats that hardware supports.

Sources: CUDA C++ Programming Guide, "Compute Capabilities" (fp16 from 5.3, bf16 and tf32 from
8.0, fp8 from 8.9); ROCm, "Data types and precision support".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autobatch.records import PrecisionSupport, Unknown

_FP32 = PrecisionSupport(name="fp32", is_supported=True)
_NVIDIA_ONLY = "a format of NVIDIA GPUs"
_FIRST_CAPABILITY = {"tf32": (8, 0), "bf16": (8, 0), "fp16": (5, 3), "fp8": (8, 9)}
_ROCM_FP8 = ("gfx94", "gfx95", "gfx12")
# x86 as in /proc/cpuinfo "flags", Arm as in its "Features".
_CPU_FLAGS = {"bf16": ("avx512_bf16", "amx_bf16", "bf16"), "fp16": ("avx512_fp16", "fphp")}


def nvidia_precisions(capability: tuple[int, int]) -> tuple[PrecisionSupport, ...]:
    """Formats of an NVIDIA GPU, by its compute capability."""
    supports = [
        PrecisionSupport(
            name=name,
            is_supported=capability >= first,
            detail="" if capability >= first else f"from compute capability {first[0]}.{first[1]}",
        )
        for name, first in _FIRST_CAPABILITY.items()
    ]
    return (_FP32, *supports)


def amd_precisions(architecture: str) -> tuple[PrecisionSupport, ...]:
    """Formats of an AMD GPU, by its architecture, such as ``gfx942``."""
    return (
        _FP32,
        _none("tf32", _NVIDIA_ONLY),
        PrecisionSupport(name="bf16", is_supported=True),
        PrecisionSupport(name="fp16", is_supported=True),
        PrecisionSupport(name="fp8", is_supported=architecture.startswith(_ROCM_FP8)),
    )


def intel_precisions(properties: Any) -> tuple[PrecisionSupport, ...]:
    """Formats of an Intel GPU, by what ``torch.xpu.get_device_properties`` returned."""
    flags = {
        "tf32": "has_subgroup_matrix_multiply_accumulate_tensor_float32",
        "bf16": "has_bfloat16_conversions",
        "fp16": "has_fp16",
    }
    untold = Unknown(reason="this PyTorch does not tell")
    supports = [
        PrecisionSupport(name=name, is_supported=getattr(properties, flag, untold))
        for name, flag in flags.items()
    ]
    return (_FP32, *supports, PrecisionSupport(name="fp8", is_supported=untold))


def apple_precisions() -> tuple[PrecisionSupport, ...]:
    """Formats of the GPU of Apple silicon."""
    return (
        _FP32,
        _none("tf32", _NVIDIA_ONLY),
        PrecisionSupport(name="bf16", is_supported=True, detail="from macOS 14"),
        PrecisionSupport(name="fp16", is_supported=True),
        _none("fp8", "Metal has no such format"),
    )


def cpu_precisions(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[PrecisionSupport, ...]:
    """Formats of the CPU: PyTorch computes with bf16 and fp16 on any, fast on some."""
    flags = _read_flags(cpuinfo)
    supports = [
        PrecisionSupport(name=name, is_supported=True, detail=_cpu_detail(flags, known))
        for name, known in _CPU_FLAGS.items()
    ]
    return (_FP32, _none("tf32", _NVIDIA_ONLY), *supports, _none("fp8", "no CPU has it"))


def _cpu_detail(flags: set[str], known: tuple[str, ...]) -> str:
    if not flags:
        return "in hardware or emulated: the system does not tell"
    found = [flag for flag in known if flag in flags]
    return ", ".join(found) if found else "emulated, slow"


def _read_flags(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _none(name: str, detail: str) -> PrecisionSupport:
    return PrecisionSupport(name=name, is_supported=False, detail=detail)
