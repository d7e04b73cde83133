"""What of a training was run before it, and what was not."""

from __future__ import annotations

from dataclasses import dataclass

#: Parts of a training, as reports call them.
SAVING = "saving a checkpoint"
LARGEST = "the largest samples by "


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedStage:
    """One part of a training, run beside all that the others left.

    Attributes:
        name: What it was, such as ``300 shuffled steps``.
        fits: Whether it stayed inside the budget.
        peak_bytes: Highest memory use, or what is expected of the whole where a part of it ran;
            ``None`` if the device cannot tell.
        message: What it raised, or empty.
        at_any_size: Whether it would not fit at a smaller batch size either, as where an evaluation
            keeps its outputs.
    """

    name: str
    fits: bool
    peak_bytes: int | None = None
    message: str = ""
    at_any_size: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A rehearsal of the training at one batch size.

    Attributes:
        batch_size: The size.
        stages: What ran, in order; the last of them may be the one that did not fit.
        not_rehearsed: What did not run, in words.
        refused: Larger sizes that did not pass, with the reason of each, in words.
    """

    batch_size: int
    stages: tuple[RehearsedStage, ...]
    not_rehearsed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether all that ran fitted."""
        return all(stage.fits for stage in self.stages)

    @property
    def reason(self) -> str:
        """Which stage did not fit, and what it raised; empty if all did."""
        failed = next((stage for stage in self.stages if not stage.fits), None)
        return "" if failed is None else f"{failed.name}: {failed.message}"
