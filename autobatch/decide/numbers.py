"""Every tuned number of a search: its unit, and what it was set by.

What a number does to the answers is measured by ``python -m scripts.replay.sensitivity``, which
halves and doubles each on replayed searches; its table is in ``docs/measured.md``. Numbers that
moved nothing there are gone. "Replay" below is that command.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The tuned numbers.

    Attributes:
        misfit_penalty: Power by which large deviations from the curve are assumed rarer than small
            ones. Replay; 2 and more hides a size that is 15 % slower than its neighbours
            (simulated, 60 searches).
        outlier: Standard errors beyond which a cell gets less weight. Replay.
        hidden_term: How much of the throughput a term that the curve lacks may take, where it takes
            most, as a multiple of the noise. Simulated, with a noise of 40 %: at 0 nine of 16 slow
            answers were sure, at 0.5 two; at 1 steady answers of a busy machine are doubted.
        good_misfit: Residual standard deviation of log throughput up to which the curve is
            trusted beyond the sizes that ran. Replay.
        likely: How likely the knee must be within the tolerance, compared to the likeliest size.
            Replay.
        decided: Probability that counts as sure: for high confidence, and to end a race. Replay.
        close_enough: Standard error of a ratio, as a multiple of the tolerance, that needs no
            more timing. Replay, quiet device.
        flat_gain: Gain over two doublings, as a multiple of the tolerance, that counts as none.
            Replay.
        ahead_gain: Gain of the curve over six doublings, as a multiple of the tolerance, that is
            not worth running them. Quiet device, late knee: at 0.4 one answer in five is too small.
        dear_trial_s: Seconds that any trial may take, whatever was spent before. Replay: without
            it a search gives up early on a busy machine.
        race_time_s: Seconds that a race may take. Replay.
        contended_cores: Missing cores from which the threads of a step are assumed to wait for
            each other: a remedy is looked for, or a warning given. Two processes that spin beside
            two threads on two cores: 1.5 missing; beside one thread: 0.5.
        remedy_ratio: Gain that a remedy for contention must show. Same: 1.2 to 290 were seen.
        passive_ratio: Throughput of sleeping threads over that of fewer threads, above which the
            former are preferred, since all of them work once the machine is idle. Same.
        search_window_s: Seconds of timed steps in a first run. Replay.
        race_window_s: Seconds of timed steps in a round of a race. Replay.
        final_window_s: Seconds of each window of the final run.
        final_windows: Windows of the final run, each with a peak: three show whether they grow.
        final_steps: Steps of each window, where they are short enough.
        patience_s: Seconds after which a few slow steps are enough. Replay.
        peak_scatter: Fraction by which peaks of one size differ from run to run: smaller growth
            makes no line, and a peak this close to the budget runs again. Examples on CPU: 5 %.
        repeat_time_s: Seconds from which a final run is not repeated for its peak.
        careful_jump: Ratio of the next size to the last where there is no memory line. Exhaustive
            search over capacities, in the tests.
        max_jump: The largest such ratio. Same.
        hopeful_ratio: How far beyond the memory line to try while nothing failed: small sizes
            make it too steep, and one failure costs less than one more size. Same.
        peak_noise_fraction: How far peaks of one size differ, in the bound that refutes sizes.
        peak_slack_fraction: How much less memory a size may need than a smaller one.
        peak_slack_bytes: The same in bytes: libraries are loaded along the way.
    """

    misfit_penalty: float = 1.0
    outlier: float = 2.0
    hidden_term: float = 0.5
    good_misfit: float = 0.1
    likely: float = 0.75
    decided: float = 0.9
    close_enough: float = 0.25
    flat_gain: float = 0.5
    ahead_gain: float = 0.3
    dear_trial_s: float = 5.0
    race_time_s: float = 6.0
    contended_cores: float = 0.5
    remedy_ratio: float = 1.5
    passive_ratio: float = 0.7
    search_window_s: float = 0.12
    race_window_s: float = 0.1
    final_window_s: float = 0.15
    final_windows: int = 3
    final_steps: int = 10
    patience_s: float = 0.5
    peak_scatter: float = 0.05
    repeat_time_s: float = 4.0
    careful_jump: int = 4
    max_jump: int = 64
    hopeful_ratio: float = 1.5
    peak_noise_fraction: float = 0.02
    peak_slack_fraction: float = 0.2
    peak_slack_bytes: int = 64 * 2**20


NUMBERS = Numbers()
