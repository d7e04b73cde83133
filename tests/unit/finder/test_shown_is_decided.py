"""What a report shows is what was decided on, however noisy the machine."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console

from autobatch.finder.session import find
from autobatch.records import Confidence, Finding, Settings
from autobatch.reporting.tables import throughput_figure, throughput_interval
from autobatch.reporting.text import render
from autobatch.reporting.verdict import find_verdict
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

NUM_SEARCHES = 200


def search(seed: int) -> Finding:
    """A search of a workload, and on a machine, drawn at random."""
    draw = random.Random(seed)
    workload = SimulatedWorkload.linear(
        latency_s=10 ** draw.uniform(-3, -1),
        per_sample_s=10 ** draw.uniform(-5, -3),
        noise_fraction=draw.choice((0.01, 0.05, 0.2)),
        drift_fraction=draw.choice((0.003, 0.05, 0.2)),
        dataset_size=draw.choice((None, 2_000, 50_000)),
    )
    prober = SimulatedProber(workload, SimulatedDevice(2**36), seed=seed)
    own = draw.choice((None, 16, 128))
    settings = Settings(base_batch_size=own, min_batch_size=4, max_batch_size=512)
    return find(prober, settings, target="simulated", clock=prober.clock)


def report(finding: Finding) -> str:
    """The report on a terminal of 120 columns."""
    text = io.StringIO()
    render(finding, Console(file=text, width=120))
    return text.getvalue()


@pytest.mark.parametrize("part", range(10))
def test_no_size_is_shown_faster_than_the_recommended_one_by_more_than_the_tolerance(
    part: int,
) -> None:
    for seed in range(part, NUM_SEARCHES, 10):
        finding = search(seed)
        decision, tolerance = finding.decision, finding.settings.tolerance_fraction
        chosen = decision.estimate_of(finding.batch_size)
        assert chosen is not None
        fastest = max(each.samples_per_s for each in decision.estimates)
        is_close = chosen.samples_per_s >= (1 - tolerance) * fastest
        claim, *_ = find_verdict(finding).lines
        assert is_close or decision.confidence is Confidence.LOW, claim
        assert ("within 5 % of" in claim) <= is_close
        (row,) = [line for line in report(finding).splitlines() if line.startswith("> ")]
        figure, interval = throughput_figure(chosen.samples_per_s), throughput_interval(chosen)
        if decision.confidence is Confidence.LOW:  # no figure is claimed, so none is larger
            assert interval in row
        else:
            assert figure in row.split()
