"""Numbers that only a GPU would know: what a step may do with them, and what not.

A step may show a loss. It may not decide by it: the trace would follow a branch that training need
not take.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode

from autobatch.errors import WorkloadError

# What reads the value of a tensor, and the type that it gives; ``item`` gives the tensor's own.
_READS: dict[Any, Any] = {
    torch.Tensor.item: None,
    torch.Tensor.__float__: float,
    torch.Tensor.__bool__: bool,
    torch.Tensor.__int__: int,
    torch.Tensor.__index__: int,
}
_SHOWN = (torch.Tensor.item, torch.Tensor.__float__)
# PyTorch's own code asks whether something went wrong, such as an overflow: it did not. Only
# distributions ask whether all is well.
_OWN_PACKAGE, _ASKS_WHETHER_VALID = "torch", "torch.distributions."


def refuse_value(doing: str) -> NoReturn:
    """Raise the error for a step that depends on a value.

    Args:
        doing: What it did with the value.
    """
    raise WorkloadError(
        f"the step cannot be traced without a GPU: it {doing}",
        hint="leave what depends on a value out of the step, or probe on the GPU itself",
    )


class UnknownNumber(float):
    """The value of a tensor on a GPU that is not here.

    It can be shown and calculated with; comparing it raises.
    """

    def _refuse(self, *others: object) -> NoReturn:
        refuse_value("decides by the value of a tensor (.item())")

    __bool__ = __int__ = __index__ = __trunc__ = __floor__ = __ceil__ = __round__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __eq__ = __ne__ = _refuse
    __hash__ = float.__hash__

    def _calculate(self, *others: object) -> UnknownNumber:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _calculate
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _calculate
    __pow__ = __rpow__ = _calculate
    __neg__ = __pos__ = __abs__ = _calculate


class KnownValues(TorchFunctionMode):
    """Answers ``.item()`` of fake tensors on ``cuda``, and refuses decisions by them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, unless it reads a value that is not there."""
        if func not in _READS or args[0].device.type != "cuda":
            return func(*args, **(kwargs or {}))
        is_own, value = read_for_pytorch(args[0], sys._getframe(1))
        if is_own:
            return value if func is torch.Tensor.item else _READS[func](value)
        if func not in _SHOWN:
            refuse_value("decides by the value of a tensor")
        return UnknownNumber() if func is torch.Tensor.item else 0.0


def read_for_pytorch(tensor: torch.Tensor, frame: Any) -> tuple[bool, float | int | bool]:
    """Whether a value is read by PyTorch's own code, and what it is told then.

    Args:
        tensor: The tensor, on ``cuda``.
        frame: Where it is read.
    """
    reader = _find_reader(frame)
    value = reader.startswith(_ASKS_WHETHER_VALID)
    return reader.partition(".")[0] == _OWN_PACKAGE, _type_of(tensor)(value)


def _find_reader(frame: Any) -> str:
    """Name of the module whose code reads a value."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith(__package__):
        frame = frame.f_back  # another mode of the trace
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def _type_of(tensor: torch.Tensor) -> type[float] | type[int] | type[bool]:
    if tensor.dtype is torch.bool:
        return bool
    return float if tensor.is_floating_point() else int
