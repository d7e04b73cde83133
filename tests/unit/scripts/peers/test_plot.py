"""The picture of the benchmark: every finder has its name, and ours stand out."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from autobatch.reporting.axes import BLUE, GREY
from scripts.peers.plot import draw_finders


def test_each_finder_that_has_points_is_named_in_its_colour(tmp_path: Path) -> None:
    points = {"autobatch": [(2.0, 1.0), (3.0, 0.98)], "toma": [(0.5, 0.7)], "ludwig": []}
    draw_finders(points, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert [f"<!-- {name} -->" in drawn for name in points] == [True, True, False]
    assert BLUE in drawn
    assert GREY in drawn


def test_the_same_points_make_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw_finders({"toma": [(0.5, 0.7), (1.0, 0.8)]}, tmp_path / name)
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text()
