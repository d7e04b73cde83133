"""The parts of a batch, however it is nested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from autobatch.workload.tensors import find_tensors


def split_batch(batch: Any, batch_size: int, num_parts: int) -> list[Any]:
    """Split a batch into parts of as many samples.

    A tensor is split along the first of its first two dimensions that is the batch size, and a list
    without such tensors by its elements; all else is in each part.

    Args:
        batch: As the loader collates it.
        batch_size: Its samples, a multiple of the parts.
        num_parts: How many.

    Returns:
        The parts; none if nothing in the batch could be split.
    """
    size = batch_size // num_parts
    parts = [
        _slice(batch, batch_size, slice(number * size, (number + 1) * size))
        for number in range(num_parts)
    ]
    return [] if any(each is batch for each in parts) else parts


def _slice(value: Any, batch_size: int, where: slice) -> Any:
    """The samples of a range; the value itself if it has none of the batch's samples."""
    if isinstance(value, torch.Tensor):
        dimension = _find_dimension(value, batch_size)
        if dimension is None:
            return value
        return value[where] if dimension == 0 else value[:, where]
    if isinstance(value, Mapping):
        return _rebuilt(
            value, {key: _slice(part, batch_size, where) for key, part in value.items()}
        )
    if isinstance(value, (list, tuple)):
        return _slice_sequence(value, batch_size, where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        new = {name: _slice(getattr(value, name), batch_size, where) for name in names}
        is_same = all(new[name] is getattr(value, name) for name in names)
        return value if is_same else dataclasses.replace(value, **new)
    return value


def _slice_sequence(value: Any, batch_size: int, where: slice) -> Any:
    dimensions = [_find_dimension(each, batch_size) for each in find_tensors(value)]
    if len(value) == batch_size and all(each is None for each in dimensions):
        return value[where]
    parts = [_slice(part, batch_size, where) for part in value]
    if all(new is old for new, old in zip(parts, value, strict=True)):
        return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _rebuilt(value: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    return value if all(parts[key] is value[key] for key in value) else parts


def _find_dimension(tensor: torch.Tensor, batch_size: int) -> int | None:
    shape = tuple(tensor.shape[:2])
    return shape.index(batch_size) if batch_size in shape else None
