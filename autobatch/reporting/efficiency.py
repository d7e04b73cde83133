"""The gradient noise scale and the goodputs, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.records import Efficiency, Finding, NoiseScale
from autobatch.reporting.tables import Column, Row, fitting_table, labelled, throughput_figure


def noise_blocks(finding: Finding, width: int) -> Iterator[RenderableType]:
    """The noise scale and what follows; nothing if it was not measured.

    Args:
        finding: With the noise scale.
        width: Characters in a line.
    """
    noise, efficiency = finding.gradient_noise, finding.efficiency
    if noise is None:
        return
    yield Text("Gradient noise", style="bold")
    yield labelled(_noise_rows(noise, finding))
    if efficiency is not None:
        yield ""
        yield _goodput_table(efficiency, width)


def noise_figure(noise: NoiseScale) -> str:
    """The noise scale with its interval."""
    share = units.format_fraction(noise.confidence_fraction)
    low = _samples(noise.low)
    if noise.noise_scale is None:
        return f"above {low} samples ({share} interval); the gradient is too close to zero to say"
    high = "no upper end" if noise.high is None else f"to {_samples(noise.high)}"
    joint = "from " if noise.high is None else ""
    middle = ", " if noise.high is None else " "
    return f"{_samples(noise.noise_scale)} samples ({share} interval {joint}{low}{middle}{high})"


def _noise_rows(noise: NoiseScale, finding: Finding) -> Iterator[Row]:
    yield "noise scale", Text(noise_figure(noise))
    count, size = units.format_count(noise.num_micro_batches), noise.micro_batch_size
    where = _describe_weights(noise)
    yield "", Text(f"from {count} micro-batches of {units.format_count(size)}, {where}")
    if noise.initial_noise_scale is not None:
        yield "", Text(f"{_samples(noise.initial_noise_scale)} at the weights it begins with")
    if finding.efficiency is None:
        yield "", Text("too little is known of it to say what a sample is worth")
        return
    best = units.format_count(finding.efficiency.batch_size)
    yield "best size", Text(f"{best} at this noise scale, which grows in training")


def _describe_weights(noise: NoiseScale) -> str:
    if noise.num_training_steps:
        return f"after {units.format_count(noise.num_training_steps)} training steps"
    return "at the weights it begins with"


def _goodput_table(efficiency: Efficiency, width: int) -> Table:
    rows = efficiency.goodputs
    best = max(each.goodput_samples_per_s for each in rows)
    chosen = [each.batch_size == efficiency.batch_size for each in rows]
    styles = tuple("bold" if is_chosen else "" for is_chosen in chosen)
    worth = f"worth at {units.format_count(efficiency.base_batch_size)} = 1"
    cells = {
        "batch": [units.format_count(each.batch_size) for each in rows],
        "global batch": [units.format_count(each.global_batch_size) for each in rows],
        "samples/s": [throughput_figure(each.samples_per_s) for each in rows],
        worth: [f"{each.relative_efficiency:.3g}" for each in rows],
        "goodput": [throughput_figure(each.goodput_samples_per_s) for each in rows],
        "of best": [units.format_fraction(each.goodput_samples_per_s / best) for each in rows],
    }
    return fitting_table(
        [Column(header, tuple(column), styles=styles) for header, column in cells.items()],
        width=width,
        dropped=("global batch", "samples/s", worth),
        marked=[index for index, is_chosen in enumerate(chosen) if is_chosen],
    )


def _samples(count: float) -> str:
    return units.format_count(count) if count >= 9.95 else f"{count:.2g}"
