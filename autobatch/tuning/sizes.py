"""The batch size that goes with settings: a short climb from the start's, then rounds in turn.

    reference, size, 2 size, 4 size ... | reference, best | reference, best | ...

Knees move little and memory lines shift, so the climb begins where the start ended, and is warned
by the slope of the start's memory. What a machine does to a round cancels in the ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autobatch.errors import NothingFitsError
from autobatch.probe.protocol import Purpose
from autobatch.records import Trial
from autobatch.tuning.ratios import LEAST_GAIN_FRACTION, is_clear, mean_of, smallest_as_fast

_LESS_MEMORY_FRACTION = 0.05
_MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a climb begins, and where it ends at the latest.

    Attributes:
        first: The size of the start.
        smallest: Smallest size that may be tried.
        largest: Largest size that may be tried.
        budget_bytes: Memory that a trial may use.
        first_peak_bytes: What the start uses at its size.
        per_sample_bytes: Slope of its memory line, 0 if unknown.
        noise_fraction: Standard deviation of the log of a throughput from run to run.
        is_bound_by_memory: Whether memory ended the climb of the start.
        has_fallen: Whether the start was slower at larger sizes.
    """

    first: int
    smallest: int
    largest: int
    budget_bytes: int
    first_peak_bytes: int
    per_sample_bytes: float
    noise_fraction: float
    is_bound_by_memory: bool
    has_fallen: bool


def next_size(
    trials: Mapping[int, Trial], ratios: Mapping[int, float], limits: Limits
) -> int | None:
    """The next size to run; ``None`` at the end of the climb.

    Args:
        trials: What ran so far, the last one largest, unless nothing has fitted yet.
        ratios: Throughput over that of the start, of those that fitted.
        limits: Where it begins and ends.
    """
    if not trials:
        return limits.first
    if not ratios:
        size = min(trials)
        return max(limits.smallest, size // 2) if size > limits.smallest else None
    last, best = max(ratios), max(ratios.values())
    following = min(2 * last, limits.largest)
    if following <= last or following in trials or len(trials) > len(ratios):
        return None
    if _predict_bytes(trials, following, limits) > limits.budget_bytes:
        return None
    if len(ratios) == 1:
        peak_bytes = trials[last].peak_bytes or 0
        has_room = peak_bytes < (1 - _LESS_MEMORY_FRACTION) * limits.first_peak_bytes
        may_rise = limits.has_fallen or (limits.is_bound_by_memory and has_room)
        return following if best > 1 + LEAST_GAIN_FRACTION or may_rise else None
    before = [ratios[each] for each in sorted(ratios)[:-2]]
    if before and best <= (1 + LEAST_GAIN_FRACTION) * max(before):
        return None  # nothing gained over two doublings: one may have had a bad moment
    return following


def _predict_bytes(trials: Mapping[int, Trial], size: int, limits: Limits) -> float:
    """The peak at a size: by the last two, or by the slope of the start's line."""
    peaks = {each: trial.peak_bytes for each, trial in sorted(trials.items()) if trial.peak_bytes}
    if not peaks:
        return 0.0
    last = max(peaks)
    slope = limits.per_sample_bytes * min(1.0, peaks[last] / max(1, limits.first_peak_bytes))
    if len(peaks) > 1:
        before = sorted(peaks)[-2]
        slope = (peaks[last] - peaks[before]) / (last - before)
    return peaks[last] + max(0.0, slope) * (size - last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """Settings with the size that goes with them.

    Attributes:
        batch_size: The size.
        ratios: Its throughput over that of the start, by round.
        climbed: Sizes that fitted, with that ratio: as in the climb relative to each other, and at
            ``batch_size`` as the rounds say.
        peaks_bytes: Their peaks.
    """

    batch_size: int
    ratios: tuple[float, ...]
    climbed: dict[int, float]
    peaks_bytes: dict[int, int | None]


def find_size(
    run: Callable[[int, Purpose], tuple[Trial, float]],
    reference: Callable[[], float],
    limits: Limits,
    is_over: Callable[[], bool],
) -> Sized:
    """Find the size that goes with settings, and time it in turn with the start.

    Args:
        run: Runs a size with the settings; returns its trial and its throughput.
        reference: Runs the start; returns its throughput.
        limits: Where to begin and end.
        is_over: Whether there is no time for more.

    Raises:
        NothingFitsError: If no size fits.
    """
    own = reference()
    trials: dict[int, Trial] = {}
    ratios: dict[int, float] = {}
    while (size := next_size(trials, ratios, limits)) is not None:
        trials[size], rate = run(size, Purpose.SEARCH)
        if trials[size].fits:
            ratios[size] = rate / own
        if is_over():
            break
    if not ratios:
        last = trials[min(trials)]
        raise NothingFitsError(
            f"batch size {last.batch_size} does not fit: {last.message or last.outcome.value}",
            hint="leave this lever out",
        )
    chosen = smallest_as_fast(ratios)
    # The best of several is above its own truth: it is timed again, and those rounds count.
    rounds = [ratios[chosen]] if len(ratios) == 1 else []
    while not rounds or (len(rounds) < _MOST_ROUNDS and not is_over()):
        if rounds and is_clear(rounds, limits.noise_fraction):
            break
        # Never twice the same in a row: a moment in which others take the cores would slow both
        # runs, and two rounds would agree on it.
        own = reference()
        rounds.append(run(chosen, Purpose.RACE)[1] / own)
        if not rounds[-1]:
            raise NothingFitsError(
                f"batch size {chosen} fitted, and does not any more", hint="leave this lever out"
            )
    peaks = {each: trials[each].peak_bytes for each in ratios}
    # The climb had one run of the start, in what may have been a bad moment of the machine.
    scale = mean_of(rounds) / ratios[chosen]
    climbed = {each: scale * ratio for each, ratio in ratios.items()}
    return Sized(batch_size=chosen, ratios=tuple(rounds), climbed=climbed, peaks_bytes=peaks)
