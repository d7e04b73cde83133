from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.decide.memory import fit_memory

MIB = 2**20


def test_one_size_makes_no_curve() -> None:
    assert fit_memory({}) is None
    assert fit_memory({8: 100 * MIB}) is None


def test_a_line_is_found_exactly() -> None:
    curve = fit_memory({size: 300 * MIB + 2 * MIB * size for size in (1, 2, 4, 8, 16, 32)})
    assert curve is not None
    assert curve.per_sample_bytes == pytest.approx(2 * MIB, rel=1e-3)
    assert curve.fixed_bytes == pytest.approx(300 * MIB, rel=1e-3)
    assert curve.residual_bytes < MIB


def test_a_flat_piece_does_not_bend_the_line() -> None:
    peaks = {2**k: max(500 * MIB, 300 * MIB + MIB * 2**k) for k in range(11)}
    curve = fit_memory(peaks)
    assert curve is not None
    assert curve.floor_bytes == pytest.approx(500 * MIB, rel=1e-2)
    assert curve.per_sample_bytes == pytest.approx(MIB, rel=1e-2)
    assert curve.batch_size_at(10_000 * MIB) == pytest.approx(9_700, rel=1e-2)


def test_one_outlier_does_not_move_the_line() -> None:
    peaks = {2**k: 300 * MIB + MIB * 2**k for k in range(11)}
    peaks[64] = 2 * peaks[64]
    curve = fit_memory(peaks)
    assert curve is not None
    assert curve.per_sample_bytes == pytest.approx(MIB, rel=0.05)


def test_memory_that_does_not_grow_reaches_no_budget() -> None:
    curve = fit_memory({1: 300 * MIB, 2: 300 * MIB, 4: 300 * MIB})
    assert curve is not None
    assert curve.batch_size_at(400 * MIB) > 1e6
    assert curve.batch_size_at(200 * MIB) == 0


@given(
    fixed=st.integers(1, 10_000),
    slope=st.floats(0.001, 100),
    count=st.integers(2, 15),
    noise=st.floats(-0.01, 0.01),
)
def test_the_curve_stays_near_its_points(
    fixed: int, slope: float, count: int, noise: float
) -> None:
    peaks = {
        2**k: round((fixed + slope * 2**k) * MIB * (1 + noise * (-1) ** k)) for k in range(count)
    }
    curve = fit_memory(peaks)
    assert curve is not None
    assert curve.per_sample_bytes >= 0
    for size, peak in peaks.items():
        assert curve.peak_bytes(size) == pytest.approx(peak, rel=0.15)
