"""What one step computes, operator by operator: what its time on a GPU is estimated from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autobatch.cards.peaks import Units


class WorkKind(Enum):
    """Operators that are alike in how near they come to a GPU's peaks."""

    PRODUCT = "product"
    CONVOLUTION = "convolution"
    CONVOLUTION_GRADIENT = "convolution's gradients"
    GROUPED = "grouped convolution"
    GROUPED_GRADIENT = "grouped convolution's gradients"
    DEPTHWISE = "depthwise convolution"
    REDUCTION = "reduction"
    POINTWISE = "pointwise"
    COPY = "copy"
    OPTIMIZER = "optimizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operator of a step.

    Attributes:
        kind: Its class.
        units: What multiplies.
        num_flops: Multiplications and additions; 0 for what memory alone bounds.
        num_bytes: Of all that it reads and writes.
    """

    kind: WorkKind
    units: Units
    num_flops: int
    num_bytes: int
