"""A comparison as it runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from autobatch.compare.choice import choose_size
from autobatch.compare.jobs import SplitJob, TrainJob
from autobatch.compare.plan import PlannedRun, plan_runs
from autobatch.compare.records import (
    CompareObserver,
    CompareSettings,
    Comparison,
    RunOutcome,
    SilentCompareObserver,
    epochs_to_loss,
)
from autobatch.errors import ComparisonInterrupted, ResultFormatError
from autobatch.probe.probers import JobProber
from autobatch.probe.protocol import Loaded
from autobatch.records import Settings

# Long enough that starting a process is little beside it, short enough to see it advance.
_SLICE_S = 2.0


def compare(
    prober: JobProber,
    settings: Settings,
    asked: CompareSettings,
    *,
    target: str,
    observer: CompareObserver | None = None,
    previous: Comparison | None = None,
) -> Comparison:
    """Train a workload at several batch sizes from the same weights and seed.

    Args:
        prober: Loads the workload and trains it.
        settings: Device, memory, precision, learning rate, seed.
        asked: Sizes, epochs, target.
        target: The workload's name, for the result.
        observer: Notified of every step.
        previous: A comparison that was interrupted, whose finished runs are taken over.

    Returns:
        All runs, and the size to choose.

    Raises:
        ComparisonInterrupted: On Ctrl-C once an epoch was trained; carries what was done.
        ResultFormatError: If ``previous`` compared something else.
        AutobatchError: If nothing can be trained.
    """
    session = _Session(prober, settings, asked, target, observer or SilentCompareObserver())
    try:
        session.prepare(previous)
        session.train_all()
        return session.conclude()
    except KeyboardInterrupt:
        if not any(run.done.epochs for run in session.runs):
            raise
        raise ComparisonInterrupted(session.conclude()) from None


class _Session:
    """Trains runs until all are over."""

    def __init__(
        self,
        prober: JobProber,
        settings: Settings,
        asked: CompareSettings,
        target: str,
        observer: CompareObserver,
    ) -> None:
        self.runs: list[PlannedRun] = []
        self._prober = prober
        self._settings = settings
        self._asked = asked
        self._target = target
        self._observer = observer
        self._loaded: Loaded | None = None
        self._num_train_samples: int | None = None

    def prepare(self, previous: Comparison | None) -> None:
        loaded = self._loaded = self._prober.load()
        job = SplitJob(validation_fraction=self._asked.validation_fraction)
        self._num_train_samples = self._prober.run(job)
        self.runs = plan_runs(self._asked, self._settings, loaded.workload, self._num_train_samples)
        if previous is not None:
            self._take_over(previous)
        self._observer.comparing(loaded.workload, loaded.device, len(self.runs))

    def train_all(self) -> None:
        with tempfile.TemporaryDirectory(prefix="autobatch-") as folder:
            for number, run in enumerate(self.runs):
                run.state_path = str(Path(folder) / f"run-{number}.pt")
                self._train(run, str(Path(folder) / "initial.pt"))

    def conclude(self) -> Comparison:
        assert self._loaded is not None
        runs = tuple(run.done for run in self.runs)
        choice = choose_size(runs, self._asked)
        return Comparison(
            target=self._target,
            device=self._loaded.device,
            settings=self._settings,
            asked=self._asked,
            environment=self._loaded.environment,
            workload=self._loaded.workload,
            num_train_samples=self._num_train_samples,
            runs=runs,
            batch_size=choice.batch_size if choice else None,
            reason=choice.reason if choice else "no size was trained to the end",
        )

    def _take_over(self, previous: Comparison) -> None:
        same = (
            previous.target == self._target
            and previous.asked == self._asked
            and previous.settings == self._settings
            and previous.num_train_samples == self._num_train_samples
        )
        if not same:
            raise ResultFormatError(
                f"the comparison to go on with is of {previous.target}, with other sizes, epochs "
                "or settings than are asked for now",
                hint="give the same target and options as then, or leave `resume` out",
            )
        known = {run.batch_size: run for run in previous.runs}
        for run in self.runs:
            before = known.get(run.done.batch_size)
            # The weights of one that was under way are gone: it begins anew.
            if before is not None and before.is_over:
                run.done = before

    def _train(self, run: PlannedRun, initial_path: str) -> None:
        if not run.done.is_over:
            self._observer.run_started(run.done, self._asked.num_epochs)
        while not run.done.is_over:
            run.add(self._prober.run(self._make_job(run, initial_path)))
            if not run.done.is_over and self._is_at_its_end(run):
                run.end(RunOutcome.FINISHED)
            self._observer.run_advanced(run.done, self._asked.num_epochs)

    def _is_at_its_end(self, run: PlannedRun) -> bool:
        is_complete = len(run.done.epochs) >= self._asked.num_epochs
        return is_complete or epochs_to_loss(run.done.epochs, self._stop_at_loss) is not None

    @property
    def _stop_at_loss(self) -> float | None:
        return self._asked.target_loss if self._asked.stop_at_target else None

    def _make_job(self, run: PlannedRun, initial_path: str) -> TrainJob:
        return TrainJob(
            batch_size=run.asked,
            state_path=run.state_path,
            initial_path=initial_path,
            num_epochs_done=len(run.done.epochs),
            num_epochs=self._asked.num_epochs,
            stop_at_loss=self._stop_at_loss,
            slice_s=_SLICE_S,
            rate_multiplier=run.rate_multiplier,
            learning_rate=self._settings.learning_rate,
            validation_fraction=self._asked.validation_fraction,
        )
