"""Fake tensors on ``cuda`` for forward, backward and autocast, on a machine without a GPU.

The autograd engine asks PyTorch's CUDA hooks whether there is a device, and ``c10`` for a guard of
its streams. Both answers are put in place here, in the memory of this process: only ever call it in
one that is thrown away.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from autobatch.errors import DeviceError

# Slots of ``at::AcceleratorHooksInterface``'s virtual table, behind its two destructors.
_IS_BUILT, _HAS_PRIMARY_CONTEXT = 2, 4
_TABLE_SLOTS = 64
# Two words before a virtual table belong to it: offset and type information.
_TABLE_HEADER = 2
_CUDA = 1  # of ``c10::DeviceType``
_WORD = ctypes.sizeof(ctypes.c_void_p)
_METHOD = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
# Operators that are one kernel on CUDA, and several operators in a build that lacks that kernel.
_KERNELS = ("silu_backward", "mish_backward", "_fused_rms_norm")
# What ctypes made must outlive the process's last call of it.
_kept: list[Any] = []


def install_fake_cuda() -> None:
    """Have fake tensors on ``cuda`` work in this process.

    Raises:
        DeviceError: If this build of PyTorch does not allow it.
    """
    # A fork mends PyTorch's pool of threads at the next use. If that is by several threads of the
    # autograd engine at once, the process is aborted (``leak_corrupted_threadpool``).
    torch.set_num_threads(1)
    try:
        _place_guard()
        _patch_hooks()
        torch.autograd.set_multithreading_enabled(False).__enter__()
        _open_autocast()
        _open_foreach()
        _keep_kernels_whole()
        _require_it_works()
    except (AttributeError, ImportError, OSError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"PyTorch {torch.__version__} cannot be made to trace for CUDA here: {error}",
            hint="use a released build of PyTorch 2.13 or later for Linux",
        ) from error


def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))


def _place_guard() -> None:
    """Give a build without CUDA a guard that says there are no devices; PyTorch fakes the rest."""
    registry = (ctypes.c_void_p * 21).in_dll(
        _library("libc10.so"), "_ZN3c104impl26device_guard_impl_registryE"
    )
    if not registry[_CUDA]:
        answer = _METHOD(lambda this, argument: 0)
        table = (ctypes.c_void_p * _TABLE_SLOTS)(
            *[ctypes.cast(answer, ctypes.c_void_p).value] * _TABLE_SLOTS
        )
        guard = (ctypes.c_void_p * 2)(ctypes.addressof(table), 0)
        _kept.extend((answer, table, guard))
        registry[_CUDA] = ctypes.addressof(guard)
    torch._C._ensureCUDADeviceGuardSet()


def _patch_hooks() -> None:
    find_hooks = _library("libtorch_cpu.so")._ZN2at6detail12getCUDAHooksEv
    find_hooks.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(find_hooks())
    assert hooks.value is not None, "an object has a virtual table"
    table = (ctypes.c_void_p * (_TABLE_SLOTS + _TABLE_HEADER)).from_buffer_copy(
        ctypes.string_at(
            hooks.value - _TABLE_HEADER * _WORD, (_TABLE_SLOTS + _TABLE_HEADER) * _WORD
        )
    )
    answer = _METHOD(lambda this, argument: 1)
    slots = [_HAS_PRIMARY_CONTEXT] if torch.version.cuda else [_IS_BUILT, _HAS_PRIMARY_CONTEXT]
    for slot in slots:
        table[slot + _TABLE_HEADER] = ctypes.cast(answer, ctypes.c_void_p).value
    _kept.extend((answer, table))
    hooks.value = ctypes.addressof(table) + _TABLE_HEADER * _WORD


def _open_autocast() -> None:
    import torch.cuda.amp.common

    amp: Any = torch.cuda.amp.common
    amp.amp_definitely_not_available = lambda: False
    cuda: Any = torch.cuda
    cuda.is_bf16_supported = lambda *args, **keywords: True


def _open_foreach() -> None:
    """Let optimizers take the kernels over all tensors at once, as they do on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.optim import optimizer
    from torch.utils import _foreach_utils

    for module in (optimizer, _foreach_utils):
        types: Any = module._foreach_supported_types
        types.append(FakeTensor)


def _keep_kernels_whole() -> None:
    """Have operators that CUDA has kernels for reach the trace, and not what they are made of."""
    make_library: Any = torch.library.Library
    library = make_library("aten", "IMPL")
    for name in _KERNELS:
        is_known = hasattr(torch.ops.aten, name)
        if is_known and not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "CUDA"):
            library.impl(name, _run_no_kernel, "CUDA")
    _kept.append(library)


def _run_no_kernel(*args: Any, **keywords: Any) -> Any:
    raise AssertionError("fake tensors run no kernel")


def _require_it_works() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.autocast("cuda", torch.bfloat16):
        weight = torch.zeros(4, 4, device="cuda", requires_grad=True)
        (weight @ weight).sum().backward()  # type: ignore[no-untyped-call]
        if weight.grad is None or weight.grad.device.type != "cuda":
            raise RuntimeError("a backward pass left no gradient")
