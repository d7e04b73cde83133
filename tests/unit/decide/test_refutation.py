"""What refutes a size that has not run: on a caching allocator, tensors and not its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.decide.bracket import lower_bound_bytes
from autobatch.decide.grid import Grid
from autobatch.decide.step import Rules, next_step
from autobatch.records import Goal, Outcome, StopReason, Trial

MIB = 2**20
OVERHEAD = 500
RULES = Rules(
    grid=Grid(sizes=tuple(2**power for power in range(11)), end=StopReason.CAP, multiple=None),
    goal=Goal.MEMORY,
    budget_bytes=(OVERHEAD + 1280) * MIB,
    uncertainty_fraction=0.1,
)


def on_a_gpu(allocated_mib: dict[int, int], *, reserved_ratio: float = 1.4) -> dict[int, Trial]:
    """Trials that fitted on a caching allocator, by what their tensors took."""
    return {
        size: Trial(
            batch_size=size,
            outcome=Outcome.FITS,
            peak_bytes=(OVERHEAD + round(reserved_ratio * allocated)) * MIB,
            peak_reserved_bytes=round(reserved_ratio * allocated) * MIB,
            peak_allocated_bytes=allocated * MIB,
        )
        for size, allocated in allocated_mib.items()
    }


def bound_mib(trials: dict[int, Trial], size: int) -> float:
    return lower_bound_bytes(trials, size, uncertainty_fraction=0.0) / MIB


# Of the figures measured on a CNN with AdamW: 12.8 GiB are enough for a size whose uncapped reserve
# is 17.2, here divided by ten.
CNN = on_a_gpu({size: round(1230 * size / 512) for size in (64, 128, 256)}, reserved_ratio=1.4)


def test_a_size_that_reserves_too_much_uncapped_still_runs() -> None:
    assert bound_mib(CNN, 512) == pytest.approx(0.98 * (OVERHEAD + 1230), rel=0.01)
    assert next_step(RULES, CNN).batch_size == 512


def test_one_whose_tensors_alone_are_too_large_does_not() -> None:
    trials = on_a_gpu({size: 4 * size for size in (64, 128, 256)}, reserved_ratio=1.0)
    assert next_step(RULES, trials).stop_reason is StopReason.MEMORY


def test_the_fastest_may_be_at_such_a_size_too() -> None:
    assert next_step(replace(RULES, goal=Goal.THROUGHPUT), CNN).batch_size == 512


@pytest.mark.parametrize(
    ("allocated_mib", "next_size"),
    [
        ({64: 300, 128: 400, 256: 900}, 512),  # workspace at 256, and the next size may fit
        ({64: 200, 128: 400, 256: 800}, None),
        ({64: 300, 128: 900, 256: 700}, 512),  # none at the larger size
    ],
)
def test_a_size_beyond_a_spike_runs_whatever_the_curve_through_it_expects(
    allocated_mib: dict[int, int], next_size: int | None
) -> None:
    trials = on_a_gpu(allocated_mib, reserved_ratio=1.0)
    assert next_step(replace(RULES, goal=Goal.THROUGHPUT), trials).batch_size == next_size


def test_what_the_driver_holds_besides_is_never_given_back() -> None:
    trials = on_a_gpu({64: 64, 128: 128, 256: 256}, reserved_ratio=1.0)
    assert bound_mib(trials, 512) == pytest.approx(0.98 * (OVERHEAD + 512))


@pytest.mark.parametrize(
    ("allocated_mib", "is_believed"),
    [
        ({64: 100, 128: 200, 256: 400}, True),
        ({64: 100, 128: 200, 256: 700}, False),  # workspace that the next size may not take
        ({128: 200, 256: 400}, False),
        ({64: 300, 128: 300, 256: 400}, False),  # it has only begun to grow
    ],
)
def test_two_sizes_make_no_line_where_libraries_take_workspace_as_they_like(
    allocated_mib: dict[int, int], is_believed: bool
) -> None:
    assert (bound_mib(on_a_gpu(allocated_mib), 512) > 0) is is_believed


def test_where_nothing_is_cached_two_sizes_make_a_line() -> None:
    trials = {
        size: Trial(batch_size=size, outcome=Outcome.FITS, peak_bytes=size * MIB)
        for size in (128, 256)
    }
    assert bound_mib(trials, 512) == pytest.approx(0.98 * 512)
