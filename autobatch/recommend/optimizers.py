"""Optimizers by how the size of their step follows the gradient's."""

from __future__ import annotations

from enum import Enum


class OptimizerFamily(Enum):
    """What an optimizer makes of the size of a gradient."""

    SGD = "sgd"
    """The step is proportional to the gradient."""
    ADAM = "adam"
    """Divided by a running root mean square of the gradient, with a running mean on top."""
    RMSPROP = "rmsprop"
    """Divided by a running root mean square of the gradient."""
    LAYERWISE = "layerwise"
    """Scaled, layer by layer, to the norm of the weights."""
    NORMALIZED = "normalized"
    """Normalized otherwise: by sign, by maximum, by a sum of squares, by matrix."""
    SELF_TUNING = "self_tuning"
    """Estimates its own step size, or is made for full batches."""
    UNKNOWN = "unknown"
    """A name that says nothing."""


# The first fragment found in a name decides, so that AdamW8bit, FusedAdam and
# DeepSpeedCPUAdam are Adam, while DAdaptAdam and Adamax are not.
_FRAGMENTS = (
    ("dadapt", OptimizerFamily.SELF_TUNING),
    ("prodigy", OptimizerFamily.SELF_TUNING),
    ("adadelta", OptimizerFamily.SELF_TUNING),
    ("lbfgs", OptimizerFamily.SELF_TUNING),
    ("rprop", OptimizerFamily.SELF_TUNING),
    ("signsgd", OptimizerFamily.NORMALIZED),
    ("adamax", OptimizerFamily.NORMALIZED),
    ("adagrad", OptimizerFamily.NORMALIZED),
    ("adafactor", OptimizerFamily.NORMALIZED),
    ("lion", OptimizerFamily.NORMALIZED),
    ("signum", OptimizerFamily.NORMALIZED),
    ("muon", OptimizerFamily.NORMALIZED),
    ("shampoo", OptimizerFamily.NORMALIZED),
    ("soap", OptimizerFamily.NORMALIZED),
    ("lars", OptimizerFamily.LAYERWISE),
    ("lamb", OptimizerFamily.LAYERWISE),
    ("rmsprop", OptimizerFamily.RMSPROP),
    ("adam", OptimizerFamily.ADAM),
    ("adabelief", OptimizerFamily.ADAM),
    ("sgd", OptimizerFamily.SGD),
)


def find_family(optimizer: str | None) -> OptimizerFamily:
    """Family of an optimizer, by its class name.

    Args:
        optimizer: The class name, ``None`` if unknown.
    """
    name = (optimizer or "").lower()
    for fragment, family in _FRAGMENTS:
        if fragment in name:
            return family
    return OptimizerFamily.UNKNOWN
