"""From trials and curves to a decision. Pure functions of records: no torch, no files."""

from autobatch.recommend.accumulation import (
    GlobalBatchSplit,
    split_global_batch,
)
from autobatch.recommend.bottleneck import find_bottleneck
from autobatch.recommend.build import recommend
from autobatch.recommend.epochs import (
    epoch_time_s,
    find_regime,
    iterations_per_epoch,
    last_batch_size,
)
from autobatch.recommend.learning_rate import ScaledLearningRate, scale_learning_rate
from autobatch.recommend.warnings import find_warnings

__all__ = [
    "GlobalBatchSplit",
    "ScaledLearningRate",
    "epoch_time_s",
    "find_bottleneck",
    "find_regime",
    "find_warnings",
    "iterations_per_epoch",
    "last_batch_size",
    "recommend",
    "scale_learning_rate",
    "split_global_batch",
]
