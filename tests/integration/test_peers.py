"""A search of the benchmark that dies or hangs is a row that says so."""

from __future__ import annotations

import sys

import pytest

LIMIT_BYTES = 2**30

if sys.platform != "linux":
    pytest.skip("the benchmark needs Linux", allow_module_level=True)

from scripts.peers.processes import pick_sizes, run_finder, run_timing  # noqa: E402 - it reads /proc


def test_a_search_that_hangs_is_ended() -> None:
    row = run_finder("autobatch", "mlp", repeat=0, limit_bytes=LIMIT_BYTES, timeout_s=0.3)
    assert row["outcome"] == "timed out"
    assert row["message"] == "no answer within 0.3 s"
    assert not row["ran"]


def test_a_search_that_raises_keeps_its_message() -> None:
    row = run_finder("nobody", "mlp", repeat=0, limit_bytes=LIMIT_BYTES, timeout_s=60)
    assert row["outcome"] == "raised"
    assert row["message"] == "KeyError: 'nobody'"
    assert row["steps"]["num_steps"] == 0


def test_a_process_without_memory_to_start_in_is_a_row() -> None:
    row = run_finder("autobatch", "mlp", repeat=0, limit_bytes=16 * 2**20, timeout_s=60)
    assert row["outcome"] in ("raised", "killed")
    assert row["message"]


@pytest.mark.slow
def test_the_oracle_times_every_size_that_fits() -> None:
    timing = run_timing("rows:1:16", [3], num_rounds=2, limit_bytes=LIMIT_BYTES, timeout_s=60)
    assert timing["outcome"] == "answered", timing
    assert timing["largest"] == 16
    assert set(timing["rounds"][0]) == {"1", "2", "3", "4", "8", "16"}
    assert "3" in timing["rounds"][1]
    assert all(rate > 0 for each in timing["rounds"] for rate in each.values())


def test_slow_sizes_are_timed_in_two_rounds_and_only_if_answered() -> None:
    rates = {"1": 40.0, "2": 80.0, "4": 100.0, "8": 0.0}
    assert pick_sizes(rates, [1, 8], 1) == [4, 2, 1]
    assert pick_sizes(rates, [1, 8], 2) == [2, 4]
