from __future__ import annotations

import pytest

from autobatch.recommend.epochs import find_regime
from autobatch.records import Regime


@pytest.mark.parametrize(
    ("global_batch_size", "dataset_size", "regime"),
    [
        (1, 1_000, Regime.STOCHASTIC),
        (2, 1_000, Regime.MINI_BATCH),
        (999, 1_000, Regime.MINI_BATCH),
        (1_000, 1_000, Regime.FULL_BATCH),
        (1_024, 1_000, Regime.FULL_BATCH),
        (1, 1, Regime.FULL_BATCH),
        (32, None, None),
    ],
)
def test_the_regime_is_how_much_of_the_data_set_a_step_sees(
    global_batch_size: int, dataset_size: int | None, regime: Regime | None
) -> None:
    assert find_regime(global_batch_size, dataset_size) is regime
