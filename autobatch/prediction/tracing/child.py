"""The process that holds the model: loads it once, and forks for each trace.

A fork of the loaded model is as it was loaded, whatever the trace before did to it; and what a
trace crashes of ends with its fork.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.placing import shed_weights, skip_initialisers
from autobatch.prediction.tracing.request import LoadedTask, LoadTask, TraceRequest
from autobatch.prediction.tracing.steps import trace_steps
from autobatch.probe.isolation.child import ChildDied, run_in_child
from autobatch.probe.isolation.endings import attempt, crash_from_death, to_failure
from autobatch.probe.protocol import Crash, Failure
from autobatch.probe.trial.compiled import is_compiled
from autobatch.probe.trial.worst import make_worst_batch
from autobatch.probe.worker.worker import main as serve_parent
from autobatch.records import Settings
from autobatch.workload.batches import LoaderSource
from autobatch.workload.task import TrainingTask, load_task

# The first step makes the optimizer's state, the second finds it.
_NUM_STEPS = 2
_MASK = "attention_mask"
_LIBRARIES = ("torch", "transformers", "timm", "torchvision", "lightning")


class Tracing:
    """Answers every request; loads one task.

    Attributes:
        tell: Receives what is done now, in words.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], None] = lambda doing: None
        self._task: TrainingTask | None = None
        self._settings: Settings | None = None

    def answer(self, request: LoadTask | TraceRequest) -> LoadedTask | Trace | Failure:
        """Carry out a request; every exception becomes a ``Failure``."""
        try:
            return self._load(request) if isinstance(request, LoadTask) else self._trace(request)
        except BaseException as error:  # the user's code may raise SystemExit, too
            return to_failure(error, doing="while the step was traced")

    def _load(self, request: LoadTask) -> LoadedTask:
        torch.set_num_threads(1)  # a process with OpenMP's threads cannot be forked
        self.tell("making the model and its data")
        skip_initialisers()
        task = load_task(request.target, request.settings, needs_room=False)
        source = task.source
        if isinstance(source, LoaderSource):
            self.tell("looking at the lengths of its samples")
            source.keep_lengths(source.scan(request.settings.seed))
            task = replace(task, source=source.with_options(num_workers=0))
        shed_weights(task.model)
        self._task, self._settings = task, request.settings
        major, minor = torch.__version__.split(".")[:2]
        return LoadedTask(
            workload=task.summarize(torch.get_num_threads(), request.settings),
            torch_version=(int(major), int(minor)),
            libraries={
                name: importlib.metadata.version(name) for name in _LIBRARIES if name in sys.modules
            },
            is_compiled=is_compiled(task.model),
            uses_cudnn_benchmark=torch.backends.cudnn.benchmark,
        )

    def _trace(self, request: TraceRequest) -> Trace | Failure:
        task, settings = self._task, self._settings
        assert task is not None and settings is not None, "a task is loaded before it is traced"
        doing = f"while a step at batch size {request.batch_size} was traced"
        self.tell(f"tracing batch size {request.batch_size}")

        def work() -> Trace | Crash | Failure:
            return attempt(
                lambda: trace_steps(
                    task, _make_batches(task, request), settings.precision, request
                ),
                doing=doing,
            )

        result: Any = run_in_child(work, timeout_s=request.timeout_s)
        if isinstance(result, ChildDied):
            result = crash_from_death(result, request.timeout_s)
        if isinstance(result, Crash):
            raise WorkloadError(
                f"the step cannot be traced without a GPU: its process {result.message} {doing}",
                hint="leave out operators of your own that read memory, or probe on the GPU itself",
            )
        traced: Trace | Failure = result
        return traced


def _make_batches(task: TrainingTask, request: TraceRequest) -> list[Any]:
    """Batches of the largest samples, as many as there are passes."""
    source, is_transformer = task.source, _is_transformer(task.model)
    number = _NUM_STEPS * request.num_passes
    worst = make_worst_batch(source, request.batch_size)
    if worst is not None:
        batches = [worst] * number
    else:
        batches = [*itertools.islice(source.batches(request.batch_size), number)]
    return [_without_idle_mask(batch) for batch in batches] if is_transformer else batches


def _is_transformer(model: nn.Module) -> bool:
    """Whether a model is one of the library's, or a class of the user's made from one."""
    return any(each.__module__.startswith("transformers.") for each in type(model).__mro__)


def _without_idle_mask(batch: Any) -> Any:
    """The batch without an attention mask that masks nothing.

    Transformers looks at its values and leaves it out, so that the faster kernels can be used; in
    a trace it cannot look.
    """
    mask = batch.get(_MASK) if isinstance(batch, Mapping) else None
    if not isinstance(mask, torch.Tensor) or not bool(mask.all()):
        return batch
    return {name: value for name, value in batch.items() if name != _MASK}


def main() -> None:
    """Run the process from start to end."""
    from torch._subclasses import fake_tensor  # noqa: F401 - once, before the forks

    serve_parent(Tracing())
