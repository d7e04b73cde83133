"""Whole tunings of simulated workloads: the answer, its cost, and what may go wrong."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fixtures.tunings import LOAD_TIME_S, MIB, TRUE, Opener, World

from autobatch.errors import ResultFormatError, TuningInterrupted, WorkloadError
from autobatch.records import Settings
from autobatch.reporting.activity import SilentActivity
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.records import AttemptOutcome, Changes, Facts, Tuning
from autobatch.tuning.session import tune

FASTER = {"allocator": 0.6, "channels_last": 0.85, "optimizer": 0.95}


def run(world: World, previous: Tuning | None = None, **asked: Any) -> Tuning:
    return tune(
        Opener(world),
        Settings(),
        TuneSettings(**asked),
        SilentActivity(),
        previous=previous,
        clock=world.clock,
    )


def per_sample_s(changes: Changes) -> float:
    cost = 1e-3
    for name, factor in FASTER.items():
        cost *= factor if name in changes else 1.0
    return cost * (1.3 if changes.get("checkpointing") == "every_block" else 1.0)


def find_best_of_grid(world: World, sizes: list[int]) -> tuple[float, float]:
    """The best throughput of all settings at all sizes, and the time of running them all."""
    values = [
        ["", "keep"], ["", "on"], ["", "fused", "foreach"],
        ["", "every_block", "every_second_block"], ["", "1"], ["", "bf16"],
    ]  # fmt: skip
    names = ("allocator", "channels_last", "optimizer", "checkpointing", "threads", "precision")
    best, time_s = 0.0, 0.0
    for chosen in itertools.product(*values):
        changes = {name: value for name, value in zip(names, chosen, strict=True) if value}
        time_s += LOAD_TIME_S
        for size in sizes:
            if world.fits(changes, size):
                step_s = world.step_time_s(changes, size)
                best = max(best, size / step_s)
                time_s += 0.2 + 5 * step_s
    return best, time_s


def rate_of(world: World, tuning: Tuning) -> float:
    return tuning.batch_size / world.step_time_s(tuning.changes, tuning.batch_size)


SIZES = [2**power for power in range(10)]


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_workload_is_tuned_to_the_best_of_a_grid_in_a_fifth_of_its_time(seed: int) -> None:
    facts = replace(World().facts, num_threads=2, precisions=("bf16",))
    world = World(
        per_sample_s=per_sample_s, noise_fraction=0.02, drift_fraction=0.02, seed=seed, facts=facts
    )
    best, grid_time_s = find_best_of_grid(world, SIZES)
    tuning = run(world, skipped=("compile",), allowed=("precision",), time_limit_s=None)
    assert rate_of(world, tuning) >= 0.95 * best
    assert world.elapsed_s <= grid_time_s / 5
    assert tuning.is_sure
    assert tuning.is_complete


class Falling(World):
    """Steps that grow slow beyond 128 samples, unless the allocator keeps memory."""

    def step_time_s(self, changes: Changes, size: int) -> float:
        factor = 0.93 if "compile" in changes else 1.4 if "threads" in changes else 1.0
        fallen = 0.0 if "allocator" in changes else min(1.0, max(0.0, (math.log2(size) - 7) / 3))
        return factor * (0.0022 + size / (17_500 - 8_700 * fallen))


def test_on_a_busy_machine_what_gains_only_at_other_sizes_is_found() -> None:
    shares = []
    for seed in range(20):
        world = Falling(
            per_sample_bytes=lambda _: MIB // 4,
            capacity_bytes=22_000 * MIB,
            facts=Facts(optimizer="AdamW", optimizer_forms=("fused", "foreach"), num_threads=2),
            noise_fraction=0.1,
            drift_fraction=0.1,
            burst_probability=0.12,
            seed=seed,
        )
        tuning = run(world, time_limit_s=None)
        settings: Changes = {"allocator": "keep", "compile": "inductor"}
        best = 8192 / world.step_time_s(settings, 8192)
        shares.append(rate_of(world, tuning) / best)
    assert statistics.mean(shares) >= 0.93  # 0.87 where one slow run ends a climb


def test_where_memory_binds_checkpointing_makes_room_for_a_larger_size() -> None:
    def sample_bytes(changes: Changes) -> int:
        return (4 if "checkpointing" in changes else 40) * MIB

    world = World(
        latency_s=lambda changes: 0.1,
        per_sample_s=lambda changes: 1.3e-3 if "checkpointing" in changes else 1e-3,
        per_sample_bytes=sample_bytes,
        capacity_bytes=1024 * MIB,
    )
    tuning = run(world, skipped=("compile",))
    assert tuning.changes == {"checkpointing": "every_block"}
    assert tuning.batch_size > 64
    assert tuning.attempts[0].batch_size == 16
    best, _ = find_best_of_grid(world, SIZES)
    assert rate_of(world, tuning) >= 0.95 * best


def test_a_lever_that_is_not_exact_is_left_out_however_fast() -> None:
    wrong = replace(TRUE, gradient_fraction=0.2)
    world = World(
        per_sample_s=lambda changes: 1e-4 if "channels_last" in changes else 1e-3,
        faults={"channels_last=on": wrong},
    )
    tuning = run(world, skipped=("compile",))
    tried = {str(each.changes): each for each in tuning.attempts}
    assert tried["{'channels_last': 'on'}"].outcome is AttemptOutcome.NOT_EXACT
    assert "the gradients" in tried["{'channels_last': 'on'}"].message
    assert not tuning.changes


@pytest.mark.parametrize(
    "fault", [WorkloadError("broken"), RuntimeError("no compiler"), MemoryError()]
)
def test_a_lever_that_raises_costs_that_lever(fault: Exception) -> None:
    world = World(per_sample_s=per_sample_s, faults={"compile=inductor": fault})
    tuning = run(world)
    failed = [each for each in tuning.attempts if each.outcome is AttemptOutcome.FAILED]
    assert [each.changes for each in failed] == [{"compile": "inductor"}]
    assert "allocator" in tuning.changes


def test_ctrl_c_keeps_the_best_so_far_and_resuming_goes_on() -> None:
    world = World(per_sample_s=per_sample_s, faults={"optimizer=fused": KeyboardInterrupt()})
    with pytest.raises(TuningInterrupted) as interrupted:
        run(world)
    kept: Tuning = interrupted.value.tuning
    assert kept.changes == {"allocator": "keep"}
    assert not kept.is_complete
    assert world.num_open == 0
    again = World(per_sample_s=per_sample_s)
    whole = run(again, previous=kept)
    assert whole.is_complete
    assert whole.attempts[: len(kept.attempts)] == kept.attempts
    assert whole.changes.keys() >= {"allocator", "channels_last", "optimizer"}


def test_ctrl_c_before_the_start_is_measured_is_no_result() -> None:
    with pytest.raises(KeyboardInterrupt) as interrupted:
        run(World(faults={"": KeyboardInterrupt()}))
    assert not isinstance(interrupted.value, TuningInterrupted)


def test_a_tuning_of_something_else_cannot_be_resumed() -> None:
    kept = run(World(), skipped=("compile",))
    with pytest.raises(ResultFormatError, match="other settings or levers"):
        run(World(), previous=kept)


def test_a_short_time_limit_ends_with_the_best_so_far() -> None:
    world = World(per_sample_s=per_sample_s)
    tuning = run(world, time_limit_s=40.0)
    assert not tuning.is_complete
    assert tuning.changes in ({}, {"allocator": "keep"})
    assert world.elapsed_s < 80


def test_what_fails_when_time_is_up_is_tried_again_by_the_next_tuning() -> None:
    start_s = run(World(), time_limit_s=15.0).attempts[0].time_s
    world = World(faults={"allocator=keep": WorkloadError("loading took too long")})
    kept = run(world, time_limit_s=start_s + 2 + LOAD_TIME_S)
    assert [each.changes for each in kept.attempts] == [{}]
    assert world.opened == [{}, {"allocator": "keep"}]
    assert not kept.is_complete


def test_where_nothing_gains_the_users_settings_stand() -> None:
    tuning = run(World(noise_fraction=0.01), skipped=("compile",))
    assert tuning.changes == {}


def test_the_fastest_is_held_against_the_users_own_size_in_fresh_processes() -> None:
    world = World(per_sample_s=per_sample_s, own_batch_size=8)
    tuning = run(world, skipped=("compile",))
    assert tuning.held[0].changes == {}
    assert tuning.held[0].batch_size == 8
    num_rounds = len(tuning.held[0].rates_samples_per_s)
    assert num_rounds >= 2
    sides = [each.changes for each in tuning.held]
    assert world.opened[-len(sides) * num_rounds :].count(tuning.changes) == num_rounds
    expected = rate_of(world, tuning) / (8 / world.step_time_s({}, 8))
    assert tuning.speedup == pytest.approx(expected, rel=0.01)


def test_the_size_of_the_fastest_settings_is_searched_for_as_that_of_the_start() -> None:
    def latency_s(changes: Changes) -> float:
        return 0.2 if "allocator" in changes else 0.02

    def per_sample_s(changes: Changes) -> float:
        return 2e-4 if "allocator" in changes else 1e-3

    world = World(per_sample_s=per_sample_s, latency_s=latency_s, per_sample_bytes=lambda _: MIB)
    tuning = run(world, skipped=("compile",))
    assert "allocator" in tuning.changes
    ladder = [tuning.attempts[number] for number in tuning.ladder]
    assert ladder[-1] == tuning.best
    assert len(tuning.best.sizes) > 8  # from the smallest on, as a search does
    best, _ = find_best_of_grid(world, [2**power for power in range(14)])
    assert rate_of(world, tuning) >= 0.95 * best


def test_where_a_search_of_the_size_fails_the_size_of_the_climb_stands() -> None:
    world = World(per_sample_s=per_sample_s)
    opener = Opener(world)
    whole = run(World(per_sample_s=per_sample_s), skipped=("compile",))
    num_attempts = len(whole.attempts)

    @contextmanager
    def open_or_fail(changes: Changes, variables: Mapping[str, str]) -> Iterator[Any]:
        if changes == whole.changes and world.opened.count(changes) == 1:
            world.opened.append(changes)
            raise WorkloadError("the disk is full")
        with Opener.open(opener, changes, variables) as trainer:
            yield trainer

    opener.open = open_or_fail  # type: ignore[method-assign]
    asked = TuneSettings(skipped=("compile",))
    tuning = tune(opener, Settings(), asked, SilentActivity(), clock=world.clock)
    assert tuning.changes == whole.changes
    assert len(tuning.attempts) == num_attempts
    assert tuning.is_complete


def test_what_is_skipped_or_changes_the_arithmetic_is_not_tried() -> None:
    facts = replace(World().facts, precisions=("bf16",))
    tuning = run(World(facts=facts), skipped=("compile", "checkpointing"))
    tried = {name for each in tuning.attempts for name in each.changes}
    assert tried == {"allocator", "channels_last", "optimizer"}
    assert "allow=precision" in tuning.start.refused["precision"]
    allowed = run(World(facts=facts), skipped=("compile", "checkpointing"), allowed=("precision",))
    assert {"precision": "bf16"} in [each.changes for each in allowed.attempts]
