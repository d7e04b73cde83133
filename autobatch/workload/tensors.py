"""The tensors in a batch or a sample, however it is nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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


def map_parts(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The same batch with other parts, however it is nested; mappings become dicts.

    Args:
        batch: The batch.
        change: Gives what takes the place of a part; ``None`` to go on with what is in the part.
    """
    changed = change(batch)
    if changed is not None:
        return changed
    inside = partial(map_parts, change=change)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(inside, batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map(inside, batch))
    if isinstance(batch, Mapping):
        return {key: inside(part) for key, part in batch.items()}
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch) if field.init]
        return dataclasses.replace(batch, **{name: inside(getattr(batch, name)) for name in names})
    return batch
