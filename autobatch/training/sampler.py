"""Batches of samples of like length, each as large as the memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data import Sampler

from autobatch.errors import SettingsError
from autobatch.records import LengthBucket

_T = TypeVar("_T")


class BucketBatchSampler(Sampler[list[int]]):
    """A ``batch_sampler`` for a ``DataLoader``.

    Args:
        lengths: Length of each sample of the dataset, in its order.
        buckets: Greatest length and batch size of each bucket, at least one.
        shuffle: Whether samples and batches come in random order, another in each epoch.
        seed: Of that order.
        drop_last: Whether batches that are not full are left out.

    Raises:
        SettingsError: If a sample is longer than the longest bucket.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        buckets: Sequence[LengthBucket],
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self._buckets = sorted(buckets, key=lambda bucket: bucket.longest)
        self._members: list[list[int]] = [[] for _ in buckets]
        for index, length in enumerate(lengths):
            self._members[self._place(index, length)].append(index)
        self._shuffle = shuffle
        self._seed = seed
        self._drop_last = drop_last
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, as ``DistributedSampler.set_epoch`` does."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        self._epoch += 1
        batches: list[list[int]] = []
        for bucket, members in zip(self._buckets, self._members, strict=True):
            order = self._permute(members, generator)
            starts = range(0, len(order), bucket.batch_size)
            batches += [order[start : start + bucket.batch_size] for start in starts]
            if self._drop_last and batches and len(order) % bucket.batch_size:
                batches.pop()
        yield from self._permute(batches, generator)

    def __len__(self) -> int:
        pairs = zip(self._buckets, self._members, strict=True)
        return sum(self._count(len(members), bucket.batch_size) for bucket, members in pairs)

    def _count(self, num_members: int, batch_size: int) -> int:
        return num_members // batch_size if self._drop_last else -(-num_members // batch_size)

    def _permute(self, items: list[_T], generator: torch.Generator) -> list[_T]:
        if not self._shuffle:
            return items
        return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]

    def _place(self, index: int, length: int) -> int:
        for place, bucket in enumerate(self._buckets):
            if length <= bucket.longest:
                return place
        raise SettingsError(
            f"sample {index} is {length} long, and the longest bucket holds "
            f"{self._buckets[-1].longest}",
            hint="truncate it, or search again with it in the dataset",
        )
