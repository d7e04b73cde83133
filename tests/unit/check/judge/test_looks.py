"""Looks share one probability of error."""

from __future__ import annotations

import pytest

from autobatch.check.judge.looks import ALPHA, LOOKS, MAX_ROUNDS, Looks


def test_all_looks_together_spend_what_there_is() -> None:
    looks = Looks()
    spent = [looks.alpha_at(number) for number in range(1, MAX_ROUNDS + 1)]
    parts = [each for each in spent if each is not None]
    assert len(parts) == len(LOOKS)
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(ALPHA)


def test_the_last_look_spends_the_rest_whenever_it_comes() -> None:
    looks = Looks()
    first = looks.alpha_at(6)
    assert first is not None
    assert looks.alpha_at(7) is None
    assert looks.alpha_at(7, is_last=True) == pytest.approx(ALPHA - first)
