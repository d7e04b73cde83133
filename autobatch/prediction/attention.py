"""Which kernel ``scaled_dot_product_attention`` takes on a card, and so what memory it needs.

Rules of ``aten/src/ATen/native/transformers/cuda/sdp_utils.cpp``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: The first release that prefers cuDNN on data centre cards, with the cuDNN that it ships.
_PREFERS_CUDNN = (2, 11)
_HALVES = ("float16", "bfloat16")


class AttentionKernel(Enum):
    """A kernel of attention, by the name of PyTorch's backend."""

    CUDNN = "cudnn"
    FLASH = "flash"
    EFFICIENT = "efficient"
    MATH = "math"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCall:
    """One call, as far as the choice depends on it.

    Attributes:
        dtype: Of query, key and value, in autocast's precision, such as ``bfloat16``.
        num_dimensions: Of the query.
        query_length: Tokens that ask.
        key_length: Tokens that are asked.
        query_width: Size of a head of query and key.
        value_width: Size of a head of the value.
        has_mask: Whether there is one.
        is_causal: Whether later tokens are hidden.
        dropout: Probability.
        needs_gradient: Whether it is differentiated.
        has_same_types: Whether query, key and value have one type and one head size of key.
        is_packed: Whether the last dimension of each has stride 1.
    """

    dtype: str
    num_dimensions: int
    query_length: int
    key_length: int
    query_width: int
    value_width: int
    has_mask: bool = False
    is_causal: bool = False
    dropout: float = 0.0
    needs_gradient: bool = True
    has_same_types: bool = True
    is_packed: bool = True


def choose_kernel(
    call: AttentionCall, capability: tuple[int, int], torch_version: tuple[int, int]
) -> AttentionKernel:
    """The kernel that a call takes on a card.

    Args:
        call: The call.
        capability: The card's compute capability.
        torch_version: Major and minor number.
    """
    is_usual = call.num_dimensions == 4 and call.has_same_types and call.is_packed
    if not is_usual or 0 in (call.query_length, call.key_length):
        return AttentionKernel.MATH
    prefers_cudnn = capability[0] in (9, 10) and torch_version >= _PREFERS_CUDNN
    if prefers_cudnn and _allows_cudnn(call):
        return AttentionKernel.CUDNN
    if _allows_flash(call, capability):
        return AttentionKernel.FLASH
    if _allows_efficient(call, capability):
        return AttentionKernel.EFFICIENT
    return AttentionKernel.MATH


def _allows_cudnn(call: AttentionCall) -> bool:
    widths = (call.query_width, call.value_width)
    if call.dtype not in _HALVES or any(width % 8 or width > 128 for width in widths):
        return False
    if call.dropout and call.query_length == 1:
        return False
    # cuDNN resolves dropout to a sixteenth.
    return call.key_length != 1 and (call.dropout * 16).is_integer()


def _allows_flash(call: AttentionCall, capability: tuple[int, int]) -> bool:
    if capability < (8, 0) or call.dtype not in _HALVES or call.has_mask:
        return False
    if call.query_width != call.value_width or call.query_width > 256:
        return False
    is_consumer = (8, 6) <= capability <= (8, 9) or capability[0] == 12
    if call.needs_gradient and is_consumer and call.query_width > 192:
        return not call.dropout and call.query_width > 224
    return not call.is_causal or call.query_length == call.key_length


def _allows_efficient(call: AttentionCall, capability: tuple[int, int]) -> bool:
    if call.dtype not in (*_HALVES, "float32"):
        return False
    if call.dtype == "bfloat16" and capability < (8, 0):
        return False
    alignment, since = (8, (7, 0)) if call.dtype in _HALVES else (4, (8, 0))
    return capability < since or not (call.query_width % alignment or call.value_width % alignment)
