"""What can be asked of several processes."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.cli.search import TargetSearch
from autobatch.errors import SettingsError
from autobatch.ranks.settings import Parallel, RanksSettings, for_ranks, refuse_for_command
from autobatch.records import Goal, Settings


def test_as_many_devices_train_together_as_there_are_processes() -> None:
    assert for_ranks(Settings(), 4).num_devices == 4
    assert for_ranks(Settings(num_devices=4), 4).num_devices == 4
    with pytest.raises(SettingsError, match="`num_devices=8` is given, and 4 processes"):
        for_ranks(Settings(num_devices=8), 4)


@pytest.mark.parametrize(
    "asked",
    [
        {"goal": Goal.EFFICIENCY},
        {"gradient_noise": True},
        {"rehearse": True},
        {"memory_breakdown": True},
    ],
)
def test_what_one_process_alone_measures_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is measured in one process"):
        for_ranks(Settings(**asked), 2)


def test_there_is_at_least_one_process() -> None:
    with pytest.raises(SettingsError, match="nproc_per_node"):
        RanksSettings(nproc_per_node=0)


@pytest.mark.parametrize(
    ("ranks", "goal"), [({}, Goal.THROUGHPUT), ({"nproc_per_node": 2}, Goal.MEMORY)]
)
def test_speeds_are_compared_where_processes_are_started_and_timed(
    ranks: dict[str, int], goal: Goal
) -> None:
    with pytest.raises(SettingsError, match="`per_rank` compares the speeds") as caught:
        TargetSearch("package.model", Settings(goal=goal), RanksSettings(per_rank=True, **ranks))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"nproc_per_node": 2}, "`nproc_per_node=2`"),
        ({"parallel": Parallel.FSDP2}, "`parallel=fsdp2`"),
        ({"per_rank": True}, "`per_rank`"),
    ],
)
def test_a_command_starts_its_processes_itself(asked: dict[str, Any], named: str) -> None:
    refuse_for_command(RanksSettings())
    with pytest.raises(SettingsError, match=f"^{named} is for a target") as caught:
        refuse_for_command(RanksSettings(**asked))
    assert "torchrun" in caught.value.hint
