"""Batches of any size along another axis than the batch: longer sequences, larger images, tokens.

sequence_length, image_size    one batch of the workload, repeated or cut along that dimension
tokens                         samples of the dataset one after the other, the last one cut,
                               flattened by the user's collate function
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any

import torch

from autobatch.errors import WorkloadError
from autobatch.records import Axis, Settings
from autobatch.units import format_count
from autobatch.workload.batches import BatchSource, FunctionSource, LoaderSource
from autobatch.workload.contract import Workload
from autobatch.workload.repeated import RepeatedSource
from autobatch.workload.tensors import find_tensors, map_parts

_TOKENS_KEY = "input_ids"


def along_axis(
    workload: Workload, source: BatchSource, settings: Settings
) -> tuple[Workload, BatchSource]:
    """The same training on batches that grow along the axis of the settings.

    Args:
        workload: What is trained.
        source: Where its batches come from.
        settings: Say what grows, and how many samples are in a batch.

    Returns:
        The workload without what it says of batch sizes, and the source.

    Raises:
        WorkloadError: If its data cannot grow that way.
    """
    if settings.axis is Axis.BATCH_SIZE:
        return workload, source
    workload = replace(
        workload, train_loader=None, dataset=None, batch_size=None, dataset_size=None
    )
    if settings.axis is not Axis.TOKENS:
        return workload, _stretched(source, settings)
    if isinstance(source, LoaderSource):
        return workload, PackedSource(source)
    if isinstance(source, FunctionSource):  # which is called with the tokens
        return workload, source
    raise WorkloadError(
        f"`axis=tokens` packs samples of a dataset, and the data is: {source.description}",
        hint="use `axis=sequence_length` with `batch_size=1`: a packed batch is one long sequence",
    )


def count_positions(model: Any) -> int | None:
    """The longest sequence that a model of Transformers has positions for.

    Returns:
        ``None`` if its configuration does not say.
    """
    find_text_config = getattr(getattr(model, "config", None), "get_text_config", None)
    config = find_text_config() if callable(find_text_config) else None
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            # RoBERTa and its kin count positions from behind the padding token.
            return min(limit, int(module.num_embeddings) - int(padding) - 1)
    return limit


class PackedSource(RepeatedSource):
    """Batches of exactly so many tokens, packed from the samples of a dataset.

    Args:
        source: Has the samples, and the collate function that joins them.

    Raises:
        WorkloadError: If it has no collate function.
    """

    def __init__(self, source: LoaderSource) -> None:
        collate = source.options.get("collate_fn")
        if collate is None:
            raise WorkloadError(
                "`axis=tokens` needs a collate function that joins samples, and there is none for "
                f"{source.description}",
                hint="give collate_fn, such as transformers.DataCollatorWithFlattening()",
            )
        self._collate: Callable[[list[Any]], Any] = collate
        self._samples = source.with_options(collate_fn=itemgetter(0), num_workers=0)
        super().__init__(lambda size: next(self.batches(size)), f"{source.description}, packed")

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Endlessly many batches of exactly so many tokens."""
        samples = self._samples.batches(1)
        while True:
            parts, left = [], batch_size
            while left:
                sample, num_tokens = _cut(next(samples), left)
                parts.append(sample)
                left -= num_tokens
            batch = self._collate(parts)
            _require_flat(batch, len(parts), batch_size)
            yield batch


def _cut(sample: Any, most: int) -> tuple[dict[Any, Any], int]:
    """A sample with at most so many tokens, and how many it has."""
    tokens = sample.get(_TOKENS_KEY) if isinstance(sample, Mapping) else None
    if tokens is None or len(tokens) == 0:
        raise WorkloadError(
            f"`axis=tokens` needs samples with {_TOKENS_KEY!r}, and one is a "
            f"{type(sample).__name__} without tokens",
            hint="search for `axis=batch_size`, or give a function batch(num_tokens)",
        )
    num = len(tokens)
    cut = {
        key: value[:most] if hasattr(value, "__getitem__") and _count(value) == num else value
        for key, value in sample.items()
    }
    return cut, min(num, most)


def _count(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:  # a number, or a tensor of one
        return None


def _require_flat(batch: Any, num_samples: int, num_tokens: int) -> None:
    tokens = batch.get(_TOKENS_KEY) if hasattr(batch, "get") else None
    shape = tuple(getattr(tokens, "shape", ()))
    if shape not in ((1, num_tokens), (num_tokens,)):
        raise WorkloadError(
            f"`axis=tokens`: the collate function makes {_TOKENS_KEY} of shape {shape} of "
            f"{num_samples} samples with {num_tokens} tokens: it does not join them",
            hint="use transformers.DataCollatorWithFlattening(), or `axis=sequence_length`",
        )


def _stretched(source: BatchSource, settings: Settings) -> RepeatedSource:
    num, axis = settings.batch_size or 1, settings.axis
    if isinstance(source, LoaderSource):  # one batch of it needs no workers
        source = source.with_options(num_workers=0)

    def make_batch(size: int) -> Any:
        batch = next(source.batches(num))
        tensors = [each for each in find_tensors(batch) if each.shape[:1] == (num,)]
        found = _find_sequence(tensors) if axis is Axis.SEQUENCE_LENGTH else _find_image(tensors)
        if found is None:
            raise _nothing_grows(settings, batch)

        def resize(part: Any) -> Any:
            return _resize(part, found, size) if isinstance(part, torch.Tensor) else None

        return map_parts(batch, resize)

    how = f"{format_count(num)} in a batch, repeated or cut to each {settings.along.noun}"
    return RepeatedSource(make_batch, f"{source.description}; {how}")


def _find_sequence(tensors: list[torch.Tensor]) -> tuple[int, ...] | None:
    """The length of the sequences in a batch: that of its tokens, if it has any."""
    long = [each for each in tensors if each.dim() > 1]
    tokens = [each for each in long if not each.is_floating_point()]
    return next(((each.shape[1],) for each in tokens or long), None)


def _find_image(tensors: list[torch.Tensor]) -> tuple[int, ...] | None:
    """Height and width of the images in a batch of samples x channels x height x width."""
    return next((tuple(each.shape[-2:]) for each in tensors if each.dim() == 4), None)


def _resize(tensor: torch.Tensor, was: tuple[int, ...], size: int) -> torch.Tensor:
    """Repeat or cut the dimensions of a tensor that are as long as those that grow.

    Args:
        tensor: Any tensor of a batch.
        was: The length of a sequence, or the height and width of an image.
        size: What they become.
    """
    last = tuple(range(tensor.dim()))[-2:]
    grow: tuple[int, ...] = ()
    if tensor.dim() > 2 and tuple(tensor.shape[-2:]) == (was[0], was[-1]):
        grow = last  # an image, or a mask with a row for each token
    elif len(was) == 1 and tensor.dim() > 1 and tensor.shape[1] == was[0]:
        grow = (1,)
    for dim in grow:
        index = torch.arange(size, device=tensor.device) % tensor.shape[dim]
        tensor = tensor.index_select(dim, index)
    return tensor


def _nothing_grows(settings: Settings, batch: Any) -> WorkloadError:
    shapes = ", ".join(str(tuple(each.shape)) for each in find_tensors(batch)) or "no tensors"
    num, is_sequence = settings.batch_size, settings.axis is Axis.SEQUENCE_LENGTH
    what = f"{num} x length" if is_sequence else f"{num} x channels x height x width"
    return WorkloadError(
        f"`axis={settings.axis.value}` needs a tensor of {what} in the batch, which has {shapes}",
        hint="search along an axis that the data has",
    )
