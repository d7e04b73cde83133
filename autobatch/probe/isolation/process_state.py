"""What a process has switched on, and where its random generators stand."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy
import torch

_GETTERS_AND_SETTERS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (random.getstate, random.setstate),
    (numpy.random.get_state, numpy.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (os.getcwd, os.chdir),
)
_BACKEND_FLAGS = (
    (torch.backends.cudnn, "enabled"),
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    (torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    (torch.backends.mkldnn, "enabled"),
)
# The widest first. The module attribute of ``mkldnn`` writes the generic setting, so they are read
# and written below the attributes.
_FP32_PRECISIONS = (
    ("generic", "all"),
    ("cuda", "all"),
    ("mkldnn", "all"),
    *((kind, operation) for kind in ("cuda", "mkldnn") for operation in ("matmul", "conv", "rnn")),
)


class ProcessState:
    """The process's state at this moment."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._restorers = [
                *_plain(),
                *_backends(),
                *_autocast(),
                *_accelerators(),
                *_fp32_precisions(),  # last: they are another view of the flags above
            ]
        self._environ = dict(os.environ)
        self._filters = list(warnings.filters)

    def restore(self) -> None:
        """Put it back."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for restore in self._restorers:
                restore()
        if dict(os.environ) != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]


def _plain() -> list[Callable[[], object]]:
    restorers: list[Callable[[], object]] = []
    for get, put in _GETTERS_AND_SETTERS:
        with suppress(RuntimeError):  # as of the backends' flags
            restorers.append(partial(put, get()))
    return restorers


def _backends() -> list[Callable[[], object]]:
    restorers = []
    for backend, name in _BACKEND_FLAGS:
        # PyTorch refuses to tell a flag that the caller has set under its newer name,
        # ``fp32_precision``.
        with suppress(RuntimeError, AttributeError):
            value = getattr(backend, name)
            restorers.append(_attributepartial(backend, name, value))
    return restorers


def _fp32_precisions() -> list[Callable[[], object]]:
    return [
        _fp32_precision(backend, operation, torch._C._get_fp32_precision_getter(backend, operation))
        for backend, operation in _FP32_PRECISIONS
    ]


def _fp32_precision(backend: str, operation: str, value: str) -> Callable[[], object]:
    def restore() -> None:
        # What is told may come from the backend or from the generic setting: if that was put back
        # first, nothing is left to write.
        if torch._C._get_fp32_precision_getter(backend, operation) != value:
            torch._C._set_fp32_precision_setter(backend, operation, value)

    return restore


def _attributepartial(owner: Any, name: str, value: Any) -> Callable[[], object]:
    def restore() -> None:
        with suppress(RuntimeError):
            if getattr(owner, name) != value:
                setattr(owner, name, value)

    return restore


def _autocast() -> list[Callable[[], object]]:
    restorers: list[Callable[[], object]] = []
    for kind in ("cpu", "cuda", "xpu", "mps"):
        with suppress(RuntimeError):
            restorers += (
                partial(torch.set_autocast_enabled, kind, torch.is_autocast_enabled(kind)),
                partial(torch.set_autocast_dtype, kind, torch.get_autocast_dtype(kind)),
            )
    return restorers


def _accelerators() -> list[Callable[[], object]]:
    restorers: list[Callable[[], object]] = []
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        restorers += (
            partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()),
            partial(torch.cuda.set_device, torch.cuda.current_device()),
            partial(
                torch.cuda.set_per_process_memory_fraction,
                torch.cuda.get_per_process_memory_fraction(),
            ),
        )
    if torch.xpu.is_available():
        restorers.append(partial(torch.xpu.set_rng_state_all, torch.xpu.get_rng_state_all()))
    if torch.backends.mps.is_available():
        restorers.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return restorers
