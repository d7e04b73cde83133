"""A model that was made on the CPU, and then stands on a GPU that is not here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.prediction.trace import Category
from autobatch.prediction.tracing.recorder import Recorder, is_dense


def skip_initialisers() -> None:
    """Have the functions of ``torch.nn.init`` leave weights as they are, in this process.

    The memory of a new tensor is only taken once it is written to. A model whose weights are never
    written takes seconds and almost no memory, whatever its size.
    """
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            setattr(nn.init, name, _leave)


def _leave(tensor: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
    return tensor


def shed_weights(module: nn.Module) -> None:
    """Give the memory of a module's parameters back, which a trace has no use for.

    A process can only be forked where there is as much memory as it could still write to.
    """
    for parameter in module.parameters():
        outline = torch.empty_strided(
            parameter.shape, _strides_of(parameter), dtype=parameter.dtype, device="meta"
        )
        _swap_in(parameter, nn.Parameter(outline, requires_grad=False))


def place(module: nn.Module, recorder: Recorder) -> None:
    """Move a module to ``cuda`` in the order of ``module.to("cuda")``: children first.

    Parameters stay the same objects, so that optimizers, tied weights and whatever else refers to
    them follow. Buffers do not, as ever.

    Args:
        module: On the CPU; the fake mode is on.
        recorder: Records the allocations.
    """
    for path, part in _children_first(module, ""):
        for parameter in part._parameters.values():
            if parameter is None or parameter.device.type == "cuda":
                continue
            with recorder.allocating(Category.PARAMETER, path):
                _swap_in(parameter, empty_on_cuda(parameter))
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.device.type != "cuda":
                with recorder.allocating(Category.BUFFER, path):
                    part._buffers[name] = empty_on_cuda(buffer)


def _children_first(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        yield from _children_first(child, f"{path}.{name}" if path else name)
    yield path, module


def empty_on_cuda(tensor: torch.Tensor) -> torch.Tensor:
    """A fake tensor on ``cuda`` as ``tensor.to("cuda")`` would make it."""
    return torch.empty_strided(tensor.shape, _strides_of(tensor), dtype=tensor.dtype, device="cuda")


def _strides_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """Strides of a copy."""
    if is_dense(tensor):
        return tensor.stride()
    return torch.empty(tensor.shape, device="meta").stride()


def _swap_in(parameter: nn.Parameter, fake: torch.Tensor) -> None:
    """Make a parameter a fake one, with all that it has beside its values.

    Raises:
        WorkloadError: If something else holds its values.
    """
    parameter.grad = None
    attributes = dict(vars(parameter))
    changed: Any = parameter
    hooks, later = changed._backward_hooks, changed._post_accumulate_grad_hooks
    fake.requires_grad_(parameter.requires_grad)
    try:
        torch.utils.swap_tensors(parameter, fake)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise WorkloadError(
            f"a parameter of shape {tuple(parameter.shape)} cannot be moved to a GPU that is not "
            f"here: {error}",
            hint="make the model without running it, so that nothing holds its values",
        ) from error
    changed._is_param = True
    for name, value in attributes.items():
        if name not in vars(changed):
            setattr(changed, name, value)
    # The Python object still has them, and the tensor behind it has to be told.
    changed._backward_hooks, changed._post_accumulate_grad_hooks = hooks, later
