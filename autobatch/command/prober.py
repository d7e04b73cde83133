"""The prober of a command: one batch size in, one trial of the user's own script out.

load       a run of its own at the user's size: what is trained, and whether batches can be
resized in place; if so the run is held, else it is ended
measure    in place while that works; a size that fails there, the final run, and everything of
a script without such a loader: a run of its own
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from autobatch.command.configs import read_size
from autobatch.command.describe import Trained, describe_environment, describe_run, summarize
from autobatch.command.launch import choose_protection
from autobatch.command.measure import Measured, Measurement
from autobatch.command.passing import PassedSizes
from autobatch.command.resident import Resident
from autobatch.command.run import Ending, Run
from autobatch.command.settings import CommandSettings, FileProtection
from autobatch.command.starts import FIRST_SIZE, Starts
from autobatch.command.template import Template, parse_command
from autobatch.devices.caching import CachingGpu
from autobatch.devices.cpu import CpuDevice
from autobatch.errors import SettingsError, WorkloadError
from autobatch.probe.protocol import Loaded, Purpose, TimingPlan
from autobatch.records import MemoryBudget, Settings, Trial

if TYPE_CHECKING:
    from typing_extensions import Self

_FEWER = 4
# How often what two runs hold must go into the budget, for both to run.
_ROOM = 1.5
# How much longer the same start may take, beside others that want the cores or the disk.
_START_SPREAD = 1.5
_RESERVED_FRACTION = 0.3
_IN_PLACE = (Purpose.SEARCH, Purpose.RACE)
_DEVICES = ("cpu", "cuda")


class CommandProber:
    """Measures a command; a context manager, so that nothing of it is left running.

    Args:
        arguments: The command, as the user typed it behind ``--``.
        settings: Settings of the search.
        command: How to run it.

    Attributes:
        template: The command, with placeholders for the size.
        protection: Of the files.
        starts: Starts it, and knows what its runs wrote.
        passed: Whether sizes that are passed take effect.
        trained: What the first run showed; ``None`` before it.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        settings: Settings,
        command: CommandSettings,
    ) -> None:
        self._settings, self._command = settings, command
        self.template = _parse(arguments, settings, command)
        self.protection = choose_protection(command.files, os.getcwd())
        if self.template.config_keys and self.protection.kind is not FileProtection.OVERLAY:
            raise SettingsError(
                f"`in={self.template.config_keys[0]}` needs an overlay, and `files` is "
                f"{self.protection.kind.value}",
                hint="pass the size as an argument of the command",
            )
        self.starts = Starts(self.template, self.protection, settings, command)
        self.passed = PassedSizes(self.starts, self.template.place)
        self.trained: Trained | None = None
        self._resident: Resident | None = None
        self._start_s = 0.0
        self._in_place_until = math.inf
        self._known: dict[int, Trial] = {}
        self._peaks_bytes: dict[int, int] = {}
        self._variables: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_resident()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Run the command once, at the size that it is trained with now, and see what it trains.

        Raises:
            WorkloadError: If it does not train, or nothing can be seen of it.
        """
        settings = self._settings
        host, budget = self._host_budget(None), self._host_budget(settings.memory_limit_bytes)
        self.starts.host_budget_bytes = host.budget_bytes
        self.starts.budget_bytes = budget.budget_bytes
        size = self._first_size()
        trial = self._look(size, timeout_s)
        while not trial.fits and size is not None and size > settings.min_batch_size:
            size = max(settings.min_batch_size, size // _FEWER)
            trial = self._look(size, timeout_s)
        if self.trained is None:
            samples = "one sample" if trial.batch_size == 1 else f"{trial.batch_size:,} samples"
            raise WorkloadError(
                f"not even {samples} can be trained with: {trial.message}",
                hint="use a smaller model, or a machine with more memory",
            )
        if self._is_passed:
            self.passed.require_effect(2 * trial.batch_size, timeout_s)
        base = self.template.base_batch_size
        if base is None and not self._is_passed:
            base = trial.batch_size
        gpu, kind = self.trained.gpu, CpuDevice if self.trained.gpu is None else CachingGpu
        return Loaded(
            workload=summarize(self.trained, self.template, base, self._notes()),
            environment=describe_environment(self.trained, gpu, settings.variables),
            device="cpu" if gpu is None else f"cuda:{gpu.index}",
            budget=self.starts.gpu_budget or budget,
            host_budget=None if gpu is None else host,
            memory_is_enforced=True,
            peak_uncertainty_fraction=kind.peak_uncertainty_fraction,
            smallest_batch_size=self._smallest(trial.batch_size),
            final_start_s=self._find_reserve(),
        )

    def _host_budget(self, limit_bytes: int | None) -> MemoryBudget:
        return MemoryBudget.from_bounds(
            CpuDevice().bounds(limit_bytes), headroom_fraction=self._settings.headroom_fraction
        )

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size, in place or by a run of its own.

        Raises:
            WorkloadError: If the size turns out to have no effect.
        """
        self._use_threads(plan.num_threads)
        if plan.purpose in _IN_PLACE:
            resident = self._find_resident(batch_size, timeout_s)
            if resident is not None:
                trial = self._measure_in_place(resident, batch_size, plan, timeout_s)
                if trial is not None:
                    return trial
        self._make_room(batch_size)
        known = self._known.pop(batch_size, None)
        if known is not None and plan.purpose is Purpose.SEARCH:
            return known
        return self._run_anew(batch_size, plan, timeout_s)

    def use_variables(self, variables: dict[str, str]) -> None:
        """Run what comes next with these environment variables, beside those of the settings."""
        self._variables = dict(variables)

    def _use_threads(self, num_threads: int | None) -> None:
        """Threads are a matter of the environment, and so of another start."""
        threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
        variables = {**self._variables, **threads}
        if variables != self.starts.variables:
            self.starts.variables = variables
            self._known.clear()
            self._end_resident()

    @property
    def _is_passed(self) -> bool:
        """Whether the size goes to the command, and not to its loader."""
        return self.template.has_size and not self._command.resize

    def _first_size(self) -> int | None:
        """The size of the first run; ``None`` to leave it to the command."""
        if not self._is_passed:
            return None
        size = self.template.base_batch_size or FIRST_SIZE
        size = max(size, self._settings.min_batch_size)
        return min(size, self._settings.max_batch_size or size)

    def _smallest(self, fitted: int) -> int:
        """Where the search begins: where each size costs a start, not with the tiniest."""
        if self._resident is not None:
            return 2 if self.trained is not None and self.trained.has_batch_norm else 1
        return min(fitted, FIRST_SIZE)

    def _find_reserve(self) -> float:
        """Time to keep for the start of the final run; a part of it where time is short."""
        limit_s = self._settings.time_limit_s or math.inf
        return min(_START_SPREAD * self._start_s, _RESERVED_FRACTION * limit_s)

    def _look(self, size: int | None, timeout_s: float | None) -> Trial:
        """Run the first size, and hold the run if its batches can be resized."""
        run = self.starts.start(size, timeout_s)
        try:
            measured = Measurement(run, size, TimingPlan()).wait()
            number = size or measured.seen.batch_size or 0
            trial = self.starts.to_trial(number, run, measured, is_first=True)
            self._start_s = run.elapsed_s
            if trial.fits:
                self._learn(run, number, measured)
                self._try_to_hold(run, measured)
            if trial.fits and self._resident is None:
                self._known[number] = trial
        finally:
            if self._resident is None:
                self.starts.end(run)
        return trial

    def _learn(self, run: Run, size: int, measured: Measured) -> None:
        self.trained = describe_run(run.trainers, measured.seen)
        if self.trained.device not in _DEVICES:
            raise WorkloadError(
                f"the script trains on {self.trained.device}, and only commands that train on the "
                "CPU or with CUDA can be measured",
                hint="give a target, or have the script train on the CPU",
            )
        if self.trained.device == "cuda" and self.trained.gpu is None:
            raise WorkloadError(
                "the script trains on a GPU, and nothing could be read of its memory",
                hint="give a target, or have the script train without CUDA graphs",
            )
        if self.trained.num_ranks != self._settings.num_devices:
            raise WorkloadError(
                f"{self.trained.num_ranks} processes train together, and `num_devices` is "
                f"{self._settings.num_devices}",
                hint=f"add `num_devices={self.trained.num_ranks}`",
            )
        self.passed.note(run, size, measured)

    def _try_to_hold(self, run: Run, measured: Measured) -> None:
        assert self.trained is not None
        can_resize = self.trained.can_resize and self.trained.num_ranks == 1
        if can_resize and not self._command.fresh and run.ending is None:
            resident = Resident(run, measured.load_peak_bytes)
            if resident.hold():
                self._resident = resident
                return
        self._in_place_until = 0
        if not self._is_passed:
            raise _no_place(run.ending)

    def _find_resident(self, batch_size: int, timeout_s: float | None) -> Resident | None:
        """The run that stays, started again if it was ended; ``None`` if a size needs its own."""
        if batch_size >= self._in_place_until:
            return None
        if self._resident is None:
            self._look(self._first_size(), timeout_s)
        return self._resident

    def _measure_in_place(
        self, resident: Resident, batch_size: int, plan: TimingPlan, timeout_s: float | None
    ) -> Trial | None:
        """A trial in the run that stays; ``None`` if a run of its own must decide."""
        measured = resident.measure(batch_size, plan, timeout_s)
        trial = measured.trial
        peak_bytes = max(trial.peak_bytes or 0, resident.load_peak_bytes) if trial else 0
        is_over = peak_bytes > self.starts.device_budget_bytes
        if trial is None or not trial.fits or is_over or resident.run.ending is not None:
            self._end_resident()
            self._in_place_until = min(self._in_place_until, batch_size)
            return None
        if plan.purpose is Purpose.RACE:  # the sizes before have left their traces
            return replace(trial, peak_bytes=None, host_peak_bytes=None)
        self._peaks_bytes[batch_size] = peak_bytes
        is_on_host = trial.peak_reserved_bytes is None
        host_peak_bytes = peak_bytes if is_on_host else trial.host_peak_bytes
        return replace(trial, peak_bytes=peak_bytes, host_peak_bytes=host_peak_bytes)

    def _make_room(self, batch_size: int) -> None:
        """End the run that stays, unless a run of this size fits beside it for certain."""
        if self._resident is not None:
            peak_bytes = self._peaks_bytes.get(batch_size)
            if self.starts.gpu_budget is not None:
                peak_bytes = None
            held_bytes = self._resident.run.seen_bytes
            if peak_bytes is None or _ROOM * (peak_bytes + held_bytes) > self.starts.budget_bytes:
                self._end_resident()

    def _run_anew(self, size: int, plan: TimingPlan, timeout_s: float | None) -> Trial:
        run = self.starts.start(size, timeout_s)
        try:
            measured = Measurement(run, size, plan).wait()
            trial = self.starts.to_trial(size, run, measured, is_first=False)
            if trial.fits and self._is_passed:
                self.passed.note(run, size, measured)
            elif trial.fits:
                self.passed.note_own(run, size, measured)
        finally:
            self.starts.end(run)
        is_due = trial.fits and self._is_passed
        return self.passed.held_to_size(trial) if is_due else trial

    def _notes(self) -> tuple[str, ...]:
        if self._is_passed and self.passed.verdict.has_effect is None:
            return (f"that {self.template.place} is the batch size could not be seen",)
        if self.passed.ratio != 1:
            return (
                f"a batch of one process has {self.passed.ratio:g} times {self.template.place}",
            )
        if self._resident is not None and not self.template.has_size:
            return ("its loader's batches were resized; the command itself names no batch size",)
        return ()

    def _end_resident(self) -> None:
        resident, self._resident = self._resident, None
        if resident is not None:
            self.starts.end(resident.run)


def _parse(arguments: tuple[str, ...], settings: Settings, command: CommandSettings) -> Template:
    template = parse_command(arguments, settings.variables, command.config_keys)
    if template.config_keys:
        size = read_size(template.config_keys[0])
        return replace(template, base_batch_size=template.base_batch_size or size)
    return template


def _no_place(ending: Ending | None) -> WorkloadError:
    why = ending.message if ending is not None else "no DataLoader's batches can be resized"
    return WorkloadError(
        f"the command has no place for the batch size, and {why}",
        hint="write {batch_size} where the command takes it",
    )
