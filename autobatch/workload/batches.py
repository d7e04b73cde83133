"""Where batches come from: an endless stream of them at any batch size."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeAlias

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    TensorDataset,
    default_collate,
)

from autobatch.errors import WorkloadError
from autobatch.records import LengthScan
from autobatch.workload.contract import Workload
from autobatch.workload.lengths import (
    Length,
    ScannedLengths,
    fetch_samples,
    scan_lengths,
    with_padding,
)
from autobatch.workload.order import describe_shuffle, draw_lazily
from autobatch.workload.repeated import RepeatedSource
from autobatch.workload.synthetic import RandomBatches
from autobatch.workload.tensors import find_tensors

_COUNT_TIME_S = 1.0
KEPT_LOADER_OPTIONS = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
)
# ``DataLoader`` refuses them without workers.
_OPTIONS_OF_WORKERS = (
    "timeout",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
)

WorstBatches: TypeAlias = "list[tuple[str, Callable[[], Any]]]"


class BatchSource(Protocol):
    """Makes batches."""

    description: str
    """Where they come from, in a user's words."""

    dataset_size: int | None
    """Samples in an epoch, ``None`` if it cannot be told."""

    num_loader_workers: int
    """Processes that make batches; 0 if they are made in place."""

    lengths: LengthScan | None
    """How samples differ in length; ``None`` if they do not or nothing is known."""

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Endlessly many batches of exactly this size."""

    def worst_batch(self, batch_size: int, longest: int) -> Any:
        """Make a batch of the longest samples up to a length.

        Args:
            batch_size: Samples of the batch.
            longest: Greatest length allowed.

        Returns:
            The batch; ``None`` if all samples are alike.
        """

    def worst_batches(self, batch_size: int) -> WorstBatches:
        """The largest batches by each criterion in which samples differ; none if they do not.

        Args:
            batch_size: Samples of a batch.

        Returns:
            What each is the largest by, and a function that makes it.
        """


class LoaderSource:
    """Batches that a ``DataLoader`` collates from a dataset."""

    def __init__(
        self,
        dataset: Any,
        options: dict[str, Any],
        description: str,
        length: Length | None = None,
    ) -> None:
        self._dataset = dataset
        self._options = options
        self._length = length
        self._found: ScannedLengths | None = None
        self.lengths: LengthScan | None = None
        self.description = description
        self.dataset_size = _count_samples(_drawn_from(dataset, options.get("sampler")))
        self.num_loader_workers = int(options.get("num_workers", 0))
        if self.dataset_size == 0:
            raise WorkloadError("the dataset has 0 samples", hint="give one that has samples")

    def scan(self, seed: int) -> ScannedLengths | None:
        """Look for the largest samples, for a limited time.

        Args:
            seed: Of the order in which samples are looked at.

        Returns:
            What ``keep_lengths`` takes; ``None`` where there is nothing to look for.
        """
        are_alike = isinstance(self._dataset, TensorDataset) and self._length is None
        if isinstance(self._dataset, IterableDataset) or are_alike:
            return None
        found = scan_lengths(self._dataset, self._length, seed=seed)
        collate = self._options.get("collate_fn") or default_collate
        return with_padding(found, self._dataset, collate)

    def keep_lengths(self, found: ScannedLengths | None) -> None:
        """Use the result of a scan, made in this process or in another."""
        self._found = found
        self.lengths = None if found is None else found.scan

    def worst_batch(self, batch_size: int, longest: int) -> Any:
        """Collate the longest samples that the scan found."""
        if self._found is None or self.lengths is None or not self.lengths.differ:
            return None
        within = [index for index in self._found.longest if self._found.lengths[index] <= longest]
        return self._collate([*itertools.islice(itertools.cycle(within), batch_size)])

    def worst_batches(self, batch_size: int) -> WorstBatches:
        """Of the samples that the scan found."""
        found = self._found
        return [
            (name, partial(self._collate, indices))
            for name, indices in (found.list_worst(batch_size) if found else ())
        ]

    def _collate(self, indices: list[int]) -> Any:
        collate = self._options.get("collate_fn") or default_collate
        return collate(fetch_samples(self._dataset, indices))

    @property
    def dataset(self) -> Any:
        """The dataset itself."""
        return self._dataset

    @property
    def options(self) -> dict[str, Any]:
        """Options of the user's ``DataLoader`` that are kept; empty if there is none."""
        return dict(self._options)

    def with_options(self, **options: Any) -> LoaderSource:
        """The same batches, loaded in another way.

        Args:
            options: Of ``DataLoader``, over the user's own. Those that only workers understand
                are left out if there are none.
        """
        other = copy.copy(self)
        other._options = {**self._options, **options}
        other.num_loader_workers = int(other._options.get("num_workers", 0))
        if not other.num_loader_workers:
            for name in _OPTIONS_OF_WORKERS:
                other._options.pop(name, None)
        return other

    def loader_of(self, dataset: Any, batch_size: int, **options: Any) -> DataLoader[Any]:
        """A loader like the user's over other samples, its last, smaller batch included.

        Args:
            dataset: The samples, such as a part of this source's.
            batch_size: Samples of a batch.
            options: Of ``DataLoader``, over the user's own.
        """
        kept = {name: value for name, value in self._options.items() if name != "sampler"}
        return DataLoader(dataset, batch_size=batch_size, **{**kept, **options})

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Iterate over epoch after epoch, without the last, smaller batches.

        Raises:
            WorkloadError: If the dataset has fewer samples than one batch.
        """
        options = dict(self._options)
        if not isinstance(self._dataset, IterableDataset) and "sampler" not in options:
            sampler = draw_lazily(self._dataset, self.dataset_size)
            options.update({"shuffle": True} if sampler is None else {"sampler": sampler})
        loader: DataLoader[Any] = DataLoader(
            self._dataset, batch_size=batch_size, drop_last=True, **options
        )
        while True:
            is_empty = True
            for batch in loader:
                is_empty = False
                yield batch
            if is_empty:
                raise WorkloadError(
                    f"the dataset ended before one batch of {batch_size} samples",
                    hint="lower `max_batch_size`",
                )


class FunctionSource:
    """Batches from the user's function of the batch size."""

    description = "batch(batch_size)"
    num_loader_workers = 0
    lengths: LengthScan | None = None

    def worst_batch(self, batch_size: int, longest: int) -> None:
        """None: the user's function decides what is in a batch."""

    def worst_batches(self, batch_size: int) -> WorstBatches:
        """None, as above."""
        return []

    def __init__(self, batch: Callable[[int], Any]) -> None:
        self._batch = batch
        self.dataset_size: int | None = None

    def batches(self, batch_size: int) -> Iterator[Any]:
        """One call of the function for each batch; the size of the first is checked."""
        first = self._batch(batch_size)
        check_batch_size(first, batch_size)
        yield first
        while True:
            yield self._batch(batch_size)


def make_source(workload: Workload) -> BatchSource:
    """Make the source of a workload's batches.

    Raises:
        WorkloadError: If its data cannot be batched at another size.
    """
    if workload.train_loader is not None:
        return _from_loader(workload.train_loader, workload.length)
    if workload.dataset is not None:
        _require_dataset(workload.dataset)
        options = {"collate_fn": workload.collate_fn} if workload.collate_fn else {}
        name = type(workload.dataset).__name__
        return LoaderSource(workload.dataset, options, f"dataset ({name})", workload.length)
    if isinstance(workload.batch, RandomBatches):
        return RepeatedSource(workload.batch, workload.batch.description)
    if workload.batch is not None:
        return FunctionSource(workload.batch)
    sample, collate = workload.sample, workload.collate_fn or default_collate
    return RepeatedSource(lambda size: collate([sample] * size), "sample, repeated")


def check_batch_size(batch: Any, batch_size: int) -> None:
    """Refuse a batch in which no tensor has the batch size as one of its first two dimensions.

    Args:
        batch: What the user's function returned.
        batch_size: What it was called with.

    Raises:
        WorkloadError: With the shapes that were found.
    """
    shapes = [tuple(tensor.shape) for tensor in find_tensors(batch)]
    if any(batch_size in shape[:2] for shape in shapes) or not shapes:
        return
    raise WorkloadError(
        f"batch({batch_size}) returned tensors of shapes {', '.join(map(str, shapes))}: none "
        f"holds {batch_size} samples",
        hint="return exactly `batch_size` samples",
    )


def _from_loader(loader: Any, length: Length | None) -> LoaderSource:
    if not isinstance(loader, DataLoader):
        raise WorkloadError(
            f"'train_loader' is a {type(loader).__name__}, not a torch.utils.data.DataLoader",
            hint="give the data as dataset, or as a function batch(batch_size)",
        )
    if loader.batch_size is None or type(loader.batch_sampler) not in (BatchSampler, type(None)):
        raise WorkloadError(
            "'train_loader' has a batch sampler of its own, which decides the batch size",
            hint="give the data as dataset (with collate_fn), or as batch(batch_size)",
        )
    options = {name: getattr(loader, name) for name in KEPT_LOADER_OPTIONS}
    if not isinstance(loader.dataset, IterableDataset):
        options["sampler"] = loader.sampler
    name = type(loader.dataset).__name__
    workers = f", {loader.num_workers} workers" if loader.num_workers else ""
    shuffle = describe_shuffle(loader.sampler)
    return LoaderSource(loader.dataset, options, f"train_loader ({name}{workers}{shuffle})", length)


def _require_dataset(dataset: Any) -> None:
    if hasattr(dataset, "__getitem__") or isinstance(dataset, IterableDataset):
        return
    raise WorkloadError(
        f"'dataset' is a {type(dataset).__name__}, which has no __getitem__ and is not a "
        "torch.utils.data.IterableDataset",
        hint="give the data as a function batch(batch_size)",
    )


def _drawn_from(dataset: Any, sampler: Any) -> Any:
    # A sampler may draw more or fewer samples than the dataset has; one for several devices
    # counts its own part alone.
    is_whole_epoch = hasattr(sampler, "__len__") and not hasattr(sampler, "num_replicas")
    return sampler if is_whole_epoch else dataset


def _count_samples(dataset: Any) -> int | None:
    if hasattr(dataset, "__len__"):
        try:
            return len(dataset)
        except TypeError:  # some classes define it only to say that they have none
            pass
    if not isinstance(dataset, IterableDataset):
        return None
    deadline = time.monotonic() + _COUNT_TIME_S
    count = 0
    for _ in dataset:
        count += 1
        if time.monotonic() > deadline:
            return None
    return count
