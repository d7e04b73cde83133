"""Work on the caller's objects in the caller's process, after which all is as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch

from autobatch.devices.base import Device
from autobatch.errors import AutobatchError, DeviceLostError
from autobatch.probe.isolation.base import Ended
from autobatch.probe.isolation.deadline import DeadlineSource, TrialTimedOut
from autobatch.probe.isolation.endings import WorkFailed, crash_from_lost_device, to_failure
from autobatch.probe.isolation.in_place import use_threads
from autobatch.probe.isolation.untouched import Piece, Untouched
from autobatch.probe.protocol import Crash, JobContext
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Settings
from autobatch.workload.contract import Workload
from autobatch.workload.live import BuildTask, build_task
from autobatch.workload.task import TrainingTask

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")


class PutBack:
    """Works inside a ``with`` block, and puts back what changed when the block ends.

    Each piece of work, and loading, is done inside ``piece``.

    An exception of the user's code passes through as it is.

    Args:
        workload: The caller's objects.
        settings: For the device, the seed, and the shape of random inputs.
        build: Makes the task of the objects.
    """

    label = "shared"
    is_apart = False

    def __init__(
        self, workload: Workload, settings: Settings, build: BuildTask = build_task
    ) -> None:
        self._workload = workload
        self._settings = settings
        self._build = build
        self._untouched = Untouched(workload, settings)
        self._is_on_host = False

    def __enter__(self) -> Self:
        self._untouched.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._untouched.__exit__(*error)

    @contextmanager
    def piece(self) -> Iterator[Piece]:
        """A piece of work: in plain modes, and the process is as before afterwards."""
        with self._untouched.piece() as piece, plain_modes(self._settings.device):
            yield piece

    @property
    def own_bytes(self) -> int:
        """Size of the copies, which are in the host's memory."""
        return self._untouched.held_bytes if self._is_on_host else 0

    def load(self, make: Callable[[], TrainingTask], device: Device) -> tuple[TrainingTask, int]:
        """Make the task, to describe the workload; each piece of work builds its own."""
        self._is_on_host = device.name == "cpu"
        return make(), torch.get_num_threads()

    def read(self, work: Callable[[], R]) -> R | None:
        """Read here: the caller may have threads, so no fork; changes are put back anyway."""
        return work()

    def run(self, work: Callable[[JobContext], R], context: JobContext) -> Ended[R]:
        """Do a piece of work; a step that hangs cannot be stopped, but none starts too late."""
        source, timeout_s = context.task.source, context.limits.timeout_s
        # Built again each time: what the work before did to the optimizer was put back.
        task = self._build(self._workload, self._settings, source)
        task = replace(task, source=DeadlineSource(source, timeout_s))
        task.loss.own_steps.can_put_back = False
        try:
            with use_threads(context.num_threads):
                return Ended(result=work(replace(context, task=task)))
        except TrialTimedOut:
            return Ended(result=Crash.timed_out(timeout_s))
        except DeviceLostError as error:
            return Ended(result=crash_from_lost_device(error))
        except BaseException as error:
            if is_out_of_memory(error):
                raise WorkFailed(to_failure(error, doing=context.doing)) from error
            is_noted = context.doing in getattr(error, "__notes__", ())
            if not (is_noted or isinstance(error, AutobatchError)) and hasattr(error, "add_note"):
                error.add_note(context.doing)
            raise


@contextmanager
def plain_modes(device_name: str) -> Iterator[None]:
    """Gradients and full precision, whatever contexts the caller is in."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(torch.device(device_name).type, enabled=False))
        yield
