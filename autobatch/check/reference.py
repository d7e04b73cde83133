"""What is timed in turn with the target, and at which batch size.

A reference shows what the machine does to it and to the target alike. So a built-in one is chosen
by what a step of the target is made of when the baseline is made: by the kind of work, and by
the size of its tensors, which decides what memory they live in and on how many threads they are
worked on. The baseline keeps the choice: what a later change makes of the target does not move it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from autobatch.check.measurement import Measurement, StepMakeup
from autobatch.check.records import BUILTIN_REFERENCE, CheckSettings
from autobatch.check.terms import resolve_batch_size
from autobatch.probe.probers import InspectingProber, Prober
from autobatch.probe.protocol import Loaded

# What is computed in the time that calling one operation takes, in floating point operations: some
# microseconds at 10 GFLOP/s, or on an accelerator at some TFLOP/s.
_FLOPS_OF_A_CALL = 5e4
_FLOPS_OF_A_CALL_ON_ACCELERATOR = 2e7
_SMALL_TENSOR_BYTES = 2**17
_UNKNOWN_SIZE = 64
_UNKNOWN_SIZE_ON_ACCELERATOR = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """A step of ``autobatch.workload.reference``.

    Attributes:
        sample_bytes: Usual size of its tensors by sample, in the sense of
            ``StepMakeup.tensor_bytes``.
        smallest: Least batch size that it is run at. Steps of a few milliseconds on several
            threads strayed further than those of ten, whatever the target was.
        largest: Greatest one on a CPU, where larger ones would take too long.
        largest_on_accelerator: Greatest one elsewhere.
    """

    sample_bytes: int
    smallest: int
    largest: int
    largest_on_accelerator: int


BUILTINS = {
    "builtin:convolutions": Builtin(
        sample_bytes=24 * 2**10, smallest=64, largest=256, largest_on_accelerator=4096
    ),
    "builtin:linear": Builtin(
        sample_bytes=2 * 2**10, smallest=128, largest=1024, largest_on_accelerator=32768
    ),
    "builtin:calls": Builtin(sample_bytes=64, smallest=8, largest=256, largest_on_accelerator=256),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference that is ready to be timed.

    Attributes:
        name: As a baseline keeps it: ``builtin:linear``, or a target.
        batch_size: The size to run it at.
        prober: Runs it.
    """

    name: str
    batch_size: int
    prober: Prober


def start_reference(
    now: Measurement,
    baseline: Measurement | None,
    settings: CheckSettings,
    prober: InspectingProber,
    start: Callable[[str], Prober],
) -> Reference:
    """Choose a reference, or take that of the baseline, and load it.

    Args:
        now: What is about to be measured.
        baseline: What it will be compared with, ``None`` if it is to become a baseline itself.
        settings: What is asked; they name a reference.
        prober: Runs the target, which is loaded.
        start: Starts what runs a reference, by the reference's name.
    """
    name, batch_size = settings.reference, None
    assert name is not None
    timeout_s = settings.training.trial_timeout_s
    if baseline is not None:
        name, batch_size = baseline.reference, baseline.reference_batch_size
    elif name == BUILTIN_REFERENCE or name in BUILTINS:
        makeup = prober.inspect_step(now.batch_size, timeout_s=timeout_s)
        is_on_cpu = now.device == "cpu"
        if name == BUILTIN_REFERENCE:
            name = choose_builtin(makeup, is_on_cpu=is_on_cpu)
        batch_size = choose_batch_size(name, makeup, is_on_cpu=is_on_cpu)
    running = start(name)
    loaded = running.load(timeout_s=timeout_s)
    return Reference(
        name=name, batch_size=batch_size or _own_batch_size(now, loaded), prober=running
    )


def choose_builtin(makeup: StepMakeup | None, *, is_on_cpu: bool) -> str:
    """The built-in reference that is made of the same as a target.

    Args:
        makeup: What the target is made of; ``None`` if that could not be told.
        is_on_cpu: Whether it runs on a CPU.
    """
    if makeup is None:
        return "builtin:convolutions"  # it has a bit of everything
    flops = makeup.convolution_flops + makeup.matrix_flops
    call = _FLOPS_OF_A_CALL if is_on_cpu else _FLOPS_OF_A_CALL_ON_ACCELERATOR
    if flops < call * makeup.num_calls and makeup.tensor_bytes <= _SMALL_TENSOR_BYTES:
        return "builtin:calls"
    is_convolutions = makeup.convolution_flops >= makeup.matrix_flops
    return "builtin:convolutions" if is_convolutions else "builtin:linear"


def choose_batch_size(name: str, makeup: StepMakeup | None, *, is_on_cpu: bool) -> int:
    """The power of two at which the tensors of a built-in reference are like the target's.

    Args:
        name: The reference.
        makeup: What the target is made of; ``None`` if that could not be told.
        is_on_cpu: Whether it runs on a CPU.
    """
    builtin = BUILTINS[name]
    if makeup is None:
        batch_size = _UNKNOWN_SIZE if is_on_cpu else _UNKNOWN_SIZE_ON_ACCELERATOR
    else:
        batch_size = 2 ** round(math.log2(max(1.0, makeup.tensor_bytes / builtin.sample_bytes)))
    largest = builtin.largest if is_on_cpu else builtin.largest_on_accelerator
    return min(largest, max(builtin.smallest, batch_size))


def with_reference(measurement: Measurement, reference: Reference) -> Measurement:
    """A measurement that says what it is timed in turn with."""
    return replace(measurement, reference=reference.name, reference_batch_size=reference.batch_size)


def _own_batch_size(now: Measurement, loaded: Loaded) -> int:
    return resolve_batch_size(loaded.workload.base_batch_size or now.batch_size, loaded)
