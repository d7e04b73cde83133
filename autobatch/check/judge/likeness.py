"""Whether a baseline and a measurement can be compared."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.check.records import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something in which two measurements are not alike.

    Attributes:
        what: In words: ``PyTorch``, ``batch size``.
        before: As it was in the baseline.
        now: As it is.
    """

    what: str
    before: str
    now: str


def find_task_differences(now: Measurement, baseline: Measurement) -> list[Difference]:
    """What makes both their times and their memory incomparable."""
    return _differing(
        ("batch size", baseline.batch_size, now.batch_size),
        ("precision", baseline.precision, now.precision),
        ("device", _kind(baseline), _kind(now)),
    )


def find_hardware_differences(now: Measurement, baseline: Measurement) -> list[Difference]:
    """What makes their times incomparable, and leaves their memory to be compared."""
    before, here = baseline.environment, now.environment
    found = _differing(
        ("hardware", before.device_name, here.device_name),
        ("PyTorch", before.torch_version, here.torch_version),
        ("system", before.platform, here.platform),
        ("trials run in a process", before.isolation, here.isolation),
    )
    if _kind(now) == "cpu":
        found += _differing(
            ("cores", before.num_cores, here.num_cores),
            ("threads", baseline.num_threads, now.num_threads),
        )
    return found


def find_other_differences(now: Measurement, baseline: Measurement) -> list[Difference]:
    """What may well explain a change, and does not forbid the comparison."""
    before, here = baseline.environment, now.environment
    return _differing(
        ("target", baseline.target, now.target),
        ("Python", before.python_version, here.python_version),
        ("driver", before.driver_version, here.driver_version),
        ("--env", _pairs(before.variables), _pairs(here.variables)),
    )


def _differing(*pairs: tuple[str, object, object]) -> list[Difference]:
    return [
        Difference(what=what, before=str(before), now=str(here))
        for what, before, here in pairs
        if before != here
    ]


def _kind(measurement: Measurement) -> str:
    return measurement.device.partition(":")[0]


def _pairs(variables: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(variables.items())) or "none"
