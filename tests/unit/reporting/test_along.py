"""A finding along another axis than the batch says so wherever a size is named."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from autobatch.records import (
    Axis,
    FindingWarning,
    Goal,
    Outcome,
    Phase,
    Settings,
    StopReason,
    WarningCode,
)
from autobatch.reporting.document import to_document
from autobatch.reporting.html import save_html
from autobatch.reporting.plot import draw
from autobatch.reporting.progress import LineProgress
from autobatch.reporting.text import render

LENGTHS = Settings(axis=Axis.SEQUENCE_LENGTH, batch_size=8, goal=Goal.MEMORY)
IMAGES = Settings(axis=Axis.IMAGE_SIZE, batch_size=8, goal=Goal.MEMORY)
OF_BATCHES = re.compile(r"samples/s|iterations|regime|dataset|vs best|Batch size|--eval")


@pytest.fixture
def along(make_finding, make_trial):
    """A finding of three sizes: steps of 8.8, 13.6 and 24 ms."""

    def make(settings, **changes):
        trials = tuple(make_trial(size) for size in (16, 32, 64))
        finding = make_finding(
            trials, settings=settings, decision={"your_batch_size": None},
            **changes,
        )  # fmt: skip
        return replace(finding, workload=replace(finding.workload, num_positions=64))

    return make


def test_the_report_speaks_of_the_length_and_of_tokens_alone(along, printed):
    warning = FindingWarning(code=WarningCode.LOSS_NOT_FINITE, figures={"batch_size": 64.0})
    shown = printed(render, along(LENGTHS, stop_reason=StopReason.POSITIONS, warnings=(warning,)))
    assert shown.startswith("Sequence length 64: ")
    assert "the model has positions for no more" in " ".join(shown.split())
    assert "train with sequence length 64 at batch size 8" in shown
    assert re.search(r"length +peak .* tokens/s", shown)
    assert "At sequence length 64 a loss was NaN" in shown
    assert "the model has 64 positions (max_position_embeddings)" in " ".join(shown.split())
    assert not OF_BATCHES.search(shown)


def test_throughput_is_of_all_tokens_and_pixels_of_a_batch(along, printed):
    finding = along(IMAGES)
    images_per_s = 8 * finding.recommendation.samples_per_s / 64
    pixels = f"{images_per_s * 64 * 64:,.0f} pixels/s on one device"
    assert pixels in " ".join(printed(render, finding).split())
    answer = to_document(finding)["along"]
    assert answer.pop("units_per_s") == pytest.approx(images_per_s * 64 * 64)
    assert answer == {"axis": "image_size", "size": 64, "batch_size": 8, "unit": "pixels"}


def test_a_search_of_the_batch_has_no_other_axis(make_finding):
    assert to_document(make_finding())["along"] is None


def test_a_size_beyond_an_embedding_is_not_called_out_of_memory(along, make_trial, printed):
    finding = along(LENGTHS, stop_reason=StopReason.FAILED)
    message = "IndexError: index out of range in self"
    failed = make_trial(128, Outcome.FAILED, message=message)
    shown = printed(render, replace(finding, trials=(*finding.trials, failed)))
    assert "larger sizes are beyond an embedding" in " ".join(shown.split())
    assert "the next size up is more than an embedding has rows for" in " ".join(shown.split())


def test_a_page_and_a_picture_name_the_axis(along, tmp_path):
    finding = along(IMAGES)
    save_html(finding, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Image size for examples/cnn.py</h1>" in page
    assert "<th>size</th>" in page and "<th>pixels/s</th>" in page
    throughput, memory = draw(finding).axes
    assert throughput.get_ylabel() == "throughput (pixels/s)"
    assert throughput.get_xlabel() == memory.get_xlabel() == "image size"
    highest = max(point for line in throughput.lines for point in line.get_ydata())
    assert highest > 8 * 64 * 64 / 0.03, "drawn in images of one pixel"
    assert "fitted curve" not in throughput.get_legend_handles_labels()[1]


def test_progress_names_the_axis(along, make_trial):
    lines = []

    class Activity:
        def write(self, line):
            lines.append(line)

    progress = LineProgress(Activity())
    progress.along = LENGTHS.along
    progress.trial_finished(make_trial(64), Phase.SEARCH)
    assert re.fullmatch(r"length 64: fits, .* tokens/s", lines[0])
