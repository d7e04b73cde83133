"""Starts the processes that measure a target and its reference."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from autobatch.check.hardware import Hardware, read_hardware
from autobatch.check.judge import memory, timing
from autobatch.check.observer import CheckObserver, SilentCheckObserver
from autobatch.check.records import (
    CheckReport,
    CheckSettings,
    Measurement,
    Verdict,
)
from autobatch.check.reference import settings_of_reference
from autobatch.check.session import CheckSession
from autobatch.devices.watch import watch_device
from autobatch.probe.client import TargetProber
from autobatch.probe.probers import Prober
from autobatch.ranks.prober import GroupProber
from autobatch.ranks.settings import RanksSettings, for_ranks
from autobatch.records import RequirementName, Settings


def check_target(
    target: str,
    settings: CheckSettings,
    *,
    baseline: Measurement | None = None,
    observer: CheckObserver | None = None,
    on_output: Callable[[str], None] = lambda line: None,
    prober: AbstractContextManager[Prober] | None = None,
) -> CheckReport:
    """Check one target.

    Args:
        target: ``model.py``, ``model.py:name`` or ``package.module:name``; with a prober any name.
        settings: What is asked.
        baseline: What to compare with.
        observer: Is told of every round.
        on_output: Receives each line that the target prints.
        prober: Runs it, if it is no target.

    Raises:
        BaselineError: If the baseline is of something else.
        CheckInterrupted: On Ctrl-C; carries the verdicts so far.
        AutobatchError: If the target or the device cannot be measured.
    """
    observer = observer or SilentCheckObserver()
    reference_settings = settings_of_reference(settings.training, baseline)
    hardware = None
    if not settings.hardware.is_empty:
        observer.loading("PyTorch, to look at the devices")
        hardware = read_hardware(
            settings.training.device, settings.hardware, settings.ranks.nproc_per_node
        )
        if not hardware.devices:
            return _not_run(target, settings, hardware, baseline)

    def start(
        name: str, training: Settings, on_output: Callable[[str], None]
    ) -> AbstractContextManager[Prober]:
        return _start(name, training, settings.ranks, on_output, observer.doing)

    with ExitStack() as stack:
        if prober is None:
            prober = start(target, settings.training, on_output)
        session = CheckSession(
            stack.enter_context(prober),
            settings,
            target=target,
            start=lambda name: stack.enter_context(
                start(name, reference_settings, lambda line: None)
            ),
            baseline=baseline,
            hardware=hardware,
            observer=observer,
            watch=watch_device,
        )
        return session.run()


def _start(
    name: str,
    training: Settings,
    ranks: RanksSettings,
    on_output: Callable[[str], None],
    on_stage: Callable[[str], None],
) -> AbstractContextManager[Prober]:
    """What measures a target or a reference: one process, or several that train it together."""
    if ranks.nproc_per_node == 1:
        return TargetProber(name, training, on_output=on_output, on_stage=on_stage)
    training = for_ranks(training, ranks.nproc_per_node)
    return GroupProber.of_target(name, training, ranks, on_output=on_output, on_stage=on_stage)


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
