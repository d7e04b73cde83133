"""Two steps of a training, traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.prediction.trace import Category, Trace
from autobatch.prediction.tracing.fake_cuda import install_fake_cuda
from autobatch.prediction.tracing.placing import empty_on_cuda, place
from autobatch.prediction.tracing.recorder import Recorder
from autobatch.prediction.tracing.request import TraceRequest
from autobatch.prediction.tracing.sdpa import CudaAttention
from autobatch.prediction.tracing.values import KnownValues, refuse_value
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.start import seed_everything
from autobatch.probe.trial.step import TrainingStep
from autobatch.records import Precision
from autobatch.workload.task import TrainingTask


def trace_steps(
    task: TrainingTask, batches: Sequence[Any], precision: Precision, request: TraceRequest
) -> Trace:
    """Trace a training that begins: the model to the GPU, then one step for each batch.

    Args:
        task: The task, on the CPU. It cannot be used any more afterwards.
        batches: On the CPU: those of a step's passes, one step after the other.
        precision: Arithmetic of a step.
        request: What to trace for.

    Raises:
        WorkloadError: If the step needs values, or an operator cannot be traced.
        DeviceError: If this PyTorch cannot trace.
    """
    with on_fake_cuda(task.model, request.capability, request.torch_version) as session:
        place(task.model, session.recorder)
        if isinstance(task.workload.loss, nn.Module):
            place(task.workload.loss, session.recorder)
        _move_state(task.built.optimizer, session.recorder)
        if request.keeps_output and task.workload.training_step is None:
            _keep_output(task.model)
        step = TrainingStep(task, "cuda", precision, num_passes=request.num_passes)
        loss: torch.Tensor | None = None
        for number, batch in enumerate(batches):
            if number % request.num_passes == 0:
                session.recorder.begin_step()
            loss = step(batch)
        trace = session.finish(request.batch_size)
        del loss
    return trace


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSession:
    """A process in which fake tensors on ``cuda`` work and are recorded.

    Attributes:
        recorder: Records.
        attention: Chooses kernels of attention.
        capability: Compute capability of the card.
    """

    recorder: Recorder
    attention: CudaAttention
    capability: tuple[int, int]

    def finish(self, batch_size: int) -> Trace:
        """End the recording; ``batch_size`` samples were in a pass."""
        return self.recorder.finish(batch_size, self.capability, self.attention.calls)


@contextmanager
def on_fake_cuda(
    model: nn.Module, capability: tuple[int, int], torch_version: tuple[int, int]
) -> Iterator[TraceSession]:
    """Have whatever runs inside see a GPU that is not there. The process is spoilt afterwards.

    Args:
        model: For the names of its modules.
        capability: Compute capability of the card.
        torch_version: Of the PyTorch whose choices of kernels and workspaces to follow.

    Raises:
        WorkloadError: If what runs inside needs values, or an operator cannot be traced.
        DeviceError: If this PyTorch cannot trace.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    install_fake_cuda()
    seed_everything(0)
    recorder = Recorder(model, torch_version)
    attention = CudaAttention(capability, torch_version)
    with (
        run_eagerly(),
        _naming_operators(),
        FakeTensorMode(allow_non_fake_inputs=True),
        recorder,
        KnownValues(),
        attention,
    ):
        yield TraceSession(recorder=recorder, attention=attention, capability=capability)


def _keep_output(model: nn.Module) -> None:
    """Hold what the model returned until it returns again, as the variable of a loop does."""
    kept: list[Any] = [None]

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        kept[0] = output

    model.register_forward_hook(keep)


def _move_state(optimizer: torch.optim.Optimizer, recorder: Recorder) -> None:
    """Move the state of an optimizer that has some before its first step."""
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim():
                with recorder.allocating(Category.OPTIMIZER_STATE):
                    state[name] = empty_on_cuda(value)


@contextmanager
def _naming_operators() -> Iterator[None]:
    """Make of what fake tensors cannot do an error that names the operator."""
    from torch._subclasses import fake_tensor

    try:
        yield
    except (
        fake_tensor.DataDependentOutputException,
        fake_tensor.DynamicOutputShapeException,
    ) as error:
        refuse_value(f"calls {error.func}, whose result depends on values")
    except fake_tensor.UnsupportedOperatorException as error:
        raise WorkloadError(
            f"the step cannot be traced without a GPU: {error.func} says nothing of its result",
            hint="register what it returns with torch.library.register_fake",
        ) from error
