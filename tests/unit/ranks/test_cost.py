"""Who is waited for, how far training together scales, and sizes by speed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.errors import WorkloadError
from autobatch.ranks.cost import (
    describe_group,
    examine_group,
    find_enough,
    find_straggler,
    share_by_speed,
)
from autobatch.records import Outcome, RankReading, Settings, Trial

SIZES = (4, 8, 16, 32, 64, 128)


def timed(size: int, *busy_s: float) -> Trial:
    """A trial in which each rank was busy for so long."""
    ranks = tuple(RankReading(rank=rank, busy_s=each) for rank, each in enumerate(busy_s))
    return Trial(batch_size=size, outcome=Outcome.FITS, ranks=ranks)


def test_a_rank_that_is_slower_throughout_is_named_with_its_factor() -> None:
    trials = [timed(size, 1.0, 1.1, 1.6 + size / 1e3, 0.9) for size in SIZES]
    rank, factor = find_straggler(trials, 128, 4) or (None, 0.0)
    assert rank == 2
    assert factor == pytest.approx(1.63, abs=0.05)


def test_one_disturbed_reading_neither_makes_a_straggler_nor_hides_one() -> None:
    even = [timed(size, 1.0, 5.0 if size == 64 else 1.0) for size in SIZES]
    assert find_straggler(even, 64, 2) is None
    slow = [timed(size, 1.0, 1.0 if size == 64 else 2.0) for size in SIZES]
    assert find_straggler(slow, 64, 2) == (1, 2.0)


def test_ranks_that_take_turns_at_being_slow_are_no_stragglers() -> None:
    trials = [timed(size, *((1.0, 2.0) if i % 2 else (2.0, 1.0))) for i, size in enumerate(SIZES)]
    assert find_straggler(trials, 32, 2) is None


def test_the_sizes_next_to_the_answer_count_and_few_of_them_name_nobody() -> None:
    # Rank 1 is slow at small sizes alone, far from the answer.
    trials = [timed(size, 1.0, 1.0) for size in SIZES[1:]] + [timed(1, 1.0, 9.0)]
    assert find_straggler(trials, 128, 2) is None
    assert find_straggler([timed(size, 1.0, 2.0) for size in SIZES[:3]], 8, 2) is None


def test_sizes_follow_speeds_and_weights_make_the_mean_that_of_all_samples() -> None:
    sizes = share_by_speed([timed(size, 1.0, 2.0, 1.0) for size in SIZES], 64, 3)
    assert [each.batch_size for each in sizes] == [77, 38, 77]
    assert sum(each.batch_size for each in sizes) == 3 * 64
    # The mean of the ranks' weighted gradients is the gradient of the mean over all samples.
    gradients = (3.0, 5.0, 7.0)
    averaged = sum(g * each.loss_weight for g, each in zip(gradients, sizes, strict=True)) / 3
    of_samples = sum(g * each.batch_size for g, each in zip(gradients, sizes, strict=True)) / 192
    assert averaged == pytest.approx(of_samples)
    assert share_by_speed([], 64, 3) == ()


def test_no_rank_is_left_without_a_sample() -> None:
    sizes = share_by_speed([timed(1, 1.0, 100.0)], 1, 2)
    assert [each.batch_size for each in sizes] == [1, 1]


def test_a_cost_stops_to_matter_where_steps_are_long(make_finding: Any) -> None:
    curve = replace(make_finding().throughput_curve, latency_s=0.0, quadratic_s=0.0)
    curve = replace(curve, per_sample_s=0.001)
    assert find_enough(curve, 0.0012, 0.05) == 32  # 1.2 of 32 ms, and of 16 it is 7.5 %
    assert find_enough(curve, 0.0, 0.05) == 1
    assert find_enough(replace(curve, per_sample_s=0.0), 1.0, 0.05) is None


class Probing:
    """A prober whose steps take as long as it is told."""

    def __init__(self, step_s: float, outcome: Outcome = Outcome.FITS) -> None:
        self.step_s, self.outcome = step_s, outcome
        self.asked: list[Any] = []

    def load(self, **options: Any) -> None:
        self.asked.append("load")

    def measure(self, size: Any, plan: Any, **options: Any) -> Any:
        self.asked.append(size)
        return SimpleNamespace(
            batch_size=size, fits=self.outcome is Outcome.FITS, step_time_s=self.step_s,
            message="too large",
        )  # fmt: skip

    measure_each = measure


@pytest.fixture
def finding(make_finding: Any, make_trial: Any) -> Callable[..., Any]:
    def make(busy_s: tuple[float, float] = (1.0, 3.0), **changes: Any) -> Any:
        trials = tuple(
            replace(make_trial(size), ranks=timed(size, *busy_s).ranks) for size in SIZES
        )
        found = make_finding(trials, **changes)
        return describe_group(replace(found, workload=replace(found.workload, num_ranks=2)))

    return make


def test_a_step_of_all_is_compared_with_one_of_a_rank_by_itself(finding: Any) -> None:
    found, alone, group = finding(), Probing(0.08), Probing(0.1)
    assert (found.group.straggler, found.group.straggler_factor) == (1, 3.0)
    cost = examine_group(group, found, lambda: nullcontext(alone), per_rank=False).group
    assert alone.asked == ["load", found.batch_size]
    assert group.asked == [found.batch_size]
    assert cost.scaling_efficiency == pytest.approx(0.8)
    assert (cost.straggler, cost.sizes, cost.reason) == (1, (), "")


def test_enough_is_said_where_no_rank_is_slow_whose_cost_would_grow(finding: Any) -> None:
    told = []
    for busy_s in ((1.0, 1.0), (1.0, 3.0)):
        found = finding(busy_s)
        alone = nullcontext(Probing(0.08))
        cost = examine_group(Probing(0.1), found, lambda: alone, per_rank=False).group  # noqa: B023
        told.append(cost.enough_batch_size)
    assert told == [find_enough(found.throughput_curve, 0.02, 0.05), None]


def test_sizes_of_their_own_are_run(finding: Any) -> None:
    found, group = finding(), Probing(0.1)
    cost = examine_group(group, found, lambda: nullcontext(Probing(0.1)), per_rank=True).group
    size = found.batch_size
    assert group.asked == [size, [size * 3 // 2, size // 2]]
    assert cost.sizes_step_time_s == 0.1


def test_what_could_not_be_measured_is_said_and_the_answer_stands(finding: Any) -> None:
    late = finding(settings=Settings(time_limit_s=50.0), search_time_s=42.0)
    seen = examine_group(Probing(0.1), late, lambda: pytest.fail("no time"), per_rank=True)
    assert seen.group.reason == "the time limit left no time for it"
    small = Probing(0.1, Outcome.OUT_OF_MEMORY)
    seen = examine_group(Probing(0.1), finding(), lambda: nullcontext(small), per_rank=False)
    assert "did not run: too large" in seen.group.reason
    assert seen.batch_size == late.batch_size

    def refuse(**options: Any) -> None:
        raise WorkloadError("needs two ranks")

    alone = Probing(0.1)
    alone.load = refuse  # type: ignore[method-assign]
    seen = examine_group(Probing(0.1), finding(), lambda: nullcontext(alone), per_rank=False)
    assert seen.group.reason == "needs two ranks"


def test_one_process_has_no_group(make_finding: Any) -> None:
    found = make_finding()
    assert describe_group(found) is found
