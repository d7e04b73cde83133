"""A model of PyTorch's caching allocator for CUDA: the same decisions, without memory.

    request -> rounded -> a cached block that fits best, split
                       -> else a new segment from the driver, up to the cap
                       -> else blocks that are not split are given back, and once more
                       -> else all cached segments are given back, and once more
                       -> else out of memory

Source: ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch 2.11; names in docstrings are its own. The
script ``scripts/plan/replay_traces.py`` holds the model against recorded traces of GPUs. None of
those has ``max_split_size``, ``garbage_collection_threshold`` or ``roundup_power2_divisions`` set:
these rules are as the source states them.

Not modelled: pools of CUDA graphs, ``large_segment_size_mb``, ``max_non_split_rounding_mb``,
``cudaMallocAsync``.
"""

from autobatch.prediction.allocator.blocks import Block
from autobatch.prediction.allocator.caching import CachingAllocator, OutOfMemory, Statistics
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.settings import AllocatorSettings
from autobatch.prediction.allocator.sizes import segment_bytes

__all__ = [
    "AllocatorSettings",
    "Block",
    "CachingAllocator",
    "Driver",
    "OutOfMemory",
    "Statistics",
    "segment_bytes",
]
