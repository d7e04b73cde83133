"""A dataset in two parts: one to train on, one to validate on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset, Subset

from autobatch.errors import SettingsError, WorkloadError
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


def split_data(
    source: BatchSource, *, validation_fraction: float, num_folds: int, fold: int, seed: int
) -> Split:
    """Split a dataset by a seeded permutation.

    Args:
        source: Must be a dataset or a loader.
        validation_fraction: Fraction held out; ignored with several folds.
        num_folds: Folds; above 1, each sample is held out in one of them.
        fold: The fold that is held out.
        seed: Of the permutation.

    Raises:
        WorkloadError: If the data has no samples to be told apart.
        SettingsError: If it has too few.
    """
    if not isinstance(source, LoaderSource):
        raise WorkloadError(
            f"training for whole epochs needs a dataset, and the data is {source.description}",
            hint="give train_loader or dataset",
        )
    if isinstance(source.dataset, IterableDataset):
        if num_folds > 1:
            raise SettingsError(
                f"`folds={num_folds}` needs a dataset with samples by number, and "
                f"{source.description} is iterable",
                hint="leave `folds` out, or give a map-style dataset",
            )
        return Split(
            source=source,
            train=source.dataset,
            validation=None,
            num_train_samples=source.dataset_size,
        )
    return _split_samples(source, validation_fraction, num_folds, fold, seed)


def _split_samples(
    source: LoaderSource, validation_fraction: float, num_folds: int, fold: int, seed: int
) -> Split:
    count = len(source.dataset)
    if num_folds > count:
        raise SettingsError(
            f"`folds={num_folds}` is more than the dataset's {count} samples",
            hint=f"use at most {count} folds",
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    if num_folds > 1:
        held_out = order[fold::num_folds]
        kept = [index for place, index in enumerate(order) if place % num_folds != fold]
    else:
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
