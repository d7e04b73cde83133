"""The parent's end: starts the process that traces, and knows which traces are needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autobatch import errors
from autobatch.prediction.attention import choose_kernel
from autobatch.prediction.lines import LARGE, SMALL, THIRD, TraceLine, explain_difference
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.request import LoadedTask, LoadTask, TraceRequest
from autobatch.prediction.work import Operation
from autobatch.probe.client import to_error
from autobatch.probe.protocol import Failure
from autobatch.probe.worker.process import WorkerProcess, start_process
from autobatch.records import Settings
from autobatch.units import format_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

_ENTRY = (
    "import gc; gc.disable(); from autobatch.prediction.tracing.child import main; "
    "gc.enable(); main()"
)
_GRACE_S = 10.0


class Tracer:
    """Traces a target's training step for GPUs that are not here; a context manager.

    Args:
        target: What ``probe`` takes: ``model.py``, ``model.py:name``, ``hf:bert``, ...
        settings: For precision, accumulation, seed and environment variables.
        keeps_output: Whether the training loop holds on to what the model returned through the
            backward pass, as ``output = model(x)`` does. A training step of the target's own
            decides that itself.
        timeout_s: Seconds that loading, or one trace, may take.
        on_output: Receives each line that the user's code prints.
        on_stage: Receives what is done now, in words.

    Attributes:
        loaded: What the target is.

    Examples:
        with Tracer("hf:bert", Settings(precision=Precision.BF16)) as tracer:
            prediction = predict(tracer.at(32, (8, 9)), card, CachingAllocator(Driver(capacity)))
    """

    def __init__(
        self,
        target: str,
        settings: Settings,
        *,
        keeps_output: bool = True,
        timeout_s: float = 600.0,
        on_output: Callable[[str], None] = lambda line: None,
        on_stage: Callable[[str], None] = lambda doing: None,
    ) -> None:
        self._target = target
        self._settings = settings
        self._keeps_output = keeps_output
        self._timeout_s = timeout_s
        self._on_output = on_output
        self._on_stage = on_stage
        self._process: WorkerProcess | None = None
        self._lines: list[TraceLine] = []
        self._traces: dict[int, list[Trace]] = {}
        self._reason = ""
        self.loaded: LoadedTask

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            raise errors.DeviceError(
                f"a step is traced on Linux alone, and this is {sys.platform}",
                hint="run it in a container with Linux, which needs no GPU",
            )
        hidden = {"CUDA_VISIBLE_DEVICES": ""}
        self._process = WorkerProcess(
            start_process({**self._settings.variables, **hidden}, _ENTRY),
            self._on_output,
            self._on_stage,
        )
        try:
            request = LoadTask(target=self._target, settings=self._settings)
            self.loaded = self._ask(request, self._timeout_s, "while the model was made")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def at(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        """The trace at a batch size, worked out from two traces where the step allows it.

        Args:
            batch_size: Samples of a pass.
            capability: Compute capability of the card.

        Raises:
            WorkloadError: If the step cannot be traced; names the operator.
            WorkerError: If the process ended or took too long.
        """
        # A single sample may take other ways: what is spread over one sample is contiguous.
        line = self.line(capability) if batch_size >= SMALL else None
        if line is not None:
            return replace(line.at(batch_size), compute_capability=capability)
        return self.trace(batch_size, capability)

    def operations_at(self, batch_size: int, capability: tuple[int, int]) -> tuple[Operation, ...]:
        """What a step computes at a batch size; empty if that is not known.

        Args:
            batch_size: Samples of a pass.
            capability: Compute capability of the card.

        Raises:
            WorkloadError: If the step cannot be traced; names the operator.
            WorkerError: If the process ended or took too long.
        """
        line = self.line(capability)
        if line is None:
            return self.trace(batch_size, capability).operations
        return line.operations_at(batch_size)

    def line(self, capability: tuple[int, int]) -> TraceLine | None:
        """The two traces that tell all others; ``None`` if each batch size has to be traced.

        Args:
            capability: Compute capability of the card.
        """
        if self._reason:
            return None
        for line in self._lines:
            if self._is_same(line.large, capability):
                return line
        small, large = (self.trace(size, capability) for size in (SMALL, LARGE))
        self._reason = explain_difference(small, large)
        if self._reason:
            return None
        line = TraceLine(small=small, large=large)
        if line.needs_third:
            self._reason = line.explain_difference(self.trace(THIRD, capability))
        if self._reason:
            return None
        self._lines.append(line)
        return line

    @property
    def num_passes(self) -> int:
        """Passes of a traced step: two tell what more of them would do."""
        return min(2, self._settings.gradient_accumulation_steps)

    @property
    def reason_for_each(self) -> str:
        """Why each batch size has to be traced by itself; empty if it need not."""
        return self._reason

    def trace(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        """Trace a batch size by itself.

        Args:
            batch_size: Samples of a pass.
            capability: Compute capability of the card.

        Raises:
            WorkloadError: If the step cannot be traced; names the operator.
            WorkerError: If the process ended or took too long.
        """
        for known in self._traces.setdefault(batch_size, []):
            if self._is_same(known, capability):
                return replace(known, compute_capability=capability)
        request = TraceRequest(
            batch_size=batch_size,
            capability=capability,
            torch_version=self.loaded.torch_version,
            num_passes=self.num_passes,
            keeps_output=self._keeps_output,
            timeout_s=self._timeout_s,
        )
        doing = f"while a step at batch size {batch_size} was traced"
        trace: Trace = self._ask(request, self._timeout_s + _GRACE_S, doing)
        self._traces[batch_size].append(trace)
        return trace

    def _is_same(self, trace: Trace, capability: tuple[int, int]) -> bool:
        """Whether a card of another capability would choose the same kernels."""
        return all(
            choose_kernel(call, capability, self.loaded.torch_version)
            is choose_kernel(call, trace.compute_capability, self.loaded.torch_version)
            for call in trace.attention
        )

    def _ask(self, request: LoadTask | TraceRequest, timeout_s: float, doing: str) -> Any:
        process: Any = self._process
        assert process is not None, "a tracer is a context manager"
        process.send(request)
        try:
            reply = process.receive(timeout_s)
        except TimeoutError:
            raise errors.WorkerError(
                f"no end after {format_seconds(timeout_s)} {doing}",
                hint="trace a smaller model, or see what it prints with -v",
                exit_code=self._end(),
                stderr_tail=process.stderr_tail,
            ) from None
        if isinstance(reply, Failure):
            raise to_error(reply)
        if reply is None:
            exit_code = self._end()
            raise errors.WorkerError(
                f"the process that traces ended with exit status {exit_code} {doing}",
                hint="run again with -v to see what it printed",
                exit_code=exit_code,
                stderr_tail=process.stderr_tail,
            )
        return reply

    def _end(self) -> int | None:
        process, self._process = self._process, None
        return process.end() if process is not None else None
