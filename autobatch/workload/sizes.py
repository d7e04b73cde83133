"""By what a sample can be large: the numbers in each of its parts, and the dimensions of those.

(image of 3 x 640 x 480, {"boxes": 7 x 4})

    counts    sample[0]: 921600    boxes: 28
    extents   sample[0].shape[1]: 640, sample[0].shape[2]: 480, boxes.shape[0]: 7 ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

_NUMBERS = (int, float)


class SampleSizes:
    """The sizes of a sample, however it is nested.

    A part is named by the nearest key or attribute, or by its place in a tuple; parts of one name
    are added up.

    Attributes:
        counts: Numbers, characters or tokens in each part.
        extents: The dimensions of its tensors and images, where it has several: the greatest.

    Args:
        sample: As the dataset returns it.
    """

    def __init__(self, sample: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.extents: dict[str, int] = {}
        self._within: set[int] = set()
        if isinstance(sample, tuple) and len(sample) > 1:
            for place, part in enumerate(sample):
                self._add(f"sample[{place}]", part)
        else:
            self._add("sample", sample)

    @property
    def total(self) -> int:
        """Numbers in the whole sample, at least 1."""
        return self.counts.total() or 1

    def _add(self, name: str, value: Any) -> None:
        shape = _find_shape(value)
        if shape is not None:
            self.counts[name] += math.prod(shape)
            if len(shape) > 1:
                for place, extent in enumerate(shape):
                    key = f"{name}.shape[{place}]"
                    self.extents[key] = max(self.extents.get(key, 0), extent)
        elif isinstance(value, (str, bytes)):
            self.counts[name] += len(value)
        elif isinstance(value, (list, tuple)) and all(type(part) in _NUMBERS for part in value):
            self.counts[name] += len(value)  # as below, and quicker
        elif id(value) not in self._within:  # else it holds itself
            self._within.add(id(value))
            for key, part in _list_parts(name, value):
                self._add(key, part)
            self._within.discard(id(value))


def _list_parts(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The parts of a value with their names; one number of what has none."""
    if isinstance(value, Mapping):
        return ((str(key), part) for key, part in value.items())
    if isinstance(value, (list, tuple, set)):
        return ((name, part) for part in value)
    return getattr(value, "__dict__", {}).items() or [(name, (1,))]


def _find_shape(value: Any) -> tuple[int, ...] | None:
    """Of a tensor, an array or an image of PIL's; ``None`` of anything else."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(each, int) for each in shape):
        return shape
    size = getattr(value, "size", None)
    return size[::-1] if isinstance(size, tuple) and len(size) == 2 else None
