"""Which runs a comparison has, and at which learning rate each trains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autobatch.compare.jobs import TrainReply
from autobatch.compare.records import CompareSettings, RunOutcome, TrainingRun
from autobatch.errors import SettingsError
from autobatch.recommend.inputs import find_base_batch_size, find_base_learning_rate
from autobatch.recommend.learning_rate import scale_learning_rate
from autobatch.records import Settings, WorkloadSummary


@dataclass(kw_only=True)
class PlannedRun:
    """One size, partly trained.

    Attributes:
        asked: The size as the user gave it; ``None`` for the whole training set.
        rate_multiplier: Factor of the learning rate, by the rule.
        done: The run so far.
        state_path: File with its latest weights.
    """

    asked: int | None
    rate_multiplier: float
    done: TrainingRun
    state_path: str = field(default="")

    def add(self, reply: TrainReply) -> None:
        """Add the results of a slice of epochs."""
        done = self.done
        before = sum(epoch.num_iterations for epoch in done.epochs)
        peaks = [peak for peak in (done.peak_bytes, reply.peak_bytes) if peak]
        self.done = replace(
            done,
            outcome=reply.outcome,
            learning_rate=reply.learning_rate or done.learning_rate,
            epochs=(*done.epochs, *reply.epochs),
            iterations=(*done.iterations, *(before + number for number in reply.iterations)),
            losses=(*done.losses, *reply.losses),
            peak_bytes=max(peaks) if peaks else None,
            message=reply.message,
        )

    def end(self, outcome: RunOutcome) -> None:
        """Mark the run as ended."""
        self.done = replace(self.done, outcome=outcome)


def plan_runs(
    asked: CompareSettings,
    settings: Settings,
    workload: WorkloadSummary,
    num_train_samples: int | None,
) -> list[PlannedRun]:
    """All runs, size by size.

    Args:
        asked: The sizes.
        settings: For the learning rate and its rule.
        workload: For the optimizer and the base that the rate goes with.
        num_train_samples: Samples of an epoch, ``None`` if the data does not tell.

    Raises:
        SettingsError: If two of the sizes come to the same, or one cannot be resolved.
    """
    _require_distinct(asked, num_train_samples)
    runs = []
    base = find_base_learning_rate(settings, workload)
    for size in asked.batch_sizes:
        resolved = _resolve(size, num_train_samples)
        scaled = scale_learning_rate(
            settings.learning_rate_rule,
            base_learning_rate=base,
            base_batch_size=find_base_batch_size(settings, workload),
            global_batch_size=resolved,
            optimizer=workload.optimizer,
        )
        multiplier = scaled.formula_multiplier
        run = TrainingRun(
            batch_size=resolved,
            is_full_batch=num_train_samples is not None and resolved >= num_train_samples,
            learning_rate=None if base is None else base * multiplier,
            outcome=RunOutcome.UNFINISHED,
        )
        runs.append(PlannedRun(asked=size, rate_multiplier=multiplier, done=run))
    return runs


def _require_distinct(asked: CompareSettings, num_train_samples: int | None) -> None:
    if num_train_samples is None:
        return
    whole = [
        "full" if size is None else str(size)
        for size in asked.batch_sizes
        if size is None or size >= num_train_samples
    ]
    if len(whole) > 1:
        raise SettingsError(
            f"batch sizes {' and '.join(whole)} come to the same: the training set has "
            f"{num_train_samples} samples",
            hint="leave all but one of them out, or hold fewer samples out with `validation`",
        )


def _resolve(size: int | None, num_train_samples: int | None) -> int:
    if size is None:
        if num_train_samples is None:
            raise SettingsError(
                "batch size 'full' of an iterable dataset that does not tell its length",
                hint="give the size as a number, or the dataset a __len__",
            )
        return num_train_samples
    return size if num_train_samples is None else min(size, num_train_samples)
