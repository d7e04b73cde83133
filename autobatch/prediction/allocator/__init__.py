"""A model of PyTorch's caching allocator for CUDA: the same decisions, without memory.

    request -> rounded -> a cached block that fits best, split
                       -> else a new segment from the driver, up to the cap
                       -> else cached segments are given back, and once more
                       -> else out of memory

Source: ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch 2.11. The script
``scripts/plan/replay_traces.py`` holds the model against recorded traces of GPUs.

Not modelled: ``max_split_size``, ``garbage_collection_threshold``, ``roundup_power2_divisions``,
``record_stream``, pools of CUDA graphs, ``cudaMallocAsync``.
"""

from autobatch.prediction.allocator.blocks import Block
from autobatch.prediction.allocator.caching import CachingAllocator, OutOfMemory, Statistics
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.sizes import round_size, segment_bytes

__all__ = [
    "Block",
    "CachingAllocator",
    "Driver",
    "OutOfMemory",
    "Statistics",
    "round_size",
    "segment_bytes",
]
