"""Which searches of a target are given a forecast of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autobatch.cli import search
from autobatch.cli.search import TargetSearch
from autobatch.prediction.forecast import TracedForecast
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Goal, Settings


@pytest.mark.parametrize(
    ("goal", "device", "is_given"),
    [
        (Goal.MEMORY, "auto", True),
        (Goal.MEMORY, "cuda:0", True),
        (Goal.MEMORY, "cpu", False),
        (Goal.THROUGHPUT, "auto", False),
    ],
)
def test_a_search_for_the_largest_size_on_what_may_be_a_gpu_has_one(
    goal: Goal, device: str, is_given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(search, "_find", lambda *arguments: given.append(arguments[-1]))
    target = tmp_path / "model.py"
    target.write_text("")
    asked = TargetSearch(str(target), Settings(goal=goal, device=device), RanksSettings())

    class Observer:
        doing = None

    asked.run(Observer(), print)  # type: ignore[arg-type]
    assert isinstance(given[0], TracedForecast) == is_given
