"""Errors after which the process is of no more use, told from all others."""

from __future__ import annotations

import pytest
import torch

from autobatch.devices.sticky import is_sticky

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)
# As PyTorch prints them, with cudaGetErrorString's and hipGetErrorString's texts.
STICKY = (
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: misaligned address",
    "CUDA error: an illegal instruction was encountered",
    "CUDA error: invalid program counter",
    "CUDA error: operation not supported on global/shared address space",
    "CUDA error: hardware stack error",
    "CUDA error: unspecified launch failure",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: uncorrectable NVLink error detected during the execution",
    "CUDA error: unknown error",
    "HIP error: an illegal memory access was encountered",
    "HIP error: unspecified launch failure",
    "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
)
HARMLESS = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.19 GiB",
    "CUDA error: out of memory",
    "CUDA error: invalid argument",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: invalid device ordinal",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)",
    "Expected all tensors to be on the same device",
)


@pytest.mark.parametrize("message", STICKY)
@pytest.mark.parametrize("kind", [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)])
def test_an_error_that_stays_is_known(kind: type[RuntimeError], message: str) -> None:
    assert is_sticky(kind(message + ADVICE))


@pytest.mark.parametrize("message", HARMLESS)
def test_an_error_that_passes_is_not_taken_for_one_that_stays(message: str) -> None:
    assert not is_sticky(RuntimeError(message + ADVICE))
    assert not is_sticky(torch.OutOfMemoryError(message))


def test_the_error_that_led_to_another_counts() -> None:
    error = ValueError("my training step failed")
    error.__cause__ = RuntimeError(STICKY[0])
    assert is_sticky(error)


def test_another_kind_of_error_that_quotes_such_a_text_does_not() -> None:
    assert not is_sticky(ValueError(f"see the FAQ on {STICKY[0]!r}"))


def test_a_chain_of_errors_that_bites_its_tail_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__context__, second.__context__ = second, first
    assert not is_sticky(first)
