"""How fast a training would be on GPUs that are not here: an estimate where the card is known."""

from __future__ import annotations

import statistics
from contextlib import nullcontext

from autobatch.cards import Card
from autobatch.errors import AutobatchError
from autobatch.prediction.lines import SMALL
from autobatch.prediction.step_time import estimate_step_s, scale_of
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.records import Finding, Settings

# What of the settings changes the traced step.
_TRACED = ("precision", "gradient_accumulation_steps", "variables")


class Pace:
    """Estimates the throughput of one training.

    Args:
        tracer: Traces it.
        target: What it traces.
        settings: For its passes.
    """

    def __init__(self, tracer: Tracer, target: str, settings: Settings) -> None:
        self._tracer, self._target, self._settings = tracer, target, settings
        self._scales: dict[str, float] = {}

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Cards whose scale a probe told."""
        return tuple(self._scales)

    def samples_per_s(self, card: Card, batch_size: int) -> float | None:
        """Estimate the samples of a second; ``None`` where too little is known.

        Args:
            card: The card.
            batch_size: Samples of a pass.
        """
        scale = self._scales.get(card.name) or scale_of(card)
        if scale is None:
            return None
        time_s = _estimate_step_s(self._tracer, self._settings, card, batch_size)
        passes = self._settings.gradient_accumulation_steps
        return passes * batch_size / (scale * time_s) if time_s else None

    def calibrate(self, card: Card, finding: Finding) -> None:
        """Take a card's scale from what a probe ran on it, where that can be traced.

        Args:
            card: The card.
            finding: Of the probe.
        """
        is_same = finding.target == self._target and all(
            getattr(finding.settings, name) == getattr(self._settings, name) for name in _TRACED
        )
        try:
            with (
                nullcontext(self._tracer) if is_same else Tracer(finding.target, finding.settings)
            ) as tracer:
                self._scales |= _measure_scale(tracer, card, finding)
        except AutobatchError:  # the file or the catalogue is not here: memory is planned without
            return

    def explain_missing(self, card: Card) -> str:
        """Why no card has an estimate; empty if it is that the card is not known."""
        return _explain_missing(self._tracer, self._settings, card)


def _measure_scale(tracer: Tracer, card: Card, finding: Finding) -> dict[str, float]:
    """Measured time over estimated time of what a probe ran, by the card's name."""
    passes = finding.settings.gradient_accumulation_steps
    ratios = [
        passes * each.batch_size / each.samples_per_s / time_s
        for each in finding.decision.estimates
        if (time_s := _estimate_step_s(tracer, finding.settings, card, each.batch_size))
    ]
    return {card.name: statistics.median(ratios)} if ratios else {}


def _estimate_step_s(
    tracer: Tracer, settings: Settings, card: Card, batch_size: int
) -> float | None:
    if _explain_missing(tracer, settings, card):
        return None
    passes = settings.gradient_accumulation_steps
    operations = tracer.operations_at(batch_size, card.compute_capability)
    return estimate_step_s(operations, card, passes=passes / tracer.num_passes)


def _explain_missing(tracer: Tracer, settings: Settings, card: Card) -> str:
    if tracer.loaded.is_compiled:
        return "the model is compiled"
    if settings.num_devices > 1:
        return "several devices wait for each other"
    trace = tracer.trace(SMALL, card.compute_capability)
    if "rnn" in trace.unseen:
        return "cuDNN runs recurrent layers as a whole"
    untold = [each for each in trace.unseen if "::" in each]
    if untold or not trace.operations:
        return f"{untold[0] if untold else 'an operator'} does not tell its arithmetic"
    return ""
