"""Scripts that a watcher may stumble over: measured as they are, or refused with the reason."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autobatch.command.settings import FileProtection
from autobatch.errors import AutobatchError, WorkloadError
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
PLAN = TimingPlan(min_steps=3, max_time_s=0.05)
FINAL = TimingPlan(purpose=Purpose.FINAL, min_steps=5, max_time_s=0.1, num_windows=3)
MIB = 2**20


@pytest.mark.parametrize(
    ("variant", "optimizer", "seen_by"),
    [
        ("asks_first", "SGD", "optimizer"),
        ("prefetches", "SGD", "optimizer"),
        ("skips", "SGD", "optimizer"),
        ("without_optimizer", None, "backward"),
        ("optimizer_in_backward", "SGD", "optimizer"),
        ("two_optimizers", "Adam", "optimizer"),
        ("compiled_step", "SGD", "optimizer"),
        ("compiled_model", "SGD", "optimizer"),
        ("evaluates", "SGD", "optimizer"),
        ("forks", "SGD", "optimizer"),
    ],
)
def test_a_loop_of_any_form_is_measured_from_one_start(
    probing: Callable[..., Any], variant: str, optimizer: str | None, seen_by: str
) -> None:
    with probing(f"python loop.py --batch-size 16 --variant {variant}") as prober:
        loaded = prober.load()
        small, large = prober.measure(8, PLAN), prober.measure(2048, PLAN)
        assert loaded.workload.optimizer == optimizer
        assert loaded.workload.model == "Sequential"
        assert prober.trained.seen_by == seen_by
        assert prober.starts.num_starts == 1
    assert small.fits and large.fits
    assert small.step_time_s is not None and large.step_time_s is not None
    assert large.step_time_s > 5 * small.step_time_s  # of 256 times as many samples


@pytest.mark.parametrize("variant", ["batch_in_the_middle", "without_backward", "ends_soon"])
def test_what_cannot_be_resized_is_started_for_each_size(
    probing: Callable[..., Any], variant: str
) -> None:
    with probing(f"python loop.py --batch-size 16 --variant {variant}") as prober:
        prober.load()
        assert prober.measure(16, PLAN).fits
        assert prober.starts.num_starts == 1  # the first run counts
        assert prober.measure(64, PLAN).fits
        assert prober.starts.num_starts == 2


def test_accumulated_passes_are_counted_one_by_one(probing: Callable[..., Any]) -> None:
    with probing("python loop.py --batch-size 16 --variant four_passes") as prober:
        guesses = prober.load().workload.guesses
        trial = prober.measure(16, PLAN)
    assert "the script makes 4 backward passes per optimizer step" in guesses
    # Each pass sleeps for 5 ms, and a step has four of them.
    assert trial.step_time_s is not None
    assert 0.005 < trial.step_time_s < 0.015


def test_a_size_that_is_divided_into_passes_has_failed(probing: Callable[..., Any]) -> None:
    command = "python loop.py --batch-size 16 --variant accumulates"
    with probing(command, fresh=True) as prober:
        prober.load()
        trial = prober.measure(64, PLAN)
    assert trial.outcome is Outcome.FAILED
    assert trial.message == "trained batches of 16 when 64 was passed"


def test_a_script_that_catches_everything_is_ended(probing: Callable[..., Any]) -> None:
    with probing("python stubborn.py --batch-size {batch_size=16}") as prober:
        assert prober.load().workload.base_batch_size == 16
        assert prober.measure(16, PLAN).fits


@pytest.mark.parametrize("where", ["step", "exit"])
def test_out_of_memory_that_the_script_catches_is_seen(
    probing: Callable[..., Any], where: str
) -> None:
    command = f"python halving.py --where {where} --batch-size {{batch_size}}"
    with probing(command, memory_limit_bytes=900 * MIB) as prober:
        prober.load()
        trial = prober.measure(150_000, PLAN, timeout_s=60)
    expected = {Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET}
    assert trial.outcome in expected if where == "step" else not trial.fits


def test_no_later_command_of_a_shell_script_runs(probing: Callable[..., Any], folder: Path) -> None:
    with probing("bash many_commands.sh {batch_size}", files=FileProtection.NONE) as prober:
        prober.load()
    assert not (folder / "AFTER").exists()


def test_an_error_beyond_a_size_bounds_the_search(probing: Callable[..., Any]) -> None:
    command = "python loop.py --batch-size 16 --variant fails_beyond_64"
    with probing(command, fresh=True) as prober:
        prober.load()
        trial = prober.measure(128, PLAN)
    assert trial.outcome is Outcome.FAILED
    assert "128 is more than 64 heads" in trial.message


@pytest.mark.parametrize(
    ("command", "reason", "hint"),
    [
        ("python -I loop.py -b 16", "its Python runs without", "without -I"),
        ("bash own_path.sh {batch_size}", "its Python runs without", "$PYTHONPATH"),
        ("python loop.py -b 16 --variant never_trains", "exit status 3: nothing to do", "printed"),
        ("python loop.py -b 16 --variant on_another_device", "trains on meta", "on the CPU"),
        ("python loop.py -b 16 --variant ends_at_once", "after 1 step, too few", "more steps"),
        ("python loop.py -b 16 --variant asks_the_user", "EOFError", "no standard input"),
        ("python nothing.py -b 16", "can't open file", "printed"),
        ("no-such-program -b 16", "no-such-program: No such file", "name"),
    ],
)
def test_what_cannot_be_watched_is_refused_soon(
    refusal: Callable[..., AutobatchError], command: str, reason: str, hint: str
) -> None:
    begin = time.monotonic()
    error = refusal(command)
    # PyTorch's import alone was seen to take ten seconds beside the tests of others.
    assert time.monotonic() - begin < 30
    assert isinstance(error, WorkloadError)
    assert reason in str(error)
    assert hint in error.hint


def test_a_size_without_effect_is_refused(refusal: Callable[..., AutobatchError]) -> None:
    error = refusal("python loop.py --test-batch-size {batch_size}", min_batch_size=16)
    assert str(error) == "the script trained batches of 8 whatever --test-batch-size was"


def test_a_size_that_is_the_default_by_chance_is_refused_in_the_final_run(
    probing: Callable[..., Any],
) -> None:
    with probing("python loop.py --test-batch-size {batch_size}") as prober:
        prober.load()  # the first size is 8, and so is the default of the other
        with pytest.raises(WorkloadError, match="batches of 8 whatever --test-batch-size was"):
            prober.measure(64, FINAL)


def test_without_a_place_the_loader_is_resized(probing: Callable[..., Any]) -> None:
    with probing("python loop.py") as prober:
        loaded = prober.load()
        assert loaded.workload.base_batch_size == 8
        assert loaded.workload.dataset_size == 4096
        assert prober.measure(512, PLAN).fits
        final = prober.measure(512, FINAL)
    assert final.fits
    assert len(final.window_peaks_bytes) == 3


def test_neither_place_nor_loader_is_refused(refusal: Callable[..., AutobatchError]) -> None:
    error = refusal("python loop.py --variant four_passes")
    assert "the command has no place for the batch size" in str(error)


def test_a_sitecustomize_of_the_user_runs_too(
    probing: Callable[..., Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(own))
    with probing("python loop.py --batch-size 16") as prober:
        assert prober.load().workload.model == "Sequential"
    assert (tmp_path / "ran").exists()


def test_the_first_step_has_a_time_limit_of_its_own(
    refusal: Callable[..., AutobatchError],
) -> None:
    command = "python loop.py --batch-size 16 --variant evaluates"
    error = refusal(command, first_step_timeout_s=0.3)
    assert "no step had ended after 300 ms" in str(error)
    assert "`first_step_timeout`" in error.hint


def test_the_rate_of_a_script_that_scales_it_is_seen(probing: Callable[..., Any]) -> None:
    command = "python loop.py --batch-size 16 --variant scales_its_rate"
    with probing(command) as prober:
        assert prober.load().workload.base_learning_rate == pytest.approx(0.01)
        prober.measure(64, FINAL)
        assert prober.passed.rates == {16: pytest.approx(0.01), 64: pytest.approx(0.04)}
