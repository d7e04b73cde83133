"""Attention as a GPU would run it: the operator that PyTorch picks there, called by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from autobatch.prediction.attention import AttentionCall, AttentionKernel, choose_kernel

_aten = torch.ops.aten
_ALIGNMENT_OF_MASK = 16
_ALIGNMENT_OF_FLASH = 8


class CudaAttention(TorchFunctionMode):
    """Replaces ``scaled_dot_product_attention`` on ``cuda`` by the kernel of a card.

    Args:
        capability: The card's compute capability.
        torch_version: Major and minor number of the version that would choose.
    """

    def __init__(self, capability: tuple[int, int], torch_version: tuple[int, int]) -> None:
        super().__init__()
        self._capability = capability
        self._torch_version = torch_version
        self._calls: dict[AttentionCall, None] = {}

    @property
    def calls(self) -> tuple[AttentionCall, ...]:
        """Each kind of call so far."""
        return tuple(self._calls)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, or the kernel in its place."""
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if query.device.type != "cuda":
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale,
                enable_gqa=enable_gqa,
            )  # fmt: skip
        query, key, value = map(_as_autocast_does, (query, key, value))
        if attn_mask is not None:
            attn_mask = _as_autocast_does(attn_mask)
        needs_gradient = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (query, key, value)
        )
        call = AttentionCall(
            dtype=str(query.dtype).removeprefix("torch."),
            num_dimensions=query.dim(),
            query_length=query.shape[-2],
            key_length=key.shape[-2],
            query_width=query.shape[-1],
            value_width=value.shape[-1],
            has_mask=attn_mask is not None,
            is_causal=is_causal,
            dropout=dropout_p,
            needs_gradient=needs_gradient,
            has_same_types=query.dtype == key.dtype == value.dtype
            and query.shape[-1] == key.shape[-1],
            is_packed=all(tensor.stride(-1) == 1 for tensor in (query, key, value)),
        )
        self._calls[call] = None
        kernel = choose_kernel(call, self._capability, self._torch_version)
        heads: tuple[torch.Tensor, ...] = (query, key, value)
        if kernel is AttentionKernel.FLASH:
            return _run_flash(query, key, value, dropout_p, is_causal, scale)
        if kernel is AttentionKernel.MATH:
            given: tuple[Any, ...] = (*heads, attn_mask, dropout_p, is_causal)
            return _first(
                _aten._scaled_dot_product_attention_math(*given, scale=scale, enable_gqa=enable_gqa)
            )
        if attn_mask is not None:
            attn_mask = _fit_mask(attn_mask, query, key)
        if kernel is AttentionKernel.CUDNN:
            given = (*heads, attn_mask, needs_gradient, dropout_p, is_causal, False)
            return _first(_aten._scaled_dot_product_cudnn_attention(*given, scale=scale))
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            heads = (query, *(each.repeat_interleave(times, -3) for each in (key, value)))
        given = (*heads, attn_mask, needs_gradient, dropout_p, is_causal)
        return _first(_aten._scaled_dot_product_efficient_attention(*given, scale=scale))


def _first(results: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return results[0]


def _run_flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    dropout: float,
    is_causal: bool,
    scale: float | None,
) -> torch.Tensor:
    """The kernel takes heads in multiples of eight; others are padded."""
    width = query.shape[-1]
    padding = -width % _ALIGNMENT_OF_FLASH
    if padding:
        scale = width**-0.5 if scale is None else scale
        query, key, value = (functional.pad(each, (0, padding)) for each in (query, key, value))
    given = (query, key, value, dropout, is_causal, False)
    output = _first(_aten._scaled_dot_product_flash_attention(*given, scale=scale))
    return output[..., :width] if padding else output


def _as_autocast_does(tensor: torch.Tensor) -> torch.Tensor:
    if torch.is_autocast_enabled("cuda") and tensor.dtype is torch.float32:
        return tensor.to(torch.get_autocast_dtype("cuda"))
    return tensor


def _fit_mask(mask: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The mask as numbers, aligned and expanded, as the kernel takes it."""
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, float("-inf"))
    padding = -mask.shape[-1] % _ALIGNMENT_OF_MASK
    length = mask.shape[-1]
    if padding:
        mask = functional.pad(mask, (0, padding))[..., :length]
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
