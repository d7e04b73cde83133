"""Everything that a call could leave changed, by name, to be compared before and after.

Written apart from what the package does to put things back: the two share no code.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import psutil
import torch
from torch import nn
from torch.nn.modules import module as module_globals


@dataclass
class Objects:
    """What a training script holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: Any = None
    scheduler: Any = None
    scaler: Any = None
    calls: list[str] = field(default_factory=list)


def take_snapshot(objects: Objects) -> dict[str, Any]:
    """Values by aspect; every value can be compared with ``==``."""
    return {name: look(objects) for name, look in ASPECTS.items()}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the aspects that changed."""
    assert before.keys() == after.keys()
    return [name for name in before if before[name] != after[name]]


def _bits(value: Any) -> Any:
    """A value in which tensors are bytes, so that -0.0 is not 0.0 and NaN is NaN."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return str(value.dtype), tuple(value.shape), str(value.device), raw.numpy().tobytes()
    if isinstance(value, dict):
        return [(_bits(key), _bits(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [_bits(part) for part in value]
    return value


def _state(objects: Objects) -> Any:
    parameters = [p for group in objects.optimizer.param_groups for p in group["params"]]
    positions = {id(parameter): index for index, parameter in enumerate(parameters)}
    return [(positions[id(key)], _bits(state)) for key, state in objects.optimizer.state.items()]


def _groups(objects: Objects) -> Any:
    return [
        {name: _bits(value) for name, value in group.items() if name != "params"}
        for group in objects.optimizer.param_groups
    ]


def _gradients(objects: Objects) -> Any:
    return [_bits(p.grad) for p in objects.model.parameters()]


def _identities(objects: Objects) -> Any:
    tensors = [*objects.model.parameters(), *objects.model.buffers()]
    gradients = [tensor.grad for tensor in objects.model.parameters()]
    return [(id(tensor), tensor.data_ptr()) for tensor in tensors] + [id(g) for g in gradients]


def _hooks(objects: Objects) -> Any:
    names = [name for name in vars(nn.Module()) if name.endswith("hooks")]
    found: list[Any] = [
        [(key, id(hook)) for key, hook in getattr(module, name).items()]
        for module in objects.model.modules()
        for name in names
    ]
    for parameter in objects.model.parameters():
        for hooks in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks):
            found.append([(key, id(hook)) for key, hook in (hooks or {}).items()])
    for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        found.append([(key, id(hook)) for key, hook in getattr(objects.optimizer, name).items()])
    found.append([id(hook) for hook in module_globals._global_forward_hooks.values()])
    return found


def _attributes(objects: Objects) -> Any:
    return [
        {name: value for name, value in vars(module).items() if isinstance(value, (int, str))}
        for module in objects.model.modules()
    ]


def _optimizer_attributes(objects: Objects) -> Any:
    return sorted(
        (name, str(value)) for name, value in vars(objects.optimizer).items()
        if isinstance(value, (bool, int, str))
    )  # fmt: skip


def _loader(objects: Objects) -> Any:
    loader = objects.loader
    if loader is None:
        return None
    parts = [loader, loader.sampler, loader.dataset]
    found: list[Any] = []
    for part in parts:
        for name, value in sorted(getattr(part, "__dict__", {}).items()):
            if isinstance(value, torch.Generator):
                found.append((name, value.get_state().tolist()))
            elif isinstance(value, (int, float, str, bool)):
                found.append((name, value))
    return found


def _flags(objects: Objects) -> Any:
    return (
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_default_dtype(),
        torch.is_anomaly_enabled(),
    )


def _modes(objects: Objects) -> Any:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
    )


def _limits(objects: Objects) -> Any:
    if sys.platform != "linux":
        return None
    import resource

    return [resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS)]


def _device_memory(objects: Objects) -> Any:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


ASPECTS: dict[str, Callable[[Objects], Any]] = {
    "parameters": lambda objects: [_bits(p) for p in objects.model.parameters()],
    "buffers": lambda objects: [_bits(b) for b in objects.model.buffers()],
    "gradients": _gradients,
    "requires_grad": lambda objects: [p.requires_grad for p in objects.model.parameters()],
    "versions": lambda objects: [p._version for p in objects.model.parameters()],
    "identities": _identities,
    "optimizer state": _state,
    "param groups": _groups,
    "optimizer attributes": _optimizer_attributes,
    "module attributes": _attributes,
    "hooks": _hooks,
    "calls of the user's own": lambda objects: list(objects.calls),
    "rng of torch": lambda objects: torch.get_rng_state().tolist(),
    "rng of numpy": lambda objects: pickle.dumps(numpy.random.get_state()),
    "rng of python": lambda objects: random.getstate(),
    "rng of cuda": lambda objects: [_bits(s) for s in torch.cuda.get_rng_state_all()]
    if torch.cuda.is_available() else [],
    "modes": _modes,
    "flags": _flags,
    "threads": lambda objects: torch.get_num_threads(),
    "scaler": lambda objects: objects.scaler and objects.scaler.state_dict(),
    "scheduler": lambda objects: objects.scheduler and pickle.dumps(objects.scheduler.state_dict()),
    "loader": _loader,
    "environment": lambda objects: dict(os.environ),
    "folder": lambda objects: (os.getcwd(), sorted(os.listdir())),
    "limits": _limits,
    "signals": lambda objects: (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)),
    "warning filters": lambda objects: list(warnings.filters),
    "children": lambda objects: [child.pid for child in psutil.Process().children()],
    "python threads": lambda objects: threading.active_count(),
    "open files": lambda objects: len(os.listdir("/proc/self/fd"))
    if Path("/proc/self/fd").exists() else 0,
    "device memory": _device_memory,
}  # fmt: skip
