"""What is asked of the process that traces, and what it answers. All of it can be pickled."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records import Settings, WorkloadSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTask:
    """Make the task of a target.

    Attributes:
        target: As the user named it.
        settings: For the seed and the precision.
    """

    target: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTask:
    """A task is ready to be traced.

    Attributes:
        workload: What it is.
        torch_version: Major and minor number of the PyTorch that traces.
        libraries: Versions of it and of the libraries that the target uses, by name.
        is_compiled: Whether the model is compiled, which a trace leaves out.
        uses_cudnn_benchmark: Whether cuDNN chooses its convolutions by trying them.
    """

    workload: WorkloadSummary
    torch_version: tuple[int, int]
    libraries: dict[str, str]
    is_compiled: bool = False
    uses_cudnn_benchmark: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """Trace two steps at a batch size.

    Attributes:
        batch_size: Samples of a pass.
        capability: Compute capability of the card.
        torch_version: Of the PyTorch whose choices of kernels and workspaces to follow.
        num_passes: Passes before the optimizer steps.
        keeps_output: Whether what the model returned stays until the next pass returns, as the
            variable of a training loop does; where the target has a training step, that decides.
        timeout_s: Seconds after which to give up.
    """

    batch_size: int
    capability: tuple[int, int]
    torch_version: tuple[int, int]
    num_passes: int = 1
    keeps_output: bool = True
    timeout_s: float | None = None
