"""What a training step is made of: the work it does, rather than the time it takes.

Nothing here depends on how busy the machine is: the same code comes to the same figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from autobatch.check.measurement import StepMakeup
from autobatch.devices.base import Device
from autobatch.devices.sticky import undo_at_end
from autobatch.probe.protocol import MakeupRequest
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.run import start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.records import Precision
from autobatch.workload.task import TrainingTask


def inspect_step(
    task: TrainingTask,
    device: Device,
    request: MakeupRequest,
    *,
    precision: Precision,
    seed: int,
) -> StepMakeup:
    """Run one step and count what it does.

    Args:
        task: What to train.
        device: Where.
        request: The batch size and the memory budget.
        precision: Arithmetic of the step.
        seed: Seed of every random generator.
    """
    start_anew(device, seed)
    step = TrainingStep(task, device.name, precision)
    saved, calls = _Saved(task.model.parameters()), _Calls()
    flops = FlopCounterMode(display=False)
    with (
        run_eagerly(),
        undo_at_end(lambda: task.built.optimizer.zero_grad(set_to_none=True)),
        device.enforce(request.budget_bytes),
    ):
        batch = next(task.source.batches(request.batch_size))
        with saved_tensors_hooks(saved.note, lambda tensor: tensor), calls, flops:
            step(batch)
    counted = flops.get_flop_counts().get("Global", {})
    by_operation = {str(name): count for name, count in counted.items()}
    convolutions = sum(count for name, count in by_operation.items() if "conv" in name)
    return StepMakeup(
        num_calls=calls.count,
        convolution_flops=convolutions,
        matrix_flops=sum(by_operation.values()) - convolutions,
        tensor_bytes=saved.typical_bytes,
    )


class _Saved:
    """Notes the size of every tensor that the forward pass keeps for the backward pass."""

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        self._weights = {each.untyped_storage().data_ptr() for each in parameters}
        self._sizes: list[int] = []

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is torch.strided and not self._is_weight(tensor):
            self._sizes.append(tensor.nbytes)
        return tensor

    def _is_weight(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._weights

    @property
    def typical_bytes(self) -> int:
        """The size such that half of all bytes are in tensors no larger; 0 for none."""
        total = 0
        for size in sorted(self._sizes):
            total += size
            if 2 * total >= sum(self._sizes):
                return size
        return 0


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
