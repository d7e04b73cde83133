"""Host memory on a trial: what it took, and whether that is over the budget.

On the CPU the budget is one of host memory, and loader workers count against it. On a GPU
host memory has a budget of its own, beside the device's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from autobatch.devices.base import Device
from autobatch.devices.host import HostMemory, HostReading
from autobatch.devices.meter import ProcessMeter
from autobatch.probe.protocol import Limits
from autobatch.records import MemoryBound, MemoryBudget, Outcome, Trial, Unknown
from autobatch.units import format_bytes

_WORTH_A_WORD_FRACTION = 0.05


def grown_budget_bytes(budget: MemoryBudget, bounds: Iterable[MemoryBound]) -> int:
    """A budget of host memory at this moment: some virtual machines get more as they use it.

    Args:
        budget: As it was when the workload was loaded.
        bounds: The limits now.
    """
    now = (bound.capacity_bytes for bound in bounds if bound.name == budget.bound_by)
    grown_bytes = max(0, max(now, default=0) - budget.capacity_bytes)
    return budget.budget_bytes + round(grown_bytes * (1 - budget.headroom_fraction))


class HostBudgetError(Exception):
    """A worker holds more memory than the budget.

    Args:
        trial: What is known about the work, as a trial of some batch size.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial.message)
        self._trial = trial

    def as_trial(self, batch_size: int) -> Trial:
        """The trial whose worker must be stopped."""
        return replace(self._trial, batch_size=batch_size)


class HostWatch:
    """Watches a worker's host memory from its parent while it works.

    Args:
        meter: Meter of the worker.
        limits: What the work may use.
        is_on_host: Whether the device's memory is the machine's.
    """

    def __init__(self, meter: ProcessMeter, limits: Limits, *, is_on_host: bool) -> None:
        self._meter, self._is_on_host = meter, is_on_host
        self._budget_bytes = limits.budget_bytes if is_on_host else limits.host_budget_bytes

    def look(self) -> None:
        """Look once.

        Raises:
            HostBudgetError: If the worker must be stopped.
        """
        held_bytes = self._meter.look() or 0
        if self._budget_bytes is not None and held_bytes > self._budget_bytes:
            trial = Trial(batch_size=1, outcome=Outcome.OVER_BUDGET, peak_is_lower_bound=True)
            trial = with_meter(trial, self._meter, is_on_host=self._is_on_host)
            reason = describe(trial, self._budget_bytes, is_on_host=self._is_on_host)
            raise HostBudgetError(replace(trial, message=f"ended when its {reason}"))

    def complete(self, trial: Trial) -> Trial:
        """The trial that the worker measured, with what was seen from here."""
        trial = with_meter(trial, self._meter, is_on_host=self._is_on_host)
        return held_against(trial, self._budget_bytes, is_on_host=self._is_on_host)


def with_reading(trial: Trial, held: HostReading, *, is_on_host: bool) -> Trial:
    """Add the host memory that a trial read in its own process.

    Args:
        trial: Its ``peak_bytes`` is the device's own.
        held: What was read while loader workers were alive.
        is_on_host: Whether the device's memory is the machine's.
    """
    told = {"loader_bytes": held.loader_bytes, "pinned_bytes": held.pinned_bytes}
    unknown = {name: each.reason for name, each in told.items() if isinstance(each, Unknown)}
    loader_bytes, pinned_bytes = map(_known, (held.loader_bytes, held.pinned_bytes))
    own_bytes = trial.peak_bytes if is_on_host and trial.peak_bytes is not None else held.own_bytes
    host_peak_bytes = own_bytes + (loader_bytes or 0)
    return replace(
        trial,
        peak_bytes=host_peak_bytes if is_on_host else trial.peak_bytes,
        peak_is_lower_bound=trial.peak_is_lower_bound or (is_on_host and held.is_lower_bound),
        host_peak_bytes=host_peak_bytes,
        loader_bytes=loader_bytes,
        pinned_bytes=pinned_bytes,
        unknown={**trial.unknown, **unknown},
    )


def read_memory(device: Device, host: HostMemory, limits: Limits, batch_size: int) -> Trial:
    """What a piece of work took since the last reset, held against what it may use.

    Args:
        device: Where it ran.
        host: Reads host memory, while loader workers are alive.
        limits: What it may use.
        batch_size: Samples of a pass.

    Returns:
        A trial without steps.
    """
    is_on_host, reading = device.name == "cpu", device.read_peak()
    trial = Trial(batch_size=batch_size, outcome=Outcome.FITS, peak_bytes=reading.peak_bytes)
    trial = with_reading(trial, host.read(), is_on_host=is_on_host)
    if not is_on_host and (trial.peak_bytes or 0) > limits.budget_bytes:
        peak, budget = format_bytes(trial.peak_bytes or 0), format_bytes(limits.budget_bytes)
        message = f"memory of {peak} exceeded the budget of {budget}"
        return replace(trial, outcome=Outcome.OVER_BUDGET, message=message)
    budget_bytes = limits.budget_bytes if is_on_host else limits.host_budget_bytes
    return held_against(trial, budget_bytes, is_on_host=is_on_host)


def with_meter(trial: Trial, meter: ProcessMeter, *, is_on_host: bool) -> Trial:
    """Add what another process saw of a trial, where that is more.

    Args:
        trial: As its own process measured it, or what is known about one that died.
        meter: Watched it from outside.
        is_on_host: Whether the device's memory is the machine's.
    """
    seen_bytes, known_bytes = meter.peak_bytes, trial.loader_bytes or 0
    if seen_bytes is None:
        return trial
    loader_bytes = max(known_bytes, _known(meter.peak_loader_bytes) or 0)
    own_bytes = (trial.host_peak_bytes or 0) - known_bytes
    host_peak_bytes = max(own_bytes + loader_bytes, seen_bytes)
    return replace(
        trial,
        peak_bytes=host_peak_bytes if is_on_host else trial.peak_bytes,
        host_peak_bytes=host_peak_bytes,
        loader_bytes=loader_bytes if loader_bytes else trial.loader_bytes,
    )


def held_against(trial: Trial, budget_bytes: int | None, *, is_on_host: bool) -> Trial:
    """Mark a trial as over budget if it took more host memory than that.

    Args:
        trial: With its host memory.
        budget_bytes: Host memory that it may use, ``None`` if that is not known.
        is_on_host: Whether the device's memory is the machine's.
    """
    if not trial.fits or budget_bytes is None or (trial.host_peak_bytes or 0) <= budget_bytes:
        return trial
    message = describe(trial, budget_bytes, is_on_host=is_on_host)
    return replace(trial, outcome=Outcome.OVER_BUDGET, message=message)


def describe(trial: Trial, budget_bytes: int, *, is_on_host: bool) -> str:
    """Say how far a trial exceeded its budget of host memory, and what held it.

    Args:
        trial: With its host memory.
        budget_bytes: Host memory that it may use.
        is_on_host: Whether the device's memory is the machine's.
    """
    peak_bytes = trial.host_peak_bytes or 0
    what = "memory" if is_on_host else "host memory"
    peak, budget = format_bytes(peak_bytes), format_bytes(budget_bytes)
    text = f"{what} of {peak} exceeded the budget of {budget}"
    if (trial.loader_bytes or 0) > _WORTH_A_WORD_FRACTION * peak_bytes:
        text += f", {format_bytes(trial.loader_bytes or 0)} of it in loader workers"
    return text


def _known(figure: int | Unknown) -> int | None:
    return None if isinstance(figure, Unknown) else figure
