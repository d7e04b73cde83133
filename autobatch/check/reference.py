"""What is timed in turn with the target, to show what the machine does meanwhile.

It is code of the user's own: best the code that a change is made to, which the machine disturbs
as it disturbs the target. A baseline keeps its name and its batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autobatch.check.records import NO_REFERENCE, CheckSettings, Measurement
from autobatch.check.terms import resolve_batch_size
from autobatch.errors import BaselineError
from autobatch.probe.probers import Prober
from autobatch.records import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference that is ready to be timed.

    Attributes:
        name: The target, as the user wrote it.
        batch_size: The size to run it at.
        prober: Runs it.
    """

    name: str
    batch_size: int
    prober: Prober


def choose_reference(asked: str | None, baseline: Measurement | None) -> str:
    """Choose the reference of a check: that of the baseline, the one asked for, or none.

    Args:
        asked: The reference that the user named, if any.
        baseline: The baseline, if there is one.

    Raises:
        BaselineError: If another one is asked for than the baseline was made with.
    """
    if baseline is None:
        return asked or NO_REFERENCE
    if asked not in (None, baseline.reference):
        raise BaselineError(
            f"the baseline was made with `reference={baseline.reference}`, not {asked}",
            hint="leave `reference` out, or make a new one with `save_baseline`",
        )
    return baseline.reference


def settings_of_reference(training: Settings, baseline: Measurement | None) -> Settings:
    """Make the settings of a reference: same device, not affected by changes to the target.

    Args:
        training: The target's settings.
        baseline: The baseline, if there is one.
    """
    # Were it to follow a change of the variables, the effect of the change would cancel.
    variables = training.variables if baseline is None else baseline.environment.variables
    # What describes the target's data says nothing of the reference's.
    return Settings(
        device=training.device,
        precision=training.precision,
        seed=training.seed,
        variables=variables,
        headroom_fraction=training.headroom_fraction,
        trial_timeout_s=training.trial_timeout_s,
    )


def load_reference(
    now: Measurement,
    baseline: Measurement | None,
    settings: CheckSettings,
    start: Callable[[str], Prober],
) -> Reference:
    """Start a reference and load it.

    Args:
        now: What is about to be measured.
        baseline: What it will be compared with, ``None`` if it is to become a baseline itself.
        settings: What is asked; they name a reference.
        start: Starts what runs a reference, by the reference's name.
    """
    name = settings.reference or NO_REFERENCE
    prober = start(name)
    loaded = prober.load(timeout_s=settings.training.trial_timeout_s)
    batch_size = None if baseline is None else baseline.reference_batch_size
    own_size = loaded.workload.base_batch_size or now.batch_size
    batch_size = batch_size or resolve_batch_size(own_size, loaded.workload)
    return Reference(name=name, batch_size=batch_size, prober=prober)
