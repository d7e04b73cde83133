"""A check of memory on a GPU that is not here: traced, replayed, judged. Nothing runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from autobatch.cards import USUAL_OUTSIDE, Card, find_card, read_unlisted
from autobatch.check.judge.predicted import find_notes, judge_prediction
from autobatch.check.predicted_memory import PredictedMemory
from autobatch.check.records import CheckReport, CheckSettings, TargetLimits
from autobatch.check.terms import resolve_batch_size
from autobatch.errors import SettingsError
from autobatch.prediction.allocator import CachingAllocator, Driver
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.prediction.unseen import find_unseen
from autobatch.records import Settings
from autobatch.records.options import options_of

_NOTE = "Predicted; nothing was run on a GPU"
_ON_MEMORY = ("max_memory_bytes", "min_headroom_fraction", "memory_tolerance_fraction")


def refuse_what_is_not_predicted(settings: CheckSettings, *, is_command: bool) -> None:
    """Refuse requirements that only a run can tell about.

    Args:
        settings: What is asked; they name a GPU.
        is_command: Whether a command is to be checked.

    Raises:
        SettingsError: If there is one; names it.
    """
    asked = {
        "a command": is_command,
        f"`device={settings.training.device}`": settings.training.device != Settings().device,
        f"`reference={settings.reference}`": settings.reference is not None,
        "`any_hardware`": settings.any_hardware,
        "a requirement on the hardware": not settings.hardware.is_empty,
        f"`nproc_per_node={settings.ranks.nproc_per_node}`": settings.ranks.nproc_per_node > 1,
    }
    for name, each in options_of(TargetLimits).items():
        value = getattr(settings.limits, each.field)
        asked[f"`{name}`"] = each.field not in _ON_MEMORY and value != each.default
    refused = next((name for name, is_asked in asked.items() if is_asked), None)
    if refused is not None:
        raise SettingsError(
            f"memory alone is predicted, and {refused} is given besides `gpu={settings.gpu}`",
            hint="leave one of them out",
        )


def check_predicted(
    target: str,
    settings: CheckSettings,
    *,
    baseline: PredictedMemory | None = None,
    on_output: Callable[[str], None] = lambda line: None,
    on_stage: Callable[[str], None] = lambda doing: None,
) -> CheckReport:
    """Check the memory of a target on a GPU that is not here.

    Args:
        target: As of ``check_target``.
        settings: What is asked; they name a GPU.
        baseline: What to compare with.
        on_output: Receives each line that the target prints.
        on_stage: Receives what is done now, in words.

    Raises:
        SettingsError: If the GPU is not known.
        BaselineError: If the baseline is of something else.
        WorkloadError: If the step cannot be traced; names the operator.
    """
    begin = time.monotonic()
    gpu = settings.gpu or ""
    card = read_unlisted(gpu) if ":" in gpu else find_card(gpu, option="gpu")
    training = settings.training
    with Tracer(
        target, training, timeout_s=training.trial_timeout_s, on_output=on_output,
        on_stage=on_stage,
    ) as tracer:  # fmt: skip
        batch_size = resolve_batch_size(settings.batch_size, tracer.loaded.workload)
        trace = tracer.at(batch_size, card.compute_capability)
        band_fraction = find_unseen(trace, tracer.loaded).band_fraction
        versions = dict(tracer.loaded.libraries)
    now = _predict(target, trace, card, band_fraction, training.precision.value, versions)
    notes = [] if baseline is None else find_notes(now, baseline)
    fits = _fits(trace, card, band_fraction)
    return CheckReport(
        target=target,
        devices=(f"{card.name}, predicted",),
        settings=settings,
        verdicts=tuple(
            judge_prediction(settings.limits, now, card.memory_bytes, baseline, fits=fits)
        ),
        prediction=now,
        notes=(_NOTE, *notes),
        elapsed_s=time.monotonic() - begin,
    )


def _predict(
    target: str,
    trace: Trace,
    card: Card,
    band_fraction: float,
    precision: str,
    versions: dict[str, str],
) -> PredictedMemory:
    found = predict(trace, card)
    modules: Counter[str] = Counter()
    for part in found.live:
        modules[part.module] += part.num_bytes
    reserved_bytes = found.peak_reserved_bytes
    return PredictedMemory(
        target=target,
        batch_size=trace.batch_size,
        precision=precision,
        gpu=card.name,
        versions=versions,
        peak_bytes=reserved_bytes + USUAL_OUTSIDE.likely_bytes,
        low_bytes=reserved_bytes + USUAL_OUTSIDE.low_bytes,
        high_bytes=int(reserved_bytes * (1 + band_fraction)) + USUAL_OUTSIDE.high_bytes,
        modules_bytes=dict(modules.most_common()),
    )


def _fits(trace: Trace, card: Card, band_fraction: float) -> bool | None:
    """Whether it fits in any case; ``False`` if in none, ``None`` if that depends."""
    worst_bytes, _, best_bytes = USUAL_OUTSIDE.find_room(card.memory_bytes, band_fraction)
    in_any, in_one = (
        limit_bytes > 0 and predict(trace, card, CachingAllocator(Driver(limit_bytes))).fits
        for limit_bytes in (worst_bytes, best_bytes)
    )
    return True if in_any else None if in_one else False
