"""What is known at some moment of a search, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from autobatch.decide.bracket import find_bracket
from autobatch.decide.grid import make_grid
from autobatch.decide.knee import epoch_efficiencies, find_knee
from autobatch.decide.posterior import draw_to_curve
from autobatch.decide.race import find_challengers, find_contestants
from autobatch.decide.rates import Rates, estimate_rates
from autobatch.decide.step import Rules, is_expected_last
from autobatch.decide.throughput import fit_throughput
from autobatch.noise.goodput import find_efficiency, scale_to_goodput
from autobatch.probe.protocol import Loaded
from autobatch.recommend.choice import Choice, choose
from autobatch.recommend.inputs import find_dataset_size
from autobatch.records import (
    Confirmation,
    Efficiency,
    FindingWarning,
    Goal,
    LengthBucket,
    NoiseScale,
    Phase,
    Settings,
    StopReason,
    Trial,
)

_FEWEST_ROUNDS = 3


@dataclass
class Evidence:
    """Everything measured so far.

    Attributes:
        settings: What was asked.
        loaded: What the worker said of the workload and the machine.
        trials: Trials by batch size.
        stop_reason: Why the search went no further.
        choice: The size that was settled on, ``None`` before that.
        confirmation: The final run of that size, ``None`` before that.
        eval_trials: Trials of evaluation, by batch size.
        buckets: Batch sizes by length.
        eval_is_largest: Whether the search for its largest size came to an end.
        noise: The gradient noise scale, ``None`` if it was not measured.
        failures: What was looked for after the answer and ended in an error, with a warning.
    """

    settings: Settings
    loaded: Loaded
    trials: dict[int, Trial] = field(default_factory=dict)
    stop_reason: StopReason = StopReason.MEMORY
    choice: Choice | None = None
    confirmation: Confirmation | None = None
    eval_trials: dict[int, Trial] = field(default_factory=dict)
    eval_is_largest: bool = False
    buckets: tuple[LengthBucket, ...] = ()
    noise: NoiseScale | None = None
    failures: dict[Phase, FindingWarning] = field(default_factory=dict)

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

    def make_rules(self) -> Rules:
        """What the search goes by."""
        dataset_size = find_dataset_size(self.settings, self.loaded.workload)
        host_budget = self.loaded.host_budget
        grid = make_grid(self.settings, dataset_size, self.loaded.smallest_batch_size)
        return Rules(
            grid=grid,
            goal=self.settings.goal,
            tolerance_fraction=self.settings.tolerance_fraction,
            budget_bytes=self.loaded.budget.budget_bytes,
            uncertainty_fraction=self.loaded.peak_uncertainty_fraction,
            host_budget_bytes=host_budget.budget_bytes if host_budget else None,
        )

    def is_expected_answer(self, batch_size: int) -> bool:
        """Whether a size that has not run will be the answer, if it fits.

        That of a compiled model runs eagerly before it is compiled for its final run.
        """
        is_compiled = self.loaded.workload.is_compiled
        return not is_compiled and is_expected_last(self.make_rules(), self.trials, batch_size)

    def rates(self) -> tuple[Rates, Rates]:
        """Throughputs over an epoch: drawn to the fitted curve, and as measured."""
        fitting = self.fitting
        curve = fit_throughput(fitting, with_band=False)
        efficiencies = epoch_efficiencies(
            fitting,
            curve,
            dataset_size=find_dataset_size(self.settings, self.loaded.workload),
            settings=self.settings,
        )
        measured = estimate_rates(fitting, curve)
        return draw_to_curve(measured, curve).scaled(efficiencies), measured.scaled(efficiencies)

    def find_knee(self) -> int:
        """The smallest size that is as fast as any."""
        rates, measured = self.rates()
        return find_knee(rates, measured, tolerance_fraction=self.settings.tolerance_fraction)

    def find_contestants(self) -> tuple[int, ...]:
        """Sizes to time again in turn.

        Held against the measurements alone: that a curve runs through them smoothly is no
        reason to leave out the timing in turn. But a size that the curve would have among the
        first is not out for one slow run.
        """
        rates, measured = self.rates()
        tolerance_fraction = self.settings.tolerance_fraction
        if self.settings.goal is Goal.EFFICIENCY and self.find_efficiency() is not None:
            assert self.noise is not None
            goodputs = scale_to_goodput(
                measured, self.noise.at_least, self.settings, self.loaded.workload
            )
            return find_challengers(goodputs, tolerance_fraction=tolerance_fraction)
        knee = find_knee(rates, measured, tolerance_fraction=tolerance_fraction)
        contestants = find_contestants(measured, knee=knee, tolerance_fraction=tolerance_fraction)
        expected = find_contestants(rates, knee=knee, tolerance_fraction=tolerance_fraction)
        return tuple(sorted({*contestants, *self._find_unheard(expected, rates.sizes, knee)}))

    def _find_unheard(
        self, expected: tuple[int, ...], sizes: tuple[int, ...], knee: int
    ) -> set[int]:
        """Sizes that too few timings in turn speak against, and the knee with them.

        Those that the curve would have among the first, and the size below the knee: a machine
        that was busy while the smaller sizes ran makes all of them look hopeless.
        """
        unheard = {size for size in expected if self._num_rounds(size) < _FEWEST_ROUNDS}
        below = max((size for size in sizes if size < knee), default=None)
        if below is not None and not self._num_rounds(below):
            unheard.add(below)
        return unheard | {knee} if unheard else unheard

    def _num_rounds(self, size: int) -> int:
        """How often a size was timed in turn with others."""
        return sum(each.number > 0 for each in self.trials[size].rounds)

    def find_efficiency(self) -> Efficiency | None:
        """Goodputs, where the noise scale is known."""
        return find_efficiency(self.rates()[0], self.noise, self.settings, self.loaded.workload)

    def choose(self) -> Choice:
        """The size that the goal asks for, by what is known now."""
        return choose(
            self.settings,
            knee=self.find_knee(),
            largest_run=self.largest_run,
            efficiency=self.find_efficiency(),
        )

    def find_eval_batch_size(self) -> int | None:
        """The largest size that evaluation ran and fitted with, ``None`` if it did not run."""
        confirmed = self.confirmation
        if confirmed is not None and confirmed.eval_fits and not self.eval_trials:
            return confirmed.batch_size
        return find_bracket(self.eval_trials).fitted or None
