"""The same loader with another batch size."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from autobatch.errors import WorkloadError
from autobatch.workload.batches import KEPT_LOADER_OPTIONS


def with_batch_size(loader: Any, batch_size: int | None = None) -> DataLoader[Any]:
    """A plain ``DataLoader`` over the same dataset, sampler and generator.

    Drawing from it uses random numbers as drawing from the original does.

    Args:
        loader: A ``DataLoader``, or what a framework made of one.
        batch_size: The size; the loader's own if left out.

    Raises:
        WorkloadError: If a sampler of its own decides the batch size.
    """
    is_iterable = isinstance(loader.dataset, IterableDataset)
    options = {name: getattr(loader, name) for name in (*KEPT_LOADER_OPTIONS, "generator")}
    sampler = loader.batch_sampler
    if hasattr(sampler, "split_batches") and not sampler.split_batches:
        sampler = sampler.batch_sampler  # what Accelerate deals out to the processes
    if not is_iterable:
        if type(sampler) is not BatchSampler:
            raise WorkloadError(
                f"the loader has a batch sampler of its own, a {type(sampler).__name__}, which "
                "decides the batch size",
                hint="give a DataLoader with a batch_size",
            )
        options |= {"sampler": sampler.sampler, "drop_last": sampler.drop_last}
        return DataLoader(loader.dataset, batch_size=batch_size or sampler.batch_size, **options)
    options["drop_last"] = loader.drop_last
    return DataLoader(loader.dataset, batch_size=batch_size or loader.batch_size, **options)
