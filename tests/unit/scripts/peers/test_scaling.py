from __future__ import annotations

from typing import Any

import pytest

from scripts.peers.scaling import count_steps, group, show_row, tabulate


def make_run(search_s: float, workload: str = "rows:4096", **changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "finder": "autobatch-memory",
        "workload": workload,
        "outcome": "answered",
        "batch_size": 64,
        "search_s": search_s,
        "details": {"samples_per_s": 128.0},
        "steps": {"trials": [1, 8, 64], "failed": []},
    }
    return run | changes


def test_a_search_is_counted_in_steps_at_its_answer() -> None:
    assert count_steps(make_run(10.0)) == pytest.approx(20.0)


def test_a_finder_that_tells_no_throughput_has_no_count() -> None:
    assert count_steps(make_run(10.0, details={})) is None


def test_repeats_become_their_median() -> None:
    (row,) = tabulate([make_run(1.0), make_run(9.0), make_run(2.0)])
    assert row["search_s"] == 2.0
    assert row["size"] == 4096 * 16
    assert row["trials"] == 3


def test_a_search_without_an_answer_is_a_row_that_says_so() -> None:
    run = make_run(1.0, outcome="killed", details={})
    del run["search_s"], run["batch_size"]
    (row,) = tabulate([run])
    assert "killed" in show_row(row)
    assert group([row], "answer") == {}
