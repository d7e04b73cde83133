"""How much of the dataset one optimizer step sees."""

from __future__ import annotations

from autobatch.records import Regime


def find_regime(global_batch_size: int, dataset_size: int | None) -> Regime | None:
    """Name the regime of training; ``None`` without a dataset size.

    Args:
        global_batch_size: Samples per optimizer step.
        dataset_size: Samples in an epoch.
    """
    if dataset_size is None:
        return None
    if global_batch_size >= dataset_size:
        return Regime.FULL_BATCH
    return Regime.STOCHASTIC if global_batch_size == 1 else Regime.MINI_BATCH
