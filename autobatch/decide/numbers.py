"""Every tuned number of the decision: its unit, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The tuned numbers. ``python -m scripts.replay.sensitivity`` halves and doubles each."""

    # The mixed model.
    num_reweightings: int = 2
    outlier: float = 2.0
    misfit_penalty: float = 1.0
    good_misfit: float = 0.1
    # How sure is sure.
    likely: float = 0.75
    decided: float = 0.9
    close_enough: float = 0.25
    max_racing: int = 6
    # The climb.
    short_step_s: float = 0.05
    long_step_s: float = 1.0
    steps_of_a_trial: float = 3.0
    # The race.
    race_fraction: float = 0.6
    race_time_s: float = 6.0
    quiet_noise: float = 0.02
    quiet_race_fraction: float = 0.2
    fair_share: float = 4.0
    max_rounds: int = 60
    # Contention for the cores.
    contention_batch_size: int = 4
    contended_cores: float = 0.5
    remedy_ratio: float = 1.2
    obvious_ratio: float = 3.0
    passive_ratio: float = 0.7
    # How long each trial times steps.
    search_window_s: float = 0.12
    memory_window_s: float = 0.05
    race_window_s: float = 0.1
    final_window_s: float = 0.15
    final_windows: int = 3
    final_steps: int = 10
    patience_s: float = 0.5
    slow_ratio: float = 0.75
    close_fraction: float = 0.05
    repeat_time_s: float = 4.0
    # The memory line.
    telling_growth_fraction: float = 0.05
    max_jump: int = 64
    careful_jump: int = 4
    hopeful_ratio: float = 1.5


NUMBERS = Numbers()
