"""All that a search has measured so far, and the decision that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autobatch.decide.action import Progress
from autobatch.decide.bracket import find_bracket
from autobatch.decide.choice import Choice
from autobatch.decide.decision import Asked, Decision, decide
from autobatch.decide.grid import find_whole, make_grid
from autobatch.decide.step import Rules, is_expected_last
from autobatch.probe.protocol import Loaded
from autobatch.recommend.inputs import find_dataset_size
from autobatch.records import (
    Confirmation,
    Contention,
    Efficiency,
    FindingWarning,
    LengthBucket,
    MemoryForecast,
    Phase,
    Settings,
    StopReason,
    TimingRound,
    Trial,
)

if TYPE_CHECKING:
    from autobatch.finder.forecast import Forecast
    from autobatch.finder.worth import Worth


@dataclass
class Evidence:
    """Everything measured so far.

    Attributes:
        settings: What the user asked for.
        loaded: The workload and the machine, as the worker reports them.
        worth: Measures the value of a sample, where the goal needs it.
        forecast: Predicts memory, where it can.
        proposal: The largest size by that prediction; ``None`` before it is made, or without one.
        trials: Trials by batch size.
        stop_reason: Why the search went no further.
        num_rounds: Rounds of timing sizes in turn, final runs among them.
        raced_s: Seconds that went into timing sizes in turn.
        confirmations: Final runs that fitted, by batch size.
        contention: What was done about processes that kept the cores busy.
        eval_trials: Trials of evaluation, by batch size.
        buckets: Batch sizes by length.
        eval_is_largest: Whether the search for the largest evaluation size finished.
        refused: Final runs that did not fit, with the trials before them that did.
        failures: A warning for each search after the answer that ended in an error.
    """

    settings: Settings
    loaded: Loaded
    worth: Worth | None = None
    forecast: Forecast | None = None
    proposal: int | None = None
    trials: dict[int, Trial] = field(default_factory=dict)
    stop_reason: StopReason = StopReason.MEMORY
    num_rounds: int = 0
    raced_s: float = 0.0
    confirmations: dict[int, Confirmation] = field(default_factory=dict)
    contention: Contention | None = None
    eval_trials: dict[int, Trial] = field(default_factory=dict)
    eval_is_largest: bool = False
    buckets: tuple[LengthBucket, ...] = ()
    refused: tuple[tuple[Trial, Trial], ...] = ()
    failures: dict[Phase, FindingWarning] = field(default_factory=dict)
    _decided: tuple[tuple[dict[int, Trial], Asked], Decision] | None = None

    @property
    def has_answer(self) -> bool:
        """Whether any size fitted."""
        return self.largest_run > 0

    @property
    def largest_run(self) -> int:
        """Largest size that ran and fitted, 0 if none did."""
        return find_bracket(self.trials).fitted

    @property
    def fitting(self) -> dict[int, Trial]:
        """The trials that fitted, up to the largest size below any that did not."""
        largest = self.largest_run
        return {
            size: trial
            for size, trial in sorted(self.trials.items())
            if trial.fits and size <= largest
        }

    @property
    def your_batch_size(self) -> int | None:
        """The size that the user trains with now, if known."""
        return self.loaded.workload.base_batch_size

    def make_rules(self) -> Rules:
        """Candidates and limits of the search."""
        dataset_size = find_dataset_size(self.settings, self.loaded.workload)
        host_budget = self.loaded.host_budget
        grid = make_grid(
            self.settings,
            dataset_size,
            self.loaded.smallest_batch_size,
            self.your_batch_size,
            self.loaded.workload.num_positions,
        )
        return Rules(
            grid=grid,
            goal=self.settings.goal,
            budget_bytes=self.loaded.budget.budget_bytes,
            uncertainty_fraction=self.loaded.peak_uncertainty_fraction,
            host_budget_bytes=host_budget.budget_bytes if host_budget else None,
            whole=find_whole(self.settings),
            proposal=self.proposal,
        )

    def is_expected_answer(self, batch_size: int) -> bool:
        """Whether a size that has not run will be the answer, if it fits.

        A compiled model runs eagerly in the search, so its answer needs a final run regardless.
        """
        is_compiled = self.loaded.workload.is_compiled
        return not is_compiled and is_expected_last(self.make_rules(), self.trials, batch_size)

    def decide(self) -> Decision:
        """Decide from the trials that fitted; at least one must have."""
        worth = self.worth if self.worth is not None and self.worth.is_known() else None
        asked = Asked(
            goal=self.settings.goal,
            tolerance_fraction=self.settings.tolerance_fraction,
            your_batch_size=self.your_batch_size,
            worth=worth.of if worth else None,
            worth_reason=worth.reason() if worth else "",
        )
        known = (self.fitting, asked)
        if self._decided is None or self._decided[0] != known:
            self._decided = (known, decide(*known))
        return self._decided[1]

    def progress(self) -> Progress:
        """What has been done, as ``next_action`` needs it."""
        return Progress(
            settings=self.settings,
            rules=self.make_rules(),
            trials=self.trials,
            decision=self.decide() if self.has_answer else None,
            raced_s=self.raced_s,
            confirmed=self.confirmations,
            lacks_worth=self.worth is not None and self.worth.noise is None,
        )

    def choose(self) -> Choice:
        """The size that the goal asks for, as far as is known."""
        choice = self.progress().choice
        assert choice is not None, "no size fitted"
        return choice

    @property
    def confirmation(self) -> Confirmation | None:
        """The final run of the answer; ``None`` if there was none."""
        return self.confirmations.get(self.choose().batch_size) if self.confirmations else None

    def count_final_steps(self, trial: Trial) -> None:
        """Add the steps of a final run to its trial, as a round of their own."""
        self.num_rounds += 1
        known = self.trials[trial.batch_size]
        timed = TimingRound(
            number=self.num_rounds,
            step_times_s=trial.step_times_s,
            data_times_s=trial.data_times_s,
        )
        self.trials[trial.batch_size] = known.with_timing(timed)

    def find_efficiency(self) -> Efficiency | None:
        """Goodputs, if the noise scale is known."""
        return None if self.worth is None else self.worth.efficiency(self.decide().rates)

    def find_forecast(self) -> MemoryForecast | None:
        """The prediction beside the peak of the answer; ``None`` if there was none."""
        trial = self.trials[self.choose().batch_size]
        if self.forecast is None or self.proposal is None or trial.peak_bytes is None:
            return None
        return MemoryForecast(
            batch_size=trial.batch_size,
            predicted_bytes=self.forecast.peak_bytes(trial.batch_size),
            measured_bytes=trial.peak_bytes,
            largest_batch_size=self.proposal,
        )

    def find_eval_batch_size(self) -> int | None:
        """The largest size at which evaluation ran and fitted; ``None`` if none."""
        confirmed = self.confirmation
        if confirmed is not None and confirmed.eval_fits and not self.eval_trials:
            return confirmed.batch_size
        return find_bracket(self.eval_trials).fitted or None
