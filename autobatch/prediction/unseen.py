"""Memory that no trace sees, because a library decides on it on the card itself."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.request import LoadedTask

# Most that peaks of process memory measured on GPUs lay above predicted ones, of milabench's
# transformers, its convolutional networks, and those with cudnn.benchmark.
_BAND_FRACTION = 0.01
_CONVOLUTION_BAND_FRACTION = 0.08
_BENCHMARK_BAND_FRACTION = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """How much more a training may take than its trace tells.

    Attributes:
        band_fraction: At the most, over what it tells.
        reasons: For what, in words.
    """

    band_fraction: float
    reasons: tuple[str, ...]


def find_unseen(trace: Trace, loaded: LoadedTask) -> Unseen:
    """What a trace does not see.

    Args:
        trace: Of the workload.
        loaded: The workload.
    """
    if not trace.unseen:
        return Unseen(band_fraction=_BAND_FRACTION, reasons=("workspaces of libraries",))
    names = ", ".join(trace.unseen)
    if loaded.uses_cudnn_benchmark:
        return Unseen(
            band_fraction=_BENCHMARK_BAND_FRACTION,
            reasons=(f"workspaces of cuDNN for {names}, as cudnn.benchmark chooses them",),
        )
    return Unseen(
        band_fraction=_CONVOLUTION_BAND_FRACTION,
        reasons=(f"workspaces of cuDNN for {names}",),
    )
