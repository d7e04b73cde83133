"""A global batch from passes: batch size x accumulation steps x devices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GlobalBatchSplit:
    """How each device processes its part of a global batch.

    Attributes:
        steps: Passes per optimizer step.
        remainder: Samples by which the last of them is short of the batch size; 0 if the
            global batch comes out exactly.
    """

    steps: int
    remainder: int


def split_global_batch(
    global_batch_size: int | None, num_devices: int, batch_size: int
) -> GlobalBatchSplit:
    """Split a global batch into passes of a batch size.

    Args:
        global_batch_size: Samples per optimizer step, a multiple of ``num_devices``; ``None``
            to step after every pass.
        num_devices: Devices that share it.
        batch_size: Samples per pass and device.
    """
    if global_batch_size is None:
        return GlobalBatchSplit(steps=1, remainder=0)
    assert global_batch_size % num_devices == 0, "Settings refuses an unequal share"
    per_device = global_batch_size // num_devices
    steps = -(-per_device // batch_size)
    return GlobalBatchSplit(steps=steps, remainder=steps * batch_size - per_device)
