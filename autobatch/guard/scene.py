"""What the frames of a traceback tell of a training: its model, its optimizer, what was running."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn
from torch.autograd import graph

from autobatch.workload.tensors import find_tensors

_CALL = nn.Module._call_impl.__code__
_BACKWARD = graph._engine_run_backward.__code__


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A training as it was when an exception left it.

    Attributes:
        model: The largest module seen.
        optimizer: The optimizer of its parameters.
        stepping: The optimizer whose step was running.
        is_backward: Whether a backward pass was running.
        running: The innermost module that was called.
        arguments: What it was called with: positional and by name.
        batch_size: First dimension of all inputs, if it is the same.
    """

    model: nn.Module | None
    optimizer: torch.optim.Optimizer | None
    stepping: torch.optim.Optimizer | None
    is_backward: bool
    running: nn.Module | None
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    batch_size: int | None

    def name_of(self, module: nn.Module) -> str:
        """``layers.2 (Linear)``: the name of a module in the model, and its kind."""
        names = {} if self.model is None else {id(m): n for n, m in self.model.named_modules()}
        name, kind = names.get(id(module)), type(module).__name__
        return f"{name} ({kind})" if name else kind

    def name_parameter_of(self, num_bytes: int) -> str | None:
        """The only parameter that has as many bytes, with its shape."""
        named = () if self.model is None else self.model.named_parameters()
        alike = [(name, each) for name, each in named if each.nbytes == num_bytes]
        return f"{alike[0][0]}, {describe(alike[0][1])}" if len(alike) == 1 else None


def describe(tensor: torch.Tensor) -> str:
    """``32x3x224x224 float32``."""
    shape = "x".join(str(size) for size in tensor.shape) or "scalar"
    return f"{shape} {str(tensor.dtype).removeprefix('torch.')}"


def read_scene(tracebacks: Iterable[TracebackType | None]) -> Scene:
    """Look through the frames of tracebacks.

    Args:
        tracebacks: That of the exception that arrived, and of the one that led to it.
    """
    frames = [frame for each in tracebacks for frame in _frames(each)]
    objects = [each for frame in frames for each in _objects(frame)]
    calls = [_locals(frame) for frame in frames if frame.f_code is _CALL]
    modules = [each for each in objects if isinstance(each, nn.Module)]
    model = max(modules, key=_count_parameters, default=None)
    optimizers = [each for each in objects if isinstance(each, torch.optim.Optimizer)]
    is_backward = any(frame.f_code is _BACKWARD for frame in frames)
    if calls:
        inputs = find_tensors((calls[0]["args"], calls[0]["kwargs"]))
    else:
        inputs = _tensors_beside(frames) if is_backward else []
    return Scene(
        model=model,
        optimizer=_find_optimizer(model, optimizers),
        stepping=_find_stepping(frames),
        is_backward=is_backward,
        running=calls[-1]["self"] if calls else None,
        arguments=(calls[-1]["args"], calls[-1]["kwargs"]) if calls else ((), {}),
        batch_size=_first_dimension(inputs),
    )


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _locals(frame: FrameType) -> dict[str, Any]:
    """Variables of a frame, without keeping them alive in it."""
    shown = frame.f_locals
    copied = dict(shown)
    # Until Python 3.13 a running function's frame keeps what it has shown.
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        shown.clear()
    return copied


def _objects(frame: FrameType) -> Iterator[Any]:
    """What a frame names, and what is an attribute of that."""
    used = (frame.f_globals.get(name) for name in frame.f_code.co_names)
    for each in (*_locals(frame).values(), *used):
        yield each
        is_holder = not (isinstance(each, (nn.Module, type)) or inspect.ismodule(each))
        if is_holder and isinstance(getattr(each, "__dict__", None), dict):
            yield from list(vars(each).values())


def _find_stepping(frames: list[FrameType]) -> torch.optim.Optimizer | None:
    """The optimizer whose own code was running, not a closure that computes the loss."""
    for frame in reversed(frames):
        if frame.f_code.co_name == "step":
            each = _locals(frame).get("self")
            if isinstance(each, torch.optim.Optimizer):
                return each
        if frame.f_code in (_CALL, _BACKWARD) or not _is_torchs(frame):
            return None
    return None


def _is_torchs(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("torch.")


def _find_optimizer(
    model: nn.Module | None, optimizers: list[torch.optim.Optimizer]
) -> torch.optim.Optimizer | None:
    """The one that has the model's parameters, however they are wrapped."""
    own = set() if model is None else {id(each) for each in model.parameters()}
    for each in optimizers:
        if any(id(p) in own for group in each.param_groups for p in group["params"]):
            return each
    return None


def _tensors_beside(frames: list[FrameType]) -> list[torch.Tensor]:
    """Tensors in the innermost frame that is not PyTorch's own."""
    for frame in reversed(frames):
        if not _is_torchs(frame):
            values = [
                v
                for v in _locals(frame).values()
                if isinstance(v, (torch.Tensor, list, tuple, dict))
            ]
            return [each for each in find_tensors(values) if not isinstance(each, nn.Parameter)]
    return []


def _first_dimension(tensors: list[torch.Tensor]) -> int | None:
    sizes = {each.shape[0] for each in tensors if each.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def _count_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())
