"""Whether a baseline and a measurement can be compared."""

from __future__ import annotations

from autobatch.check.records import Measurement
from autobatch.errors import BaselineError


def refuse_or_note(
    now: Measurement, baseline: Measurement, *, any_hardware: bool
) -> tuple[bool, list[str]]:
    """Find out whether times can be compared with a baseline.

    Args:
        now: The measurement of this check.
        baseline: The measurement to compare with.
        any_hardware: Whether to compare memory alone if the hardware differs.

    Returns:
        Whether times can be compared, and notes on the comparison.

    Raises:
        BaselineError: If nothing can be compared, or times cannot and ``any_hardware`` is not
            set.
    """
    refuse_another_task(
        ("batch size", baseline.batch_size, now.batch_size),
        ("precision", baseline.precision, now.precision),
        ("device", _kind(baseline), _kind(now)),
        ("processes", _processes(baseline), _processes(now)),
    )
    before, here = baseline.environment, now.environment
    notes = note_others(
        ("target", baseline.target, now.target),
        ("Python", before.python_version, here.python_version),
        ("driver", before.driver_version, here.driver_version),
        ("`env`", _pairs(before.variables), _pairs(here.variables)),
    )
    hardware = _find_hardware_differences(now, baseline)
    if not hardware:
        return True, notes
    if not any_hardware:
        raise BaselineError(
            f"the baseline was made elsewhere: {'; '.join(hardware)}",
            hint="compare memory alone with `any_hardware`, or make one here with `save_baseline`",
        )
    return False, [f"Memory alone was compared: {'; '.join(hardware)}", *notes]


def refuse_another_task(*pairs: tuple[str, object, object]) -> None:
    """Refuse a baseline of which neither times nor memory can be compared.

    Args:
        *pairs: What must be as it was: its name, then, and now.

    Raises:
        BaselineError: If something is not.
    """
    if differing := _differing(*pairs):
        raise BaselineError(
            f"the baseline is of something else: {'; '.join(differing)}",
            hint="check what it was made of, or make a new one with `save_baseline`",
        )


def note_others(*pairs: tuple[str, object, object]) -> list[str]:
    """Notes on what may well explain a change, and does not forbid the comparison.

    Args:
        *pairs: Its name, then, and now.
    """
    return [f"Not as in the baseline: {each}" for each in _differing(*pairs)]


def _find_hardware_differences(now: Measurement, baseline: Measurement) -> list[str]:
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


def _differing(*pairs: tuple[str, object, object]) -> list[str]:
    return [f"{what} {before} then, {here} now" for what, before, here in pairs if before != here]


def _kind(measurement: Measurement) -> str:
    return measurement.device.partition(":")[0]


def _processes(measurement: Measurement) -> str:
    return f"{measurement.num_ranks} {measurement.parallel}".strip()


def _pairs(variables: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(variables.items())) or "none"
