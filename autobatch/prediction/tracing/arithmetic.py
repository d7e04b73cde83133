"""What an operator computes and moves, from its arguments and results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from autobatch.cards.peaks import Units
from autobatch.prediction.tracing.workspaces import SUMS
from autobatch.prediction.work import Operation, WorkKind

_DEVICE = "cuda"
_HALF = (torch.float16, torch.bfloat16)
_CONVOLUTIONS = ("convolution", "convolution_backward")
_REDUCTIONS = SUMS | {"max", "min", "cumsum", "nll_loss_forward"}
_REDUCING = ("norm", "softmax", "pool", "var", "argm")
_COPIES = frozenset(
    {"_to_copy", "clone", "copy_", "cat", "stack", "constant_pad_nd", "roll", "index", "repeat"}
)
# They allocate, or show what is there in another shape.
_NOTHING = frozenset({"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty"})


def describe_operation(
    func: Any, args: Any, kwargs: dict[str, Any], result: Any, *, is_update: bool
) -> Operation | None:
    """What an operator on ``cuda`` computes; ``None`` if it computes and moves nothing there.

    Args:
        func: The operator.
        args: What it was called with.
        kwargs: The same by name.
        result: What it returned.
        is_update: Whether the optimizer called it.
    """
    name = func.overloadpacket.__name__
    if func.is_view or name in _NOTHING:
        return None
    tensors = [*_find_tensors((args, [*kwargs.values()], result))]
    if not tensors:
        return None
    kind = WorkKind.OPTIMIZER if is_update else _kind_of(func, name, args)
    num_flops = 0
    if name in _CONVOLUTIONS:
        num_flops = _count_convolution_flops(name, args, result)
    elif kind is WorkKind.PRODUCT:
        num_flops = int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=result))
    return Operation(
        kind=kind,
        units=_units_of(tensors, name in _CONVOLUTIONS),
        num_flops=num_flops,
        num_bytes=sum(each.numel() * each.element_size() for each in tensors),
    )


def _count_convolution_flops(name: str, args: Any, result: Any) -> int:
    """Multiplications and additions of a convolution, or of its gradients.

    Each gradient takes as many as the forward pass. PyTorch's own counter takes ``groups`` times as
    many for that of a grouped weight (``torch.utils.flop_counter.conv_backward_flop``, 2.13).

    Args:
        name: ``convolution`` or ``convolution_backward``.
        args: Of the operator.
        result: Of the operator.
    """
    if name == "convolution":
        (data, weight), is_transposed, output = args[:2], args[6], result
        passes = 1
    else:
        output, data, weight = args[:3]
        is_transposed, passes = args[7], sum(args[10][:2])
    positions = data if is_transposed else output
    return int(2 * passes * positions.numel() * math.prod(weight.shape[1:]))


def _find_tensors(value: Any) -> Iterator[torch.Tensor]:
    # Operators take nothing deeper than lists: PyTorch's own walk takes many times as long.
    if isinstance(value, torch.Tensor):
        if value.device.type == _DEVICE:
            yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _find_tensors(each)


def _kind_of(func: Any, name: str, args: Any) -> WorkKind:
    if name in _CONVOLUTIONS:
        is_forward = name == "convolution"
        groups, weight = (args[8], args[1]) if is_forward else (args[9], args[2])
        if groups == 1:
            return WorkKind.CONVOLUTION if is_forward else WorkKind.CONVOLUTION_GRADIENT
        if weight.shape[1] == 1:
            return WorkKind.DEPTHWISE
        return WorkKind.GROUPED if is_forward else WorkKind.GROUPED_GRADIENT
    if func.overloadpacket in flop_registry:
        return WorkKind.PRODUCT
    if name in _REDUCTIONS or any(part in name for part in _REDUCING):
        return WorkKind.REDUCTION
    return WorkKind.COPY if name in _COPIES else WorkKind.POINTWISE


def _units_of(tensors: Sequence[torch.Tensor], is_convolution: bool) -> Units:
    if any(each.dtype in _HALF for each in tensors):
        return Units.HALF
    allowed = torch.backends.cudnn if is_convolution else torch.backends.cuda.matmul
    return Units.TF32 if allowed.allow_tf32 else Units.SINGLE
