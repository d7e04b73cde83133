"""How a worker keeps one piece of work apart from the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from autobatch.devices.base import Device
from autobatch.devices.meter import ProcessMeter
from autobatch.probe.protocol import Crash, JobContext
from autobatch.workload.task import TrainingTask

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[R_co]):
    """A piece of work that has ended.

    Attributes:
        result: What it returned, or how it ended without a result.
        meter: Watched its memory from outside; ``None`` if nothing did.
    """

    result: R_co | Crash
    meter: ProcessMeter | None = None


class Isolation(Protocol):
    """Keeps a piece of work from affecting what comes after it."""

    label: str
    """As ``Environment.isolation`` tells it: ``process``, ``reloaded`` or ``shared``."""

    is_apart: bool
    """Whether each piece of work has a process of its own."""

    @property
    def own_bytes(self) -> int:
        """Memory of this process that is not training's: copies of what will be put back."""

    def load(self, make: Callable[[], TrainingTask], device: Device) -> tuple[TrainingTask, int]:
        """Make the task that all work starts from.

        Args:
            make: Makes it.
            device: Where it will be trained.

        Returns:
            The task, and the number of threads that work on it will have.
        """

    def read(self, work: Callable[[], R]) -> R | None:
        """Read the user's data, without keeping what memory that takes.

        Returns:
            What was read; ``None`` if it could not be.
        """

    def run(self, work: Callable[[JobContext], R], context: JobContext) -> Ended[R]:
        """Do a piece of work.

        Args:
            work: The work.
            context: The task, the device and the limits that it works with.

        Raises:
            WorkFailed: If the user's code raised, where its exception cannot be raised again.
        """
