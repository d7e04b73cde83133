"""From what a model, a loss or a training step returned to one scalar.

dict    its "loss"; else the sum of its losses, as torchvision's detection models mean it
tuple   its only scalar, else the first: (loss, reconstruction, divergence)
list    its only scalar, else the sum: the losses of several heads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from autobatch.errors import WorkloadError
from autobatch.workload.user_code import describe

_TOTAL_KEYS = ("loss", "total_loss", "loss_total")


def find_loss(value: Any) -> tuple[Any, str]:
    """The loss in what was returned, by the customs of PyTorch's libraries.

    Returns:
        The loss, ``None`` if there is none; and a sentence on what had to be assumed.
    """
    if isinstance(value, torch.Tensor):
        return (value if value.dim() == 0 else None), ""
    if isinstance(value, Mapping):
        total = next((value[key] for key in _TOTAL_KEYS if value.get(key) is not None), None)
        return (total, "") if total is not None else _sum(value)
    if getattr(value, "loss", None) is not None:
        return value.loss, ""
    if isinstance(value, (tuple, list)):
        return _find_in_sequence(value)
    return None, ""


def require_scalar(loss: Any, subject: str) -> torch.Tensor:
    """Check that a loss can be differentiated.

    Args:
        loss: What was returned.
        subject: Begins the message: ``the loss is``.

    Raises:
        WorkloadError: If it cannot.
    """
    if not isinstance(loss, torch.Tensor):
        raise WorkloadError(
            f"{subject} {describe(loss)}, not a tensor", hint="return the loss as a tensor"
        )
    # A vector of one element could be the losses of a batch of one.
    if loss.dim() != 0:
        raise WorkloadError(
            f"{subject} a tensor of shape {tuple(loss.shape)}, not a scalar",
            hint="reduce it, such as with .mean()",
        )
    if not loss.requires_grad:
        raise WorkloadError(
            f"{subject} a tensor that needs no gradient",
            hint="look for torch.no_grad(), .detach() or .item() on its way, or frozen parameters",
        )
    return loss


def guess_loss(
    output: torch.Tensor, target: torch.Tensor
) -> tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """A loss for a kind of target: its name and the function."""
    if target.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        return "cross-entropy", _cross_entropy
    if target.dtype == torch.bool:
        return "binary cross-entropy with logits", _binary_cross_entropy
    if output.shape != target.shape and output.numel() == target.numel():
        return "mean squared error", lambda a, b: functional.mse_loss(a, b.reshape(a.shape))
    return "mean squared error", functional.mse_loss


def _sum(value: Mapping[Any, Any]) -> tuple[Any, str]:
    losses = {key: part for key, part in value.items() if _is_loss(part)}
    if not losses:
        return None, ""
    return sum(losses.values()), f"the sum of {', '.join(map(str, losses))} as the loss"


def _find_in_sequence(value: Sequence[Any]) -> tuple[Any, str]:
    scalars = [part for part in value if isinstance(part, torch.Tensor) and part.dim() == 0]
    if len(scalars) == 1:
        return scalars[0], ""
    losses = [part for part in scalars if _is_loss(part)]
    if not losses:
        return None, ""
    if isinstance(value, list):
        return sum(losses), f"the sum of the {len(losses)} losses returned as the loss"
    return losses[0], f"the first of the {len(scalars)} scalars returned as the loss"


def _is_loss(part: Any) -> bool:
    """Whether it is a scalar that can be differentiated, or could be outside of ``no_grad``."""
    if not isinstance(part, torch.Tensor) or part.dim() != 0:
        return False
    return part.requires_grad or (part.is_floating_point() and not torch.is_grad_enabled())


def _cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if output.dim() == target.dim() + 1 and output.shape[:-1] == target.shape:
        # One prediction for each position of a sequence: classes come last.
        output, target = output.flatten(0, -2), target.flatten()
    return functional.cross_entropy(output, target.long())


def _binary_cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    target = target.reshape(output.shape).to(output.dtype)
    return functional.binary_cross_entropy_with_logits(output, target)
