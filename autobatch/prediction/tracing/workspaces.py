"""Memory that operators take on a GPU beside their results, which no trace of operators shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autobatch.prediction.allocator.sizes import round_up
from autobatch.prediction.trace import Category, Reduction, Storage, Workspace

_aten = torch.ops.aten
_GEMMS = frozenset(
    {"mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "_addmm_activation"}
)
#: Operators that reduce, and may stage what several blocks of threads found.
SUMS = frozenset({"sum", "mean", "amax", "amin", "prod", "any", "all"})
# Since then the library for a product with a bias keeps a workspace of its own.
_KEEPS_LT = (2, 9)
_LT_BYTES = 2**20
# Channels that tensor cores multiply in float32's place (TF32) are a multiple of it (NVIDIA,
# Convolutional Layers User's Guide).
_FEWEST_CHANNELS = 4
_FLASH_BACKWARD = "_scaled_dot_product_flash_attention_backward"
_EFFICIENT_BACKWARD = "_scaled_dot_product_efficient_attention_backward"


class Workspaces:
    """What libraries and kernels take, operator by operator.

    Args:
        torch_version: The version that would run.
    """

    def __init__(self, torch_version: tuple[int, int]) -> None:
        self._torch_version = torch_version
        # A handle of cuBLAS belongs to a thread: the backward pass has one of its own.
        self._have_cublas: set[bool] = set()
        self._have_lt: set[bool] = set()

    def of(
        self, func: Any, args: Any, results: Sequence[torch.Tensor], is_backward: bool
    ) -> Iterator[tuple[Storage, bool]]:
        """What an operator takes beside its results, and whether it stays.

        Args:
            func: The operator.
            args: What it was called with.
            results: What it returned.
            is_backward: Whether it runs in the thread of the backward pass.
        """
        name = func.overloadpacket.__name__
        if name in _GEMMS:
            yield from self._of_product(name, args, is_backward)
        elif name in SUMS:
            reduction = describe_reduction(args, results[0])
            if reduction is not None:
                for workspace in (Workspace.REDUCTION, Workspace.SEMAPHORES):
                    yield _storage(name, workspace=workspace, reduction=reduction), False
        elif name == "convolution_backward":
            num_bytes = _weight_gradient_bytes(*args[:3], *args[4:10])
            if num_bytes and args[10][1]:  # the weight is trained
                yield _storage(name, num_bytes), False
        elif name == _FLASH_BACKWARD:
            batch, heads, length, width = args[1].shape
            rows = batch * heads * round_up(length, 128) * 4
            yield _storage(name, rows), False
            yield _storage(name, rows * round_up(width, 32)), False
        elif name == _EFFICIENT_BACKWARD:
            batch, heads, length, _ = args[1].shape
            yield _storage(name, batch * heads * length * 4), False

    def _of_product(
        self, name: str, args: Any, is_backward: bool
    ) -> Iterator[tuple[Storage, bool]]:
        if is_backward not in self._have_cublas:
            self._have_cublas.add(is_backward)
            yield _storage(name, workspace=Workspace.CUBLAS), True
        has_bias = name == "addmm" and args[0].dim() == 1
        if has_bias and is_backward not in self._have_lt and self._torch_version >= _KEEPS_LT:
            self._have_lt.add(is_backward)
            yield _storage(name, _LT_BYTES), True


def describe_reduction(args: Any, result: torch.Tensor) -> Reduction | None:
    """The sum that an operator computes, as the kernel sees it; ``None`` if there is none.

    Args:
        args: Of the operator: the input, and the dimensions to reduce.
        result: What it returned.
    """
    source = args[0]
    if not isinstance(source, torch.Tensor) or not source.numel() or not source.dim():
        return None
    dimensions = args[1] if len(args) > 1 and args[1] is not None else range(source.dim())
    if isinstance(dimensions, int):
        dimensions = [dimensions]
    if isinstance(dimensions, torch.dtype) or not [*dimensions]:
        dimensions = range(source.dim())
    reduced = {dimension % source.dim() for dimension in dimensions}
    groups = _merge_dimensions(source, reduced)
    if not groups or not any(is_reduced for is_reduced, _, _ in groups):
        return None
    is_inner, width, stride = groups[0]
    num_inputs = math.prod(size for is_reduced, size, _ in groups if is_reduced)
    if not is_inner:
        width, stride = next(
            ((size, stride) for is_reduced, size, stride in groups if not is_reduced), (1, 1)
        )
    return Reduction(
        num_outputs=source.numel() // num_inputs,
        num_inputs=num_inputs,
        width=width,
        is_inner=is_inner,
        is_contiguous=stride == 1,
        num_reduced_dimensions=sum(is_reduced for is_reduced, _, _ in groups),
        element_bytes=max(4, result.element_size()),
    )


def _merge_dimensions(source: torch.Tensor, reduced: set[int]) -> list[tuple[bool, int, int]]:
    """Dimensions from the fastest on, neighbours of one kind as one: kind, size and stride."""
    order = sorted(range(source.dim()), key=lambda dimension: source.stride(dimension))
    groups: list[tuple[bool, int, int]] = []
    for dimension in order:
        size, stride, is_reduced = (
            source.shape[dimension],
            source.stride(dimension),
            dimension in reduced,
        )
        if size == 1:
            continue
        if groups and groups[-1][0] == is_reduced and groups[-1][1] * groups[-1][2] == stride:
            groups[-1] = (is_reduced, groups[-1][1] * size, groups[-1][2])
        else:
            groups.append((is_reduced, size, stride))
    return groups


def _weight_gradient_bytes(
    gradient: torch.Tensor,
    source: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    is_transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> int:
    """Workspace of the gradient of a convolution's weight, where cuDNN takes much; else 0.

    That is for dense kernels of 3 x 3 in float32, without stride: Winograd's algorithm, not fused,
    transforms the input and the output's gradient as a whole, into a tile of 6 x 6 for each 4 x 4
    elements. On an A100 it is this product, and not the two others, that such networks need more
    memory for than their tensors. Images of three channels are too few rows for its matrices.
    """
    is_simple = not is_transposed and groups == 1 and {*stride, *dilation} == {1}
    is_dense = is_simple and weight.shape[2:] == (3, 3) and weight.shape[1] >= _FEWEST_CHANNELS
    if not is_dense or weight.dtype is not torch.float32:
        return 0
    num_tiles = gradient.shape[0] * math.prod(-(-size // 4) for size in gradient.shape[2:])
    return num_tiles * (source.shape[1] + gradient.shape[1]) * 36 * weight.element_size()


def _storage(
    operator: str,
    num_bytes: int = 0,
    *,
    workspace: Workspace | None = None,
    reduction: Reduction | None = None,
) -> Storage:
    return Storage(
        num_bytes=num_bytes,
        category=Category.WORKSPACE,
        module="",
        operator=operator,
        workspace=workspace,
        reduction=reduction,
    )
