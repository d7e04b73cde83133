"""Sentences that are made of a record alone."""

from __future__ import annotations

import pytest

from autobatch.records import LengthScan
from autobatch.reporting.wording import lengths_sentence


def sentence(quantiles: tuple[int, ...], batch_size: int) -> str:
    lengths = LengthScan(
        num_scanned=300,
        num_samples=300,
        shortest=10,
        median=20.0,
        longest=110,
        measure="tokens",
        quantiles=quantiles,
    )
    return lengths_sentence(lengths, batch_size)


def test_the_padding_of_the_recommended_batch_is_told() -> None:
    assert sentence((10, 110), 2).startswith("10 to 110 tokens, median 20; all 300 samples scanned")
    # Three of four pairs have the longer one: they hold 85 on average, of which 60 are samples.
    assert sentence((10, 110), 2).endswith(
        "; 29 % of a batch of 2 is padding: batch samples of like length"
    )
    assert "45 % of a batch of 64 is padding" in sentence((10, 110), 64)


@pytest.mark.parametrize(("quantiles", "batch_size"), [((), 64), ((100, 110), 64), ((10, 110), 1)])
def test_little_padding_is_not_told(quantiles: tuple[int, ...], batch_size: int) -> None:
    assert "is padding" not in sentence(quantiles, batch_size)
