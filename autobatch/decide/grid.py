"""The sizes that a search may try."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.errors import SettingsError
from autobatch.records import Settings, StopReason

# Larger than any real batch: ends the search on a workload that uses no memory and keeps getting
# faster.
_LARGEST_POWER = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Candidate sizes, ascending.

    Attributes:
        sizes: Powers of two from the smallest size, or a multiple times powers of two; and others
            that a user may train with, the cap among them.
        end: Why the grid ends at the last size.
        multiple: All sizes are multiples of this, and at the memory limit every one of them is a
            candidate; ``None`` where any size may be.
    """

    sizes: tuple[int, ...]
    end: StopReason
    multiple: int | None

    def after(self, size: int) -> int | None:
        """The next larger candidate."""
        return next((each for each in self.sizes if each > size), None)

    def between(self, low: int, high: int) -> tuple[int, ...]:
        """List the candidates above ``low`` and below ``high``.

        Args:
            low: Exclusive lower end.
            high: Exclusive upper end.
        """
        return tuple(size for size in self.sizes if low < size < high)


def make_grid(
    settings: Settings,
    dataset_size: int | None,
    smallest: int,
    your_batch_size: int | None = None,
    num_positions: int | None = None,
) -> Grid:
    """The candidates under the settings' limits and the dataset's size.

    Args:
        settings: For the smallest and largest size, the global batch and the grid.
        dataset_size: Samples in an epoch, ``None`` if unknown.
        smallest: Smallest size that the workload can train with.
        your_batch_size: The size that the user trains with now, if known.
        num_positions: The longest sequence that the model takes, where sizes are lengths.

    Returns:
        At least one candidate.

    Raises:
        SettingsError: If the limits leave no candidate.
    """
    multiple = settings.grid_multiple or 1
    if dataset_size is not None:  # of which each device has a part
        dataset_size = -(-dataset_size // settings.num_devices)
    first = -(-max(settings.first_batch_size, smallest) // multiple) * multiple
    caps = [(_LARGEST_POWER, StopReason.CAP)]
    if settings.max_batch_size is not None:
        caps.append((settings.max_batch_size, StopReason.CAP))
    if settings.global_batch_size is not None:
        caps.append((settings.global_batch_size // settings.num_devices, StopReason.CAP))
    if dataset_size is not None:
        caps.append((dataset_size, StopReason.DATASET))
    if num_positions is not None:
        caps.append((num_positions, StopReason.POSITIONS))
    cap, end = min(caps, key=lambda each: each[0])
    if cap < first:
        limit = f"the largest candidate, {cap} ({_CAP_TEXTS[end]})"
        if first > settings.min_batch_size and multiple > 1:
            raise SettingsError(
                f"`grid=multiple:{multiple}` begins at {first}, above {limit}",
                hint="use a smaller multiple",
            )
        raise SettingsError(
            f"`min_batch_size={first}` exceeds {limit}", hint="lower `min_batch_size`"
        )
    sizes = {first, *(multiple * 2**power for power in range(27))}
    # One pass per global batch, the user's own size, full-batch training and the largest size that
    # was asked for are candidates too.
    sizes |= {
        each for each in (find_whole(settings), your_batch_size) if each and each % multiple == 0
    }
    sizes |= {
        each - each % multiple
        for each in (dataset_size, settings.max_batch_size, num_positions)
        if each
    }
    sizes = {each for each in sizes if first <= each <= cap}
    return Grid(sizes=tuple(sorted(sizes)), end=end, multiple=settings.grid_multiple)


_CAP_TEXTS = {
    StopReason.CAP: "`max_batch_size` or `global_batch_size`",
    StopReason.DATASET: "the dataset's size",
    StopReason.POSITIONS: "the model's positions",
}


def find_whole(settings: Settings) -> int | None:
    """The size at which one pass is a device's part of the global batch, if there is one."""
    if settings.global_batch_size is None:
        return None
    return settings.global_batch_size // settings.num_devices
