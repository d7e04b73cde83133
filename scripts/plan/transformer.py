"""The transformer of the recorded traces, rebuilt from the words in their metadata.

Words leave some of it open, such as whether cosines are looked up by position. ``Variant`` names
what is left; the number of allocations in the recording says which one ran.
"""

# ruff: noqa: D102 - every module has a forward

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What the words leave open.

    Attributes:
        looks_up_positions: Whether cosines and sines are gathered by position, or sliced.
        keeps_embedding: Whether the embedded tokens have a variable of their own.
    """

    looks_up_positions: bool
    keeps_embedding: bool


VARIANTS = (
    Variant(looks_up_positions=True, keeps_embedding=False),
    Variant(looks_up_positions=False, keeps_embedding=True),
)


class Linear(nn.Module):
    """A product by ``einsum``, without bias."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_outputs, num_inputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("...i,oi->...o", x, self.weight)


class Embedding(nn.Module):
    """Rows of a table, by indexing."""

    def __init__(self, num_rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.weight[tokens, :]


class RMSNorm(nn.Module):
    """Root mean square norm, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = x.dtype
        x = x.to(torch.float32)
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        x = x * scale
        return (self.weight * x).to(dtype)


class Rotary(nn.Module):
    """Rotary positions from a table of cosines and sines."""

    def __init__(self, context: int, width: int, variant: Variant) -> None:
        super().__init__()
        self._looks_up = variant.looks_up_positions
        self.register_buffer("table", torch.empty(2, context, width // 2), persistent=False)

    def forward(self, x: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        first, second = x[..., 0::2], x[..., 1::2]
        if self._looks_up:
            cosine, sine = self.table[:, positions, :]
        else:
            cosine, sine = self.table[:, : x.shape[-2], :]
        turned = cosine * first - sine * second
        other = sine * first + cosine * second
        return torch.stack((turned, other), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Causal attention, written out."""

    def __init__(self, width: int, heads: int, rotary: Rotary, variant: Variant) -> None:
        super().__init__()
        self._heads = heads
        self._looks_up = variant.looks_up_positions
        self.query, self.key, self.value, self.output = (Linear(width, width) for _ in range(4))
        self.rotary = rotary

    def forward(self, x: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        batch, length, _ = x.shape
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key, value = (
            each.view(batch, length, self._heads, -1).transpose(1, 2)
            for each in (query, key, value)
        )
        if self._looks_up:
            positions = torch.arange(length, device=x.device)
        query = self.rotary(query, positions)
        key = self.rotary(key, positions)
        order = torch.arange(length, device=x.device)
        mask = order[:, None] >= order[None, :]
        attended = attend(query, key, value, mask)
        attended = attended.transpose(1, 2).contiguous().view(batch, length, -1)
        return self.output(attended)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Scores, mask, softmax, weighted sum."""
    scores = torch.einsum("...qd,...kd->...qk", query, key) / math.sqrt(key.shape[-1])
    scores = torch.where(mask, scores, float("-inf"))
    weights = softmax(scores)
    return torch.einsum("...qk,...kd->...qd", weights, value)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Exponentials over their sum."""
    shifted = x - torch.max(x, dim=-1, keepdim=True)[0]
    exponentials = torch.exp(shifted)
    return exponentials / torch.sum(exponentials, dim=-1, keepdim=True)


def silu(x: torch.Tensor) -> torch.Tensor:
    """The activation, written out."""
    return x * torch.sigmoid(x)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first = Linear(width, inner)
        self.second = Linear(inner, width)
        self.third = Linear(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(silu(self.first(x)) * self.third(x))


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(
        self, width: int, inner: int, heads: int, rotary: Rotary, variant: Variant
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, rotary, variant)
        self.feed_forward = FeedForward(width, inner)
        self.norm_of_attention = RMSNorm(width)
        self.norm_of_feed_forward = RMSNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended = self.attention(self.norm_of_attention(x))
        between = x + attended
        fed = self.feed_forward(self.norm_of_feed_forward(between))
        return between + fed


class Transformer(nn.Module):
    """The decoder.

    Args:
        words: ``workload`` of a recorded trace.
        variant: What the words leave open.
    """

    def __init__(self, words: dict[str, Any], variant: Variant) -> None:
        super().__init__()
        width, heads = words["d_model"], words["heads"]
        context = words.get("max_context", words["context"])
        rotary = Rotary(context, width // heads, variant)
        self._keeps_embedding = variant.keeps_embedding
        self.embedding = Embedding(words["vocab"], width)
        self.blocks = nn.ModuleList(
            Block(width, words["d_ff"], heads, rotary, variant) for _ in range(words["layers"])
        )
        self.norm = RMSNorm(width)
        self.head = Linear(width, words["vocab"])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        embedded = x if self._keeps_embedding else None  # noqa: F841 - lives until the end
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x)
