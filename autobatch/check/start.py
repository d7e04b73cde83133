"""Starts the processes that measure a target and its reference."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from autobatch.check.hardware import Hardware, read_hardware
from autobatch.check.judge import memory, timing
from autobatch.check.measurement import Measurement
from autobatch.check.records import (
    BUILTIN_REFERENCE,
    NO_REFERENCE,
    CheckObserver,
    CheckReport,
    CheckSettings,
    Verdict,
)
from autobatch.check.reference import BUILTINS
from autobatch.check.session import CheckSession
from autobatch.devices.watch import watch_device
from autobatch.errors import BaselineError, SettingsError
from autobatch.probe.client import TargetProber
from autobatch.records import RequirementName, Settings

_BUILTIN_MODULE = "autobatch.workload.reference"


def check_target(
    target: str,
    settings: CheckSettings,
    *,
    baseline: Measurement | None = None,
    observer: CheckObserver | None = None,
    on_output: Callable[[str], None] = lambda line: None,
) -> CheckReport:
    """Check one target.

    Args:
        target: ``model.py``, ``model.py:name`` or ``package.module:name``.
        settings: What is asked.
        baseline: What to compare with.
        observer: Is told of every round.
        on_output: Receives each line that the target prints.

    Raises:
        BaselineError: If the baseline is of something else.
        CheckInterrupted: On Ctrl-C; carries the verdicts so far.
        AutobatchError: If the target or the device cannot be measured.
    """
    settings = replace(settings, reference=choose_reference(settings, baseline))
    hardware = None
    if not settings.hardware.is_empty:
        hardware = read_hardware(settings.training.device, settings.hardware)
        if not hardware.devices:
            return _not_run(target, settings, hardware, baseline)
    with ExitStack() as stack:
        prober = stack.enter_context(TargetProber(target, settings.training, on_output=on_output))
        session = CheckSession(
            prober,
            settings,
            target=target,
            start=lambda name: stack.enter_context(_make_reference(name, settings, baseline)),
            baseline=baseline,
            hardware=hardware,
            observer=observer,
            watch=watch_device,
        )
        return session.run()


def choose_reference(settings: CheckSettings, baseline: Measurement | None) -> str:
    """What to time in turn with the target.

    Raises:
        SettingsError: If there is no such built-in one.
        BaselineError: If another one is asked for than the baseline was made with.
    """
    asked = settings.reference
    if asked is not None and _is_unknown_builtin(asked):
        raise SettingsError(
            f"there is no reference {asked!r}", hint=f"choose one of {', '.join(BUILTINS)}"
        )
    if baseline is not None:
        if _is_unknown_builtin(baseline.reference):
            raise BaselineError(
                f"the baseline was made with {baseline.reference!r}, which is no reference here",
                hint="make a new one with --save-baseline",
            )
        is_any_builtin = asked == BUILTIN_REFERENCE and baseline.reference in BUILTINS
        if asked not in (None, baseline.reference) and not is_any_builtin:
            raise BaselineError(
                f"the baseline was made with --reference {baseline.reference}, not {asked}",
                hint="leave --reference out, or make a new one with --save-baseline",
            )
        return baseline.reference
    if not settings.keeps_baseline:
        return NO_REFERENCE
    return asked or BUILTIN_REFERENCE


def _is_unknown_builtin(name: str) -> bool:
    return name.startswith(f"{BUILTIN_REFERENCE}:") and name not in BUILTINS


def _make_reference(
    name: str, settings: CheckSettings, baseline: Measurement | None
) -> TargetProber:
    """A prober of a reference, to be started."""
    training = settings.training
    # Were it to follow a change of --env, the effect of the change would cancel.
    variables = training.variables if baseline is None else baseline.environment.variables
    # What describes the target's data says nothing of the reference's.
    plain = Settings(
        device=training.device,
        precision=training.precision,
        seed=training.seed,
        variables=variables,
        headroom_fraction=training.headroom_fraction,
        trial_timeout_s=training.trial_timeout_s,
    )
    target = f"{_BUILTIN_MODULE}:{name.partition(':')[2]}" if name in BUILTINS else name
    return TargetProber(target, plain)


def _not_run(
    target: str, settings: CheckSettings, hardware: Hardware, baseline: Measurement | None
) -> CheckReport:
    reason = "the target did not run: there is no such device"
    limits = settings.limits
    fit = Verdict.inconclusive(RequirementName.FITS, settings.batch_size, reason)
    return CheckReport(
        target=target,
        devices=(),
        settings=settings,
        verdicts=(
            *hardware.judge(settings.hardware),
            fit,
            *memory.not_judged(limits, baseline, reason),
            *timing.not_judged(limits, baseline, reason),
        ),
        baseline=baseline,
        notes=hardware.notes,
    )
