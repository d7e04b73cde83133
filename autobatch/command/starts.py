"""Starting a command at a size, and what is kept of a run once it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autobatch.command.configs import rewrite
from autobatch.command.gpu import GpuMemory, held_against_gpu, read_gpu
from autobatch.command.launch import Protection
from autobatch.command.measure import Measured
from autobatch.command.run import Cause, Order, Run
from autobatch.command.settings import CommandSettings
from autobatch.command.template import Template
from autobatch.command.words import blame, refuse, says_out_of_memory
from autobatch.recommend.accumulation import split_global_batch
from autobatch.records import MemoryBudget, Outcome, Settings, Trial

#: Batch size of the first run, where the user has said none.
FIRST_SIZE = 8


class Starts:
    """Starts a command, again and again.

    Args:
        template: The command.
        protection: Of the files.
        settings: Settings of the search.
        command: How to run it.

    Attributes:
        on_output: Receives each line that a run wrote, once it is over.
        variables: Environment variables beside those of the settings.
        budget_bytes: Host memory that a run may hold if it trains on the CPU.
        host_budget_bytes: The same if it trains on a GPU.
        gpu_budget: Memory of its GPU, as it was in the first run; ``None`` without one.
        written: Files outside of what is thrown away that runs wrote, by path.
        trackers: Experiment trackers that were turned off.
        num_starts: How often it was started.
    """

    def __init__(
        self,
        template: Template,
        protection: Protection,
        settings: Settings,
        command: CommandSettings,
    ) -> None:
        self._template, self._protection = template, protection
        self._settings, self._command = settings, command
        self.on_output: Callable[[str], None] = lambda line: None
        self.variables: dict[str, str] = {}
        self.budget_bytes = self.host_budget_bytes = 0
        self.gpu_budget: MemoryBudget | None = None
        self.written: dict[str, str] = {}
        self.trackers: tuple[str, ...] = ()
        self.num_starts = 0

    @property
    def device_budget_bytes(self) -> int:
        """Memory of the device that a run may hold."""
        return self.budget_bytes if self.gpu_budget is None else self.gpu_budget.budget_bytes

    def start(self, size: int | None, timeout_s: float | None) -> Run:
        """Start the command.

        Args:
            size: The batch size; ``None`` to leave it to the command.
            timeout_s: Longest time of the run.
        """
        number = size or self._template.base_batch_size or FIRST_SIZE
        settings = self._settings
        steps = split_global_batch(settings, number).steps
        is_passed = self._template.has_size and not self._command.resize
        order = Order(
            arguments=self._template.fill(number, steps),
            variables={**self._template.fill_variables(number, steps), **self.variables},
            protection=self._protection,
            rewritten=rewrite(self._template.config_keys, number),
            budget_bytes=self.budget_bytes,
            host_budget_bytes=self.host_budget_bytes,
            limit_bytes=settings.memory_limit_bytes,
            headroom_fraction=settings.headroom_fraction,
            size=None if is_passed else size,
            timeout_s=timeout_s,
            first_step_timeout_s=self._command.first_step_timeout_s,
            num_ranks=settings.num_devices,
        )
        self.num_starts += 1
        return Run(order).__enter__()

    def end(self, run: Run) -> None:
        """End a run, and keep what it said of files."""
        for name in ("out", "err"):
            for line in run.tail(name).splitlines():
                self.on_output(line)
        run.__exit__()
        self.written |= run.written
        self.trackers = run.trackers

    def to_trial(self, size: int, run: Run, measured: Measured, *, is_first: bool) -> Trial:
        """The trial that a run came to.

        Args:
            size: The batch size.
            run: The run.
            measured: What it showed.
            is_first: Whether nothing has run before, so that any failure is the command's own.

        Raises:
            WorkloadError: If it failed otherwise than by its size.
        """
        trial, ending = measured.trial, measured.ending
        if trial is not None and trial.fits:
            return self._held_against_budget(trial, read_gpu(run.trainers))
        if trial is not None:
            return trial
        assert ending is not None, "a run without a trial is over"
        failed = Trial(batch_size=size, outcome=Outcome.FAILED, message=ending.message)
        failed = replace(failed, peak_bytes=run.seen_bytes or None)
        if ending.cause is Cause.EXITED and says_out_of_memory(run):
            return replace(failed, outcome=Outcome.OUT_OF_MEMORY, message=blame(run).lstrip(": "))
        if ending.exit_code == -9:
            return replace(failed, outcome=Outcome.KILLED)
        if ending.cause is Cause.EXITED and ending.exit_code and not is_first:
            return replace(failed, message=ending.message + blame(run))
        raise refuse(ending, run, self._template, measured.seen.num_boundaries)

    def _held_against_budget(self, trial: Trial, gpu: GpuMemory | None) -> Trial:
        from autobatch.probe.trial.host import held_against

        if gpu is None:
            return held_against(trial, self.budget_bytes, is_on_host=True)
        if self.gpu_budget is None:
            limit_bytes = self._settings.memory_limit_bytes
            self.gpu_budget = gpu.budget(limit_bytes, self._settings.headroom_fraction)
        trial = held_against(trial, self.host_budget_bytes, is_on_host=False)
        return held_against_gpu(trial, self.gpu_budget.budget_bytes)
