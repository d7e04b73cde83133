"""A device whose memory is a model of PyTorch's caching allocator, and whose work is real.

    operators run on the CPU ----> what they compute is right
          '-- each storage that they make or drop --> the model: blocks, segments, cap, retries
                                                            '-- torch.OutOfMemoryError

What the package does with a GPU's memory is shown on it without one: which sizes fit at a cap, what
the peaks are, and when the allocator gives its cache back. Step times are the CPU's. Workspaces
that libraries take inside an operator are not seen.
"""

from autobatch.testing.replayed.device import ReplayedCuda, ReplayedDevice
from autobatch.testing.replayed.prober import InProcessProber, ReplayedGpu, make_replayed_prober

__all__ = [
    "InProcessProber",
    "ReplayedCuda",
    "ReplayedDevice",
    "ReplayedGpu",
    "make_replayed_prober",
]
