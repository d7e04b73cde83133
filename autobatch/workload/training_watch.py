"""A file that trains while it is loaded: noticed at its optimizer's steps, and stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from autobatch.units import format_count, format_seconds

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from typing_extensions import Self

    from autobatch.workload.files import Target

_REMEDY = "put the training under if __name__ == '__main__':"
_MAX_TIME_S = 1.0


class TrainingStopped(BaseException):
    """The file trains; what it defines before that is there by now."""


class TrainingWatch:
    """Watches a file while it is loaded; a context manager.

    A few steps may be meant; training that takes longer would be run for nothing, and could
    overwrite what an earlier run has saved.

    Args:
        location: The path of the file.
        can_stop: Whether training may be stopped.
        max_time_s: How long to let it train before that, from its first step.
        clock: Returns seconds from any origin.

    Attributes:
        num_steps: Optimizer steps seen.
    """

    def __init__(
        self,
        location: str,
        *,
        can_stop: bool = True,
        max_time_s: float = _MAX_TIME_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = str(Path(location).resolve())
        self._can_stop, self._max_time_s = can_stop, max_time_s
        self._clock = clock
        self._begin_s = self._time_s = 0.0
        self._line: int | None = None
        self._was_stopped = False
        self._handle: RemovableHandle | None = None
        self.num_steps = 0

    @classmethod
    def of(cls, target: Target) -> Self:
        """The watch of a target that is about to be loaded."""
        # An import that is stopped leaves no module behind, so training has to end there.
        return cls(target.location, can_stop=target.is_file)

    def __enter__(self) -> Self:
        # Not above: the command line takes targets apart without PyTorch.
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        self._handle = register_optimizer_step_pre_hook(self._before_step)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._handle is not None
        self._handle.remove()

    def describe(self) -> str:
        """What was seen and what to do about it, one sentence; empty if it did not train."""
        if not self.num_steps:
            return ""
        steps = f"{format_count(self.num_steps)} optimizer step{'s' * (self.num_steps > 1)}"
        where = f" from line {self._line}" if self._line else ""
        ended = " and was stopped there" if self._was_stopped else ""
        time = format_seconds(self._time_s)
        return f"loading trained: it ran {steps}{where} in {time}{ended}; {_REMEDY}"

    def _before_step(self, optimizer: Any, args: Any, keywords: Any) -> None:
        if not self.num_steps:
            self._begin_s = self._clock()
            self._line = self._find_line(sys._getframe())
        self._time_s = self._clock() - self._begin_s
        if self._can_stop and self._time_s > self._max_time_s:
            self._was_stopped = True
            raise TrainingStopped
        self.num_steps += 1

    def _find_line(self, frame: FrameType | None) -> int | None:
        while frame is not None:
            code = frame.f_code
            if code.co_name == "<module>" and code.co_filename == self._path:
                return frame.f_lineno
            frame = frame.f_back
        return None
