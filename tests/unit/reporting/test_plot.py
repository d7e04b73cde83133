"""A picture of a finding, in three formats, that touches nothing outside its file."""

from __future__ import annotations

import builtins
import importlib.util
import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from autobatch.errors import SettingsError
from autobatch.records import Outcome, Settings
from autobatch.reporting.axes import GREY
from autobatch.reporting.plot import check_plot_path, draw, save_plot

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def kinds(make_finding, make_trial):
    """Findings of all the shapes that a search can end in."""
    oom, late = Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT
    whole = make_finding()
    bare = {"memory_curve": None, "throughput_curve": None}
    predicted = {"largest_batch_size": 2**20, "largest_was_run": False, "knee": 64}
    poor = replace(whole.throughput_curve, is_good=False, band=())
    broken = replace(whole.throughput_curve, latency_s=float("nan"), r_squared=float("nan"))
    huge = replace(whole.budget, budget_bytes=80 * 2**30)
    nothing = replace(whole.budget, budget_bytes=0)
    return {
        "whole": whole,
        "one trial": make_finding((make_trial(11),), **bare),
        "two trials": make_finding((make_trial(1), make_trial(2))),
        "no curves": make_finding((make_trial(4), make_trial(8, oom)), **bare),
        "failures": make_finding(
            (make_trial(1), *(make_trial(2 + n, how) for n, how in enumerate(Outcome) if n))
        ),
        "no peaks": make_finding((make_trial(1, peak_bytes=None), make_trial(2, late))),
        "predicted": make_finding(recommendation=predicted, budget=huge),
        "poor fit": make_finding(throughput_curve=poor),
        "broken curve": make_finding(throughput_curve=broken),
        "no budget": make_finding(budget=nothing),
        "three steps": make_finding((make_trial(1, rounds=whole.trials[0].rounds[:0]),), **bare),
    }


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_the_suffix_is_the_format(tmp_path, make_finding, suffix):
    path = tmp_path / f"run.{suffix.upper()}"
    save_plot(make_finding(), path)
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    assert os.listdir(tmp_path) == [path.name]


def test_every_kind_of_finding_can_be_drawn(kinds):
    for finding in kinds.values():
        draw(finding).canvas.draw()


def test_no_label_of_an_axis_overlaps_its_neighbour(kinds):
    for name, finding in kinds.items():
        figure = draw(finding)
        figure.canvas.draw()
        for axes in figure.axes:
            boxes = [tick.get_window_extent() for tick in axes.get_xticklabels()]
            boxes.sort(key=lambda box: box.x0)
            assert boxes, name
            assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes)), name


def test_nothing_leaves_the_picture(kinds):
    for name, finding in kinds.items():
        figure = draw(finding)
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert box.x0 >= 0 and box.y0 >= 0, name
            assert box.x1 <= width and box.y1 <= height, name


def test_batch_sizes_are_plain_powers_of_two(make_finding):
    for axes in draw(make_finding()).axes:
        labels = [axes.xaxis.get_major_formatter()(x) for x in axes.get_xticks()]
        assert labels[:3] == ["1", "4", "16"]
        assert labels[-1] == "1,024"


def test_the_panels_show_what_the_legend_says(make_finding):
    throughput, memory = draw(make_finding()).axes
    assert set(legend(throughput)) == {
        "fitted curve",
        "estimate, with 90 % interval",
        "95 % of the fastest",
    }
    assert set(legend(memory)) == {
        "fitted line",
        "measured",
        "recommended",
        "budget: 4.0 GiB",
        "did not fit",
    }


def test_the_recommended_size_and_the_users_own_are_named_in_place(make_finding):
    throughput, _ = draw(make_finding()).axes
    names = {text.get_text(): text.xy[0] for text in throughput.texts}
    assert names == {"recommended: 128": 128, "yours: 32": 32}
    throughput, _ = draw(make_finding(decision={"your_batch_size": 128})).axes
    assert [text.get_text() for text in throughput.texts] == ["recommended, yours: 128"]
    throughput, _ = draw(make_finding(decision={"your_batch_size": None})).axes
    assert [text.get_text() for text in throughput.texts] == ["recommended: 128"]


def test_the_line_of_what_is_fast_enough_goes_by_the_tolerance(make_finding):
    throughput, _ = draw(make_finding(settings=Settings(tolerance_fraction=0.2))).axes
    (line,) = [line for line in throughput.lines if line.get_label() == "80 % of the fastest"]
    best = max(each.samples_per_s for each in make_finding().decision.estimates)
    assert line.get_ydata()[0] == pytest.approx(0.8 * best)


def test_a_size_that_rests_on_one_step_is_grey(make_finding):
    whole = make_finding().decision.estimates
    once = (replace(whole[0], num_steps=1), *whole[1:])
    throughput, _ = draw(make_finding(decision={"estimates": once})).axes
    single, *_ = [each for each in throughput.containers if "single" in each.get_label()]
    assert list(single.lines[0].get_xdata()) == [1]
    assert single.lines[0].get_color() == GREY


def test_no_name_of_a_size_leaves_its_panel(make_finding):
    for size in (1, 2, 256, 512, 1024):
        figure = draw(make_finding(recommendation={"batch_size": size}))
        figure.canvas.draw()
        axes, _ = figure.axes
        panel = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert panel.x0 <= box.x0 and box.x1 <= panel.x1 + 1, (size, text.get_text())


def test_a_budget_far_above_is_named_and_does_not_press_the_peaks_flat(make_finding, make_trial):
    trials = tuple(make_trial(2**power) for power in range(6))
    finding = make_finding(trials)
    far = replace(finding.budget, budget_bytes=80 * 2**30)
    _, memory = draw(replace(finding, budget=far)).axes
    assert "budget: 80.0 GiB, far above" in legend(memory)
    assert memory.get_ylim()[1] < 2 * max(trial.peak_bytes for trial in trials) / 2**20
    # A trial that failed stands at the budget, which therefore has to be seen.
    failed = (*trials, make_trial(64, Outcome.OUT_OF_MEMORY))
    _, memory = draw(replace(make_finding(failed), budget=far)).axes
    assert "budget: 80.0 GiB" in legend(memory)
    assert memory.get_ylim()[1] > 80


def test_both_panels_have_one_axis_of_sizes(kinds):
    for name, finding in kinds.items():
        throughput, memory = draw(finding).axes
        assert throughput.get_xlim() == memory.get_xlim(), name


def test_a_predicted_largest_is_drawn_apart_from_the_measured(kinds):
    _, memory = draw(kinds["predicted"]).axes
    assert "largest, predicted: 1,048,576" in legend(memory)


def test_a_predicted_largest_far_below_the_budget_is_in_the_panel(make_finding, make_trial):
    predicted = {"largest_batch_size": 64, "largest_was_run": False}
    finding = make_finding((make_trial(1), make_trial(2)), recommendation=predicted)
    far = replace(finding.budget, budget_bytes=2**60)
    _, memory = draw(replace(finding, budget=far)).axes
    (mark,) = [line for line in memory.lines if line.get_label() == "largest, predicted: 64"]
    assert 0 < mark.get_ydata()[0] < memory.get_ylim()[1]


def test_failed_sizes_stand_at_the_budget_or_above(make_finding, make_trial):
    low = make_trial(4, Outcome.OUT_OF_MEMORY, peak_bytes=2**20)
    high = make_trial(8, Outcome.OVER_BUDGET, peak_bytes=5 * 2**30)
    _, memory = draw(make_finding((make_trial(1), low, high))).axes
    (marks,) = [line for line in memory.lines if line.get_label() == "did not fit"]
    assert list(marks.get_ydata()) == [4.0, 5.0]


def test_memory_is_in_the_unit_that_suits_it(make_finding, make_trial):
    finding = make_finding((make_trial(1), make_trial(2)))
    near = replace(finding.budget, budget_bytes=2**30)
    assert draw(replace(finding, budget=near)).axes[1].get_ylabel() == "peak memory (GiB)"
    small = replace(finding.budget, budget_bytes=900 * 2**20)
    assert draw(replace(finding, budget=small)).axes[1].get_ylabel() == "peak memory (MiB)"


def test_a_curve_that_fits_poorly_is_not_drawn(kinds):
    throughput, _ = draw(kinds["poor fit"]).axes
    assert "fitted curve" not in legend(throughput)


def test_a_title_is_no_formula_and_keeps_the_end_of_a_long_path(make_finding):
    figure = draw(make_finding(target="/long" * 40 + "/$x^$.py", settings=Settings()))
    figure.canvas.draw()
    title = figure.get_suptitle()
    assert title.endswith("/$x^$.py on cpu")
    assert title.startswith("...")


def test_two_plots_of_one_finding_are_alike(tmp_path, make_finding):
    for name in ("a.png", "b.png"):
        save_plot(make_finding(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["run.jpg", "run", ".png", "run.png.txt"])
def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path, name):
    with pytest.raises(SettingsError, match=r"a plot is a \.png, \.svg or \.pdf file") as caught:
        check_plot_path(tmp_path / name)
    assert caught.value.hint.endswith(".png")


def test_a_missing_folder_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder"):
        check_plot_path(tmp_path / "nowhere" / "run.png")
    check_plot_path(tmp_path / "run.png")
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_the_hint_says_what_to_install(tmp_path, make_finding, monkeypatch):
    find_spec, load = importlib.util.find_spec, builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith(("matplotlib", "autobatch.reporting.figure")):
            raise ModuleNotFoundError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    monkeypatch.setattr(builtins, "__import__", missing)
    for refused in (
        lambda: check_plot_path(tmp_path / "run.png"),
        lambda: draw(make_finding()),
    ):
        with pytest.raises(SettingsError, match="needs matplotlib") as caught:
            refused()
        assert caught.value.hint == "pip install 'torch-autobatch[plot]'"


def test_reports_load_neither_torch_nor_matplotlib_and_plots_no_pyplot(tmp_path):
    code = (
        "import sys, autobatch.reporting\n"
        "print(sorted({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.stdout == "[]\n"


def test_drawing_leaves_the_users_plot_settings_alone(make_finding):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    pyplot_was_loaded = "matplotlib.pyplot" in sys.modules
    draw(make_finding()).canvas.draw()
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_was_loaded
