"""Snapshots of a GPU's allocator: what ``torch.cuda.memory._dump_snapshot`` wrote.

file --> pickles   unpickled without any class
     --> read      checked, as a ``Recording``: the state when it began, and what followed
     --> rerun     the same requests under other settings, in another amount of memory
"""

from autobatch.prediction.snapshot.read import Recording, read_snapshot
from autobatch.prediction.snapshot.rerun import Rerun, find_least_memory, rerun

__all__ = ["Recording", "Rerun", "find_least_memory", "read_snapshot", "rerun"]
