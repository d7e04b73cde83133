"""Whether the size that a command was given reached its training.

The batches of the training loader say so. Without a loader the shapes do that reach the outermost
module: some dimension must be proportional to what was passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from autobatch.command.events import Event

#: A dimension of a module's input: the module, the tensor among its inputs, and the dimension.
Position: TypeAlias = tuple[str, int, int]
_MEANINGLESS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a run at one size was seen to train with.

    Attributes:
        batch_size: Samples of a batch of the training loader; ``None`` without one.
        dimensions: Dimensions of what the outermost modules were given.
    """

    batch_size: int | None
    dimensions: dict[Position, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What runs at several sizes say.

    Attributes:
        has_effect: ``None`` while that cannot be told.
        trained: The batch size that was trained with, whatever was passed, if it had none.
        ratio: Samples of a batch over the size that was passed.
    """

    has_effect: bool | None
    trained: int | None = None
    ratio: float = 1.0


def observe(batch_size: int | None, modules: Iterable[Event]) -> Observation:
    """Gather what a run trained with.

    Args:
        batch_size: Samples of a batch of the training loader; ``None`` without one.
        modules: The events of outermost modules.
    """
    dimensions: dict[Position, int] = {}
    for _, name, *_, shapes in modules:
        for index, shape in enumerate(shapes):
            for dimension, size in enumerate(shape):
                dimensions.setdefault((name, index, dimension), size)
    return Observation(batch_size=batch_size, dimensions=dimensions)


def judge(seen: dict[int, Observation]) -> Verdict:
    """Say whether sizes had an effect.

    Args:
        seen: What was trained with, by the size that was passed.
    """
    batch_sizes = {size: each.batch_size for size, each in seen.items()}
    if all(each is not None for each in batch_sizes.values()):
        return _judge_batches({size: each or 0 for size, each in batch_sizes.items()})
    return _judge_dimensions(seen)


def _judge_batches(batch_sizes: dict[int, int]) -> Verdict:
    smallest = min(batch_sizes)
    trained = batch_sizes[smallest]
    ratio = trained / smallest
    if len(batch_sizes) == 1:
        return Verdict(has_effect=True if ratio == 1 else None, ratio=ratio)
    if len(set(batch_sizes.values())) > 1:
        return Verdict(has_effect=True, ratio=ratio)
    # Alike for two sizes: it may be the most that the script trains with at once. For three that
    # differ by more than that, the size has no effect.
    is_plain = len(batch_sizes) == 2 and ratio == 1
    return Verdict(has_effect=None if is_plain else False, trained=trained)


def _judge_dimensions(seen: dict[int, Observation]) -> Verdict:
    (first_size, first), *others = sorted(seen.items())
    following = {
        place for place, size in first.dimensions.items() if size % first_size == 0 and size > 0
    }
    if not others:
        is_plain = first_size > _MEANINGLESS and first_size in first.dimensions.values()
        return Verdict(has_effect=True if is_plain else None)
    for size, each in others:
        following = {
            place
            for place in following
            if each.dimensions.get(place, 0) * first_size == first.dimensions[place] * size
        }
    if not first.dimensions:
        return Verdict(has_effect=None)
    return Verdict(has_effect=bool(following))
