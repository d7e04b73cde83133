"""A global batch from passes: batch size x accumulation steps x devices."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records import Settings

# From the second pass on, gradients of those before are held through backward.
_MOST_IN_A_TRIAL = 2


@dataclass(frozen=True, slots=True)
class GlobalBatchSplit:
    """How each device processes its part of a global batch.

    Attributes:
        global_batch_size: Samples per optimizer step.
        steps: Passes per optimizer step.
        remainder: Samples by which the last of them is short of the batch size; 0 if the
            global batch comes out exactly.
    """

    global_batch_size: int
    steps: int
    remainder: int


def split_global_batch(settings: Settings, batch_size: int) -> GlobalBatchSplit:
    """Split the global batch that the settings ask for into passes of a batch size.

    Args:
        settings: Have the global batch, or the number of passes.
        batch_size: Samples per pass and device.
    """
    asked, num_devices = settings.global_batch_size, settings.num_devices
    if asked is None:
        steps = settings.gradient_accumulation_steps
        return GlobalBatchSplit(batch_size * steps * num_devices, steps, 0)
    assert asked % num_devices == 0, "Settings refuses an unequal share"
    per_device = asked // num_devices
    steps = -(-per_device // batch_size)
    return GlobalBatchSplit(asked, steps, steps * batch_size - per_device)


def count_passes(settings: Settings, batch_size: int) -> int:
    """Passes of a step in a trial: as many as it takes to hold what training holds.

    Args:
        settings: Have the global batch, or the number of passes.
        batch_size: Samples per pass and device.
    """
    return min(split_global_batch(settings, batch_size).steps, _MOST_IN_A_TRIAL)
