"""A dataset in two parts: one to train on, one to validate on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset, Subset

from autobatch.errors import WorkloadError
from autobatch.workload.batches import BatchSource, LoaderSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The two parts.

    Attributes:
        source: Whose samples they are.
        train: The samples of an epoch.
        validation: Those held out, ``None`` if none are.
        num_train_samples: ``None`` if an iterable dataset does not tell.
    """

    source: LoaderSource
    train: Any
    validation: Any
    num_train_samples: int | None

    def train_batches(self, batch_size: int, seed: int) -> Iterator[tuple[int, Any]]:
        """Iterate over one epoch in a random order.

        Args:
            batch_size: Samples of a batch.
            seed: Seed of the order.

        Returns:
            Each batch with its number of samples.
        """
        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"generator": generator, "persistent_workers": False}
        if self.num_train_samples is not None and not isinstance(self.train, IterableDataset):
            options["shuffle"] = True
        loader = self.source.loader_of(self.train, batch_size, **options)
        return _counted(loader, batch_size, self.num_train_samples)

    def validation_batches(self, batch_size: int) -> Iterator[tuple[int, Any]]:
        """All samples held out, in their order."""
        loader = self.source.loader_of(self.validation, batch_size, persistent_workers=False)
        return _counted(loader, batch_size, len(self.validation))


def split_data(source: BatchSource, validation_fraction: float, seed: int) -> Split:
    """Split a dataset by a seeded permutation.

    Args:
        source: Must be a dataset or a loader.
        validation_fraction: Fraction held out; nothing is of an iterable dataset.
        seed: Of the permutation.

    Raises:
        WorkloadError: If the data has no samples to be told apart.
    """
    if not isinstance(source, LoaderSource):
        raise WorkloadError(
            f"training for whole epochs needs a dataset, and the data is {source.description}",
            hint="give train_loader or dataset",
        )
    if isinstance(source.dataset, IterableDataset):
        return Split(
            source=source,
            train=source.dataset,
            validation=None,
            num_train_samples=source.dataset_size,
        )
    count = len(source.dataset)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    num_held_out = min(round(validation_fraction * count), count - 1)
    held_out, kept = order[:num_held_out], order[num_held_out:]
    return Split(
        source=source,
        train=Subset(source.dataset, kept),
        validation=Subset(source.dataset, held_out) if held_out else None,
        num_train_samples=len(kept),
    )


def _counted(loader: Any, batch_size: int, num_samples: int | None) -> Iterator[tuple[int, Any]]:
    left = num_samples
    for batch in loader:
        yield (batch_size if left is None else min(batch_size, max(1, left))), batch
        left = None if left is None else left - batch_size
