"""The noise scale and the goodputs, as text and as JSON."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from autobatch.errors import ResultFormatError
from autobatch.records import Efficiency, Goodput, NoiseScale
from autobatch.reporting import dumps, from_document, render, to_document
from autobatch.reporting.efficiency import noise_figure
from autobatch.reporting.plot import draw

NOISE = NoiseScale(
    noise_scale=1240.4,
    low=980.2,
    high=1701.0,
    confidence_fraction=0.9,
    gradient_variance=2480.0,
    squared_gradient_norm=2.0,
    micro_batch_size=64,
    num_micro_batches=512,
)
OPEN = replace(NOISE, noise_scale=None, high=None, squared_gradient_norm=-0.1)


def goodput(size: int, samples_per_s: float) -> Goodput:
    worth = (1240.4 + 32) / (1240.4 + size)
    return Goodput(
        batch_size=size,
        global_batch_size=size,
        samples_per_s=samples_per_s,
        relative_efficiency=worth,
        goodput_samples_per_s=worth * samples_per_s,
    )


EFFICIENCY = Efficiency(
    base_batch_size=32,
    noise_is_lower_bound=False,
    goodputs=(goodput(64, 2000.0), goodput(128, 2900.0), goodput(1024, 3000.0)),
    batch_size=128,
)


@pytest.fixture
def finding(make_finding):
    return make_finding(gradient_noise=NOISE, efficiency=EFFICIENCY)


def text_of(finding, width=80, **options):
    stream = io.StringIO()
    render(finding, Console(file=stream, width=width, color_system=None), **options)
    return stream.getvalue()


def test_the_report_says_the_noise_the_goodputs_and_the_answer(finding):
    text = text_of(finding)
    assert "1,240 samples (90 % interval 980 to 1,701)" in text
    assert "128 at this noise scale, which grows in training" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(">   ")]
    assert [">", "128", "128", "2,900", "0.93", "2,697", "100", "%"] in rows


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut_off(finding, width):
    lines = text_of(finding, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in "".join(lines)
    (header,) = [line.split() for line in lines if "goodput" in line.split()]
    assert ("global" in header) is (width >= 80)
    assert header[:1] == ["batch"]
    assert header[-2:] == ["of", "best"]


def test_without_a_measurement_nothing_is_said_of_noise(make_finding):
    assert "noise" not in text_of(make_finding()).lower().replace("noisy", "")


def test_a_noise_that_is_not_known_is_said_to_be(finding):
    text = " ".join(text_of(replace(finding, gradient_noise=OPEN, efficiency=None)).split())
    assert "above 980 samples" in text
    assert "too little is known" in text
    assert "no upper end" in noise_figure(replace(NOISE, high=None))
    assert "0.52 samples" in noise_figure(replace(NOISE, noise_scale=0.52))


def test_the_weights_measured_at_are_named(finding):
    assert "the weights it begins with" in " ".join(text_of(finding).split())
    noise = replace(NOISE, num_training_steps=100, initial_noise_scale=1.07)
    text = " ".join(text_of(replace(finding, gradient_noise=noise)).split())
    assert "after 100 training steps 1.1 at the weights it begins with" in text


def test_the_picture_has_the_goodput_where_it_is_known(finding, make_finding):
    labels = [line.get_label() for line in draw(finding).axes[0].lines]
    (line,) = (each for each in draw(finding).axes[0].lines if "goodput" in each.get_label())
    assert list(line.get_xdata()) == [64, 128, 1024]
    assert "goodput, in samples worth one at 32" in labels
    assert not any("goodput" in each.get_label() for each in draw(make_finding()).axes[0].lines)


def test_all_of_it_survives_the_round_trip(finding):
    assert from_document(json.loads(dumps(finding))) == finding
    unknown = replace(finding, gradient_noise=OPEN, efficiency=None)
    assert from_document(json.loads(dumps(unknown))) == unknown
    document = to_document(unknown)
    assert document["gradient_noise"]["noise_scale"] is None
    assert document["efficiency"] is None


def test_a_document_from_before_is_read(make_finding):
    document = to_document(make_finding())
    for key in ("gradient_noise", "efficiency"):
        del document[key]
    del document["settings"]["gradient_noise"]
    assert from_document(document) == make_finding()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gradient_noise", {"noise_scale": "much"}),
        ("gradient_noise", 3),
        ("efficiency", {"goodputs": []}),
    ],
)
def test_a_damaged_document_is_refused_by_place(finding, key, value):
    document = to_document(finding)
    document[key] = value
    with pytest.raises(ResultFormatError, match=key):
        from_document(document)


def test_an_efficiency_without_sizes_is_refused(finding):
    document = to_document(finding)
    document["efficiency"]["goodputs"] = []
    with pytest.raises(ResultFormatError, match="efficiency"):
        from_document(document)
    document = to_document(finding)
    document["efficiency"]["goodputs"][0]["goodput_samples_per_s"] = math.inf
    with pytest.raises(ResultFormatError):
        from_document(document)
