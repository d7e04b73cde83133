"""A comparison as JSON, as text, as a picture and as it goes on."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from autobatch.compare.records import (
    CompareSettings,
    Comparison,
    EpochResult,
    RunOutcome,
    TrainingRun,
)
from autobatch.compare.report import (
    COMPARISON,
    CompareLines,
    render_comparison,
    save_comparison_plot,
)
from autobatch.compare.report.plot import draw_comparison
from autobatch.errors import ResultFormatError
from autobatch.reporting.activity import LiveActivity, PlainActivity


def make_run(size: int, outcome: RunOutcome = RunOutcome.FINISHED, **fields: Any) -> TrainingRun:
    steps = -(-800 // size)
    epochs = tuple(
        EpochResult(
            num_iterations=steps,
            time_s=0.12345 * steps,
            train_loss=12345.678 / (number + size),
            validation_loss=1.2345678 / (number + size),
            loss_noise=0.12345 / size,
        )
        for number in range(1, 4)
    )
    defaults: dict[str, Any] = {
        "is_full_batch": size == 800,
        "learning_rate": 0.000123456,
        "epochs": epochs,
        "iterations": tuple(range(1, 3 * steps + 1)),
        "losses": tuple(1 / number for number in range(1, 3 * steps + 1)),
        "peak_bytes": 123 * 2**20,
    }
    return TrainingRun(batch_size=size, outcome=outcome, **{**defaults, **fields})


@pytest.fixture
def comparison(make_finding: Any) -> Comparison:
    finding = make_finding()
    runs = (
        make_run(1),
        make_run(64),
        make_run(256, RunOutcome.DIVERGED),
        make_run(512, RunOutcome.DIVERGED, epochs=(), message="the loss is nan"),
        make_run(800),
    )
    asked = CompareSettings(batch_sizes=(1, 64, 256, 512, None), num_epochs=3, target_loss=0.02)
    return Comparison(
        target="examples/mlp.py",
        device="cpu",
        settings=finding.settings,
        asked=asked,
        environment=finding.environment,
        workload=finding.workload,
        num_train_samples=800,
        runs=runs,
        batch_size=64,
        reason="it reaches the target loss of 0.02 soonest, in 1.6 s",
    )


def text_of(comparison: Comparison, width: int = 80) -> str:
    stream = io.StringIO()
    render_comparison(comparison, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_every_size_has_its_row_and_the_choice_its_mark(comparison: Comparison) -> None:
    text = text_of(comparison)
    assert text.startswith("Batch size 64: ")
    rows = [line for line in text.splitlines() if line.startswith(">")]
    assert [row.split()[1] for row in rows] == ["64", "64", "64"]
    for words in ("stochastic", "mini-batch", "full batch", "diverged"):
        assert words in text
    assert "the loss is nan" in text
    assert "not reached" in text
    assert "it reaches the target loss" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_has_fewer_columns_and_no_figure_is_cut_off(
    comparison: Comparison, width: int
) -> None:
    lines = text_of(comparison, width).splitlines()
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)
    assert max(map(len, lines)) <= width
    sizes = re.findall(r"^[> ] +(\d+) ", "\n".join(lines), re.MULTILINE)
    assert sizes == ["1", "64", "256", "512", "800"] * 3
    headers = [line.split() for line in lines if line.startswith("   batch ")]
    assert [header[-1] for header in headers] == ["outcome", "time", "time"]
    assert ("kind" in headers[0]) is (width >= 80)


def test_that_each_size_ran_with_one_seed_is_said_beside_the_choice(
    comparison: Comparison,
) -> None:
    words = " ".join(text_of(comparison).split())
    assert "One seed: each size was trained once, with seed 0" in words
    assert "Next: repeat with --seed 1" in words
    alone = replace(comparison, runs=comparison.runs[:1])
    assert "One seed" not in text_of(alone), "there is nothing to order"


def test_an_unfinished_comparison_says_how_to_go_on(comparison: Comparison) -> None:
    begun, waiting = (
        make_run(1, RunOutcome.UNFINISHED),
        make_run(64, RunOutcome.UNFINISHED, epochs=()),
    )
    unfinished = replace(comparison, runs=(begun, waiting, *comparison.runs[2:]))
    assert "--resume FILE goes on with what -o FILE saved" in " ".join(text_of(unfinished).split())
    assert "0 us" not in text_of(unfinished), "no time is told of what did not begin"
    assert "--resume FILE" not in text_of(comparison)


def test_it_survives_the_file(comparison: Comparison, tmp_path: Any) -> None:
    path = tmp_path / "comparison.json"
    COMPARISON.save(comparison, path, overwrite=False)
    assert COMPARISON.load(path) == comparison
    document = json.loads(path.read_text())
    assert document["comparison_version"] == 1
    assert document["batch_size"] == 64
    assert document["is_complete"] is True
    assert COMPARISON.dumps(comparison) == path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[1]", "does not hold a comparison"),
        ('{"schema_version": 1}', "comparison_version: expected 1, got None"),
        ('{"comparison_version": 9}', "comparison_version 9 is newer than 1"),
        ('{"comparison_version": 1}', "missing required field"),
        ("[" * 100_000, "cannot read"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Any, content: str, message: str) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(content)
    with pytest.raises(ResultFormatError, match=message):
        COMPARISON.load(path)
    with pytest.raises(ResultFormatError, match="no such file"):
        COMPARISON.load(tmp_path / "none.json")


def test_the_picture_has_three_panels_with_a_line_for_each_run(comparison: Comparison) -> None:
    figure = draw_comparison(comparison)
    panels = figure.axes
    assert [axes.get_xlabel() for axes in panels] == ["epochs", "iterations", "seconds"]
    # One of the runs has no epoch; a course is drawn twice; the target is one line more.
    assert [len(axes.lines) for axes in panels] == [5, 9, 9]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["1", "64, chosen", "256, diverged", "full batch (800)"]
    assert all(tick == int(tick) for tick in panels[0].get_xticks())
    times = panels[2].lines[0].get_xdata()
    assert times[-1] == pytest.approx(comparison.runs[0].time_s)
    assert all(a < b for a, b in itertools.pairwise(times))


def test_the_chosen_size_has_the_widest_line_and_the_target_its_name(
    comparison: Comparison,
) -> None:
    epochs, *_ = draw_comparison(comparison).axes
    widths = {line.get_label(): line.get_linewidth() for line in epochs.lines[:-1]}
    assert max(widths, key=widths.__getitem__) == "64, chosen"
    assert [text.get_text() for text in epochs.texts] == [
        f"target loss {comparison.asked.target_loss:g}"
    ]
    asked = replace(comparison.asked, target_loss=None)
    assert not list(draw_comparison(replace(comparison, asked=asked)).axes[0].texts)


def noisy_run() -> TrainingRun:
    """A loss that falls as 1/n, with single samples a thousandth of it and ten times as much."""
    usual = [1000 / number for number in range(1, 801)]
    losses = [loss * (1e-3 if n % 5 == 1 else 10 if n % 5 == 2 else 1) for n, loss in
              enumerate(usual)]  # fmt: skip
    return replace(make_run(1), iterations=tuple(range(1, 801)), losses=tuple(losses))


def test_the_axis_shows_the_smoothed_course_and_not_every_oscillation(
    comparison: Comparison,
) -> None:
    run = noisy_run()
    _, iterations, _ = draw_comparison(replace(comparison, runs=(run,))).axes
    raw, smooth, _ = iterations.lines
    assert len(raw.get_xdata()) == 800
    assert raw.get_linewidth() < smooth.get_linewidth()
    assert raw.get_alpha() < 0.5
    course = smooth.get_ydata()
    assert 20 <= len(course) <= 40
    late = course[len(course) // 2 :]
    assert max(b / a for a, b in itertools.pairwise(run.losses)) > 1000
    assert max(b / a for a, b in itertools.pairwise(late)) < 1.5
    low, _ = iterations.get_ylim()
    assert min(run.losses) < low < min(course)


def test_the_axes_of_iterations_and_of_seconds_are_logarithmic_and_not_wasted(
    comparison: Comparison,
) -> None:
    _, iterations, seconds = draw_comparison(comparison).axes
    assert iterations.get_xscale() == seconds.get_xscale() == "log"
    longest = max(run.time_s for run in comparison.runs if run.epochs)
    assert seconds.get_xlim()[0] == pytest.approx(longest / 1000)


def test_the_picture_is_written_as_its_suffix_says(comparison: Comparison, tmp_path: Any) -> None:
    save_comparison_plot(comparison, tmp_path / "loss.svg")
    assert (tmp_path / "loss.svg").read_text().lstrip().startswith("<?xml")
    save_comparison_plot(comparison, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_is_still_one(comparison: Comparison) -> None:
    nothing = replace(comparison, runs=comparison.runs[3:4])
    assert len(draw_comparison(nothing).axes) == 3


def test_a_run_that_is_over_has_its_line(comparison: Comparison) -> None:
    stream = io.StringIO()
    lines = CompareLines(PlainActivity(stream))
    lines.loading("model.py")
    lines.comparing(comparison.workload, "cpu", 2)
    lines.run_started(make_run(64, RunOutcome.UNFINISHED, epochs=()), 10)
    lines.run_advanced(make_run(64, RunOutcome.UNFINISHED), 10)
    lines.run_advanced(make_run(64), 3)
    lines.run_advanced(make_run(800), 10)
    shown = stream.getvalue().splitlines()
    assert shown[0] == "loading model.py"
    assert shown[2] == "batch 64: training 10 epochs"
    assert "batch 64: finished, 3 of 3 epochs" in shown[3]
    assert "batch 800 (full): reached the target, 3 of 10 epochs" in shown[4]
    assert len(shown) == 5


def test_on_a_terminal_the_epochs_of_a_run_are_counted() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, legacy_windows=False)
    with LiveActivity(console) as activity:
        lines = CompareLines(activity)
        lines.run_started(make_run(64, RunOutcome.UNFINISHED, epochs=()), 10)
        assert "batch 64: training 10 epochs (1 s)" in stream.getvalue()
        lines.run_advanced(make_run(64, RunOutcome.UNFINISHED), 10)
        loss = make_run(64).epochs[-1].loss
        assert f"batch 64: training 10 epochs: 3 done, loss {loss:.4g} (1 s)" in stream.getvalue()
