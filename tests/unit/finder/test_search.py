"""The search, exhaustively over capacities, starts and caps, and with hypothesis beyond."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.records import Finding, Goal, Outcome, Settings, StopReason
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

MIB = 2**20


def search(
    workload: SimulatedWorkload, capacity_bytes: int, asked: Settings, *, seed: int = 0
) -> tuple[Finding, SimulatedProber]:
    device = SimulatedDevice(capacity_bytes)
    prober = SimulatedProber(workload, device, asked, seed=seed)
    return find(prober, asked, target="simulated", clock=prober.clock), prober


def largest_by_trying_all(
    workload: SimulatedWorkload, budget_bytes: int, sizes: list[int]
) -> int | None:
    """The largest size below the first that does not fit."""
    fitting = list(itertools.takewhile(lambda s: workload.peak_bytes(s) <= budget_bytes, sizes))
    return fitting[-1] if fitting else None


def assert_trustworthy(finding: Finding, prober: SimulatedProber) -> None:
    ran = {trial.batch_size: trial for trial in finding.trials}
    assert ran[finding.batch_size].outcome is Outcome.FITS
    first_runs: list[int] = []
    for size, plan in prober.runs:
        is_final = plan.is_confirmation and size in first_runs
        if plan.round_number == 0 and not is_final:
            first_runs.append(size)
    assert len(first_runs) == len(set(first_runs)), "a size ran twice"
    assert set(first_runs) == set(ran)
    if finding.recommendation.largest_was_run:
        assert ran[finding.recommendation.largest_batch_size].fits


@pytest.mark.parametrize("capacity", [*range(257, 300, 3), 320, 511, 512, 513, 1280, 5000])
@pytest.mark.parametrize("start", [1, 3, 64])
@pytest.mark.parametrize("cap", [None, 1, 100, 1024])
def test_the_largest_is_the_one_that_trying_all_finds(
    capacity: int, start: int, cap: int | None
) -> None:
    if cap is not None and cap < start:
        return
    asked = Settings(
        goal=Goal.MEMORY, min_batch_size=start, max_batch_size=cap, headroom_fraction=0
    )
    workload = SimulatedWorkload.linear(fixed_bytes=256 * MIB, per_sample_bytes=MIB)
    powers = {2**k for k in range(27) if start <= 2**k <= (cap or 2**26)}
    sizes = sorted({start, cap or start} | powers)
    expected = largest_by_trying_all(workload, capacity * MIB, sizes)
    if expected is None:
        with pytest.raises(NothingFitsError) as caught:
            search(workload, capacity * MIB, asked)
        assert [trial.batch_size for trial in caught.value.trials] == [start]
        return
    finding, prober = search(workload, capacity * MIB, asked)
    assert_trustworthy(finding, prober)
    assert finding.recommendation.largest_batch_size == expected
    assert finding.batch_size == expected
    assert finding.recommendation.largest_was_run
    is_capped = expected == sizes[-1]
    assert finding.stop_reason is (StopReason.CAP if is_capped else StopReason.MEMORY)


@pytest.mark.parametrize("capacity_gib", [1, 3, 10, 80])
@pytest.mark.parametrize("per_sample_kib", [1, 100, 3000])
def test_the_memory_line_spares_most_of_the_climb(capacity_gib: int, per_sample_kib: int) -> None:
    asked = Settings(goal=Goal.MEMORY)
    workload = SimulatedWorkload.linear(per_sample_bytes=per_sample_kib * 1024)
    finding, prober = search(workload, capacity_gib * 2**30, asked)
    failures = [trial for trial in finding.trials if not trial.fits]
    assert len(failures) <= 1
    doublings = finding.batch_size.bit_length()
    assert len(prober.runs) <= doublings / 2 + 5


@pytest.mark.parametrize("multiple", [8, 10])
@pytest.mark.parametrize("capacity", [300, 333, 500, 1000])
def test_refining_finds_the_largest_multiple(multiple: int, capacity: int) -> None:
    asked = Settings(goal=Goal.MEMORY, grid_multiple=multiple, headroom_fraction=0)
    workload = SimulatedWorkload.linear(fixed_bytes=200 * MIB, per_sample_bytes=MIB)
    finding, prober = search(workload, capacity * MIB, asked)
    room = capacity - 200
    expected = room // multiple * multiple
    assert_trustworthy(finding, prober)
    # The line refutes what is within 2 % of the budget only from measurements as close.
    assert finding.batch_size == expected


def test_no_out_of_memory_where_throughput_levels_off_before() -> None:
    workload = SimulatedWorkload.linear(latency_s=2e-3, per_sample_s=1e-4)
    finding, prober = search(workload, 80 * 2**30, Settings())
    assert finding.stop_reason is StopReason.PLATEAU
    assert all(trial.fits for trial in finding.trials)
    # The line meets the budget at 65,536 and more, too far from what ran to be believed.
    assert finding.recommendation.largest_was_run
    assert finding.recommendation.largest_is_lower_bound
    assert finding.recommendation.largest_batch_size == finding.trials[-1].batch_size < 8_192
    assert_trustworthy(finding, prober)
    best = 1 / 1e-4
    assert finding.batch_size / workload.step_time_s(finding.batch_size) >= 0.94 * best
    assert finding.batch_size <= 1024


@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("capacity", [*range(330, 560, 10), 511, 512, 513, 1280, 5000])
def test_no_out_of_memory_where_throughput_climbs_to_the_limit(
    capacity: int, multiple: int | None
) -> None:
    """Whoever asks for speed is told what is expected of the next size, and it is not run."""
    asked = Settings(headroom_fraction=0, grid_multiple=multiple, time_limit_s=None)
    workload = SimulatedWorkload.linear(fixed_bytes=256 * MIB, latency_s=10.0)
    finding, prober = search(workload, capacity * MIB, asked)
    assert_trustworthy(finding, prober)
    assert all(trial.fits for trial in finding.trials)
    assert finding.stop_reason in (StopReason.MEMORY, StopReason.MEMORY_EXPECTED)
    room = capacity - 256
    assert max(trial.batch_size for trial in finding.trials) >= 2 ** (room.bit_length() - 1)


@pytest.mark.parametrize(
    ("goal", "failed", "reason"),
    [(Goal.THROUGHPUT, [], StopReason.MEMORY_EXPECTED), (Goal.MEMORY, [512], StopReason.MEMORY)],
)
def test_a_size_just_beyond_the_limit_is_run_for_who_asks_for_the_largest(
    goal: Goal, failed: list[int], reason: StopReason
) -> None:
    workload = SimulatedWorkload.linear(fixed_bytes=256 * MIB, latency_s=10.0)
    finding, _ = search(
        workload, 765 * MIB, Settings(goal=goal, headroom_fraction=0, time_limit_s=None)
    )
    assert [trial.batch_size for trial in finding.trials if not trial.fits] == failed
    assert finding.stop_reason is reason
    assert finding.recommendation.largest_batch_size == 256


def test_a_data_set_caps_the_search_and_is_a_candidate() -> None:
    workload = SimulatedWorkload.linear(per_sample_s=1e-7, dataset_size=1000)
    finding, prober = search(workload, 80 * 2**30, Settings())
    assert finding.stop_reason is StopReason.DATASET
    assert {trial.batch_size for trial in finding.trials} >= {512, 1000}
    assert_trustworthy(finding, prober)


def test_a_throughput_that_falls_is_not_followed() -> None:
    def step_time_s(size: int) -> float:
        return 2e-3 + 1e-4 * size + 3e-4 * max(0, size - 256)

    workload = SimulatedWorkload(
        peak_bytes=lambda size: 2**28 + MIB * size, step_time_s=step_time_s
    )
    finding, _ = search(workload, 80 * 2**30, Settings())
    best = max((2**k for k in range(15)), key=lambda size: size / step_time_s(size))
    assert finding.recommendation.knee <= best


def test_two_sizes_that_differ_less_than_the_noise_are_timed_in_turn() -> None:
    workload = SimulatedWorkload.linear(noise_fraction=0.05, drift_fraction=0.05)
    _, prober = search(workload, 80 * 2**30, Settings(), seed=3)
    rounds: dict[int, list[int]] = {}
    for size, plan in prober.runs:
        if plan.round_number:
            rounds.setdefault(plan.round_number, []).append(size)
    assert rounds
    assert all(len(set(sizes)) == len(sizes) >= 2 for sizes in rounds.values())


@pytest.mark.parametrize("latency_s", [1e-3, 1e-2])
def test_nine_of_ten_noisy_runs_give_one_answer_or_its_neighbour(latency_s: float) -> None:
    workload = SimulatedWorkload.linear(
        latency_s=latency_s, noise_fraction=0.05, drift_fraction=0.02
    )
    answers = [search(workload, 2**37, Settings(), seed=seed)[0].batch_size for seed in range(10)]
    assert max(answers.count(size) + answers.count(2 * size) for size in answers) >= 9
    assert min(size / workload.step_time_s(size) * 1e-4 for size in answers) >= 0.92


def test_the_answer_of_a_noisy_search_is_within_the_tolerance_of_the_best() -> None:
    workload = SimulatedWorkload.linear(noise_fraction=0.05, drift_fraction=0.02)
    answers = [search(workload, 2**37, Settings(), seed=seed)[0].batch_size for seed in range(20)]
    shares = [size / workload.step_time_s(size) * 1e-4 for size in answers]
    assert min(shares) >= 0.92
    assert sum(share >= 0.94 for share in shares) >= 18


def test_a_killed_trial_counts_as_not_fitting_and_the_search_goes_on() -> None:
    workload = SimulatedWorkload(
        peak_bytes=lambda size: MIB * size,
        step_time_s=lambda size: 1e-5,
        outcomes={256: Outcome.KILLED},
    )
    finding, prober = search(workload, 2**40, Settings())
    assert finding.stop_reason is StopReason.MEMORY
    assert finding.recommendation.largest_batch_size == 128
    assert_trustworthy(finding, prober)


def test_a_time_limit_ends_the_search_with_what_there_is() -> None:
    workload = SimulatedWorkload.linear(latency_s=1.0)
    finding, prober = search(workload, 2**40, Settings(time_limit_s=30))
    assert finding.stop_reason is StopReason.TIME_LIMIT
    assert_trustworthy(finding, prober)


def test_a_global_batch_is_reached_exactly_where_that_costs_nothing() -> None:
    workload = SimulatedWorkload.linear(latency_s=1e-4)
    finding, prober = search(workload, 2**40, Settings(global_batch_size=1000, num_devices=2))
    answer = finding.recommendation
    assert answer.batch_size * answer.gradient_accumulation_steps * 2 == 1000
    assert_trustworthy(finding, prober)


def test_a_global_batch_that_is_prime_names_its_remainder() -> None:
    workload = SimulatedWorkload.linear(latency_s=1e-2)
    finding, _ = search(workload, 900 * MIB, Settings(global_batch_size=997))
    answer = finding.recommendation
    assert answer.batch_size > 1
    assert answer.global_batch_size == 997
    assert "global_batch_remainder" in {warning.code.value for warning in finding.warnings}


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_memory_does_the_answer_ran_and_fitted(data: st.DataObject) -> None:
    peaks = data.draw(
        st.dictionaries(st.integers(0, 26), st.integers(1, 4000), min_size=0, max_size=27)
    )
    times = data.draw(st.dictionaries(st.integers(0, 26), st.floats(1e-4, 10.0), max_size=27))
    killed = data.draw(st.sets(st.integers(0, 26), max_size=3))
    workload = SimulatedWorkload(
        peak_bytes=_by_power(peaks, lambda size: (100 + size) * MIB, MIB),
        step_time_s=_by_power(times, lambda size: 1e-3 + 1e-5 * size, 1),
        outcomes={2**power: Outcome.KILLED for power in killed},
        noise_fraction=data.draw(st.sampled_from([0.0, 0.3])),
    )
    asked = Settings(
        goal=data.draw(st.sampled_from(list(Goal))),
        grid_multiple=data.draw(st.sampled_from([None, 8])),
        max_batch_size=data.draw(st.sampled_from([None, 13, 1000])),
    )
    try:
        finding, prober = search(workload, 2000 * MIB, asked)
    except NothingFitsError as error:
        refuted = error.trials
    else:
        refuted = ()
        assert_trustworthy(finding, prober)
        assert len(prober.runs) < 150
    assert not any(trial.fits for trial in refuted)


def _by_power(
    table: dict[int, float], default: Callable[[int], float], unit: int
) -> Callable[[int], float]:
    def value(size: int) -> float:
        power = size.bit_length() - 1
        return table[power] * unit if power in table else default(size)

    return value
