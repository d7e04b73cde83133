"""The tensors in a batch or a sample, however it is nested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def find_tensors(batch: Any) -> list[torch.Tensor]:
    """All tensors in a batch, however it is nested."""
    return list(_walk_tensors(batch, set()))


def _walk_tensors(batch: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
        return
    if id(batch) in seen:  # it holds itself
        return
    seen.add(id(batch))
    if isinstance(batch, dict):
        parts = list(batch.values())
    elif isinstance(batch, (list, tuple)):
        parts = list(batch)
    else:
        parts = list(getattr(batch, "__dict__", {}).values())
    for part in parts:
        yield from _walk_tensors(part, seen)
