"""What grows from trial to trial: the batch, or one dimension of what is in it.

    batch_size         samples of a pass, which everything else in the package speaks of
    sequence_length    tokens of each of `batch_size` sequences
    image_size         height and width of each of `batch_size` images
    tokens             tokens of a pass that are packed into one row, whatever samples they are of

The search decides by sizes alone, whatever they are sizes of. In records, a field named
``batch_size`` has the size along the axis, and ``samples_per_s`` the size over the step time;
``Along`` has the words and the unit that a user reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from autobatch.errors import SettingsError
from autobatch.records.decision import SizeEstimate
from autobatch.records.options import options_of


class Axis(str, Enum):
    """What grows from trial to trial."""

    BATCH_SIZE = "batch_size"
    SEQUENCE_LENGTH = "sequence_length"
    IMAGE_SIZE = "image_size"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Along:
    """An axis in words, and in what its throughput is counted.

    Attributes:
        noun: What a size is.
        column: The same as the title of a column, and before a size.
        unit: What throughput counts.
        smallest: The least size worth a trial.
        multiple: Sizes are multiples of this unless the user says otherwise.
        power: A sample of size s has s to this power of the unit.
        seeks_largest: Whether the answer is the largest that fits, whatever its speed.
        batch_size: Samples of a pass, where that is fixed; else 1.
    """

    noun: str
    column: str
    unit: str
    smallest: int = 1
    multiple: int | None = None
    power: int = 1
    seeks_largest: bool = False
    batch_size: int = 1

    def rate(self, size: int, sizes_per_s: float) -> float:
        """A throughput in the unit.

        Args:
            size: Along the axis.
            sizes_per_s: The size over the step time, as records have it.
        """
        return sizes_per_s * self.batch_size * float(size) ** (self.power - 1)

    def reword(self, text: str) -> str:
        """A text about batch sizes as one about sizes along this axis."""
        text = text.replace("Batch size", self.noun.capitalize())
        return text.replace("batch size", self.noun)

    def convert(self, estimate: SizeEstimate) -> SizeEstimate:
        """An estimate whose throughputs are in the unit."""
        factor = self.rate(estimate.batch_size, 1.0)
        return replace(
            estimate,
            samples_per_s=factor * estimate.samples_per_s,
            low=factor * estimate.low,
            high=factor * estimate.high,
        )


BATCHES = Along(noun="batch size", column="batch", unit="samples")
ALONG = {
    Axis.BATCH_SIZE: BATCHES,
    Axis.SEQUENCE_LENGTH: Along(
        noun="sequence length", column="length", unit="tokens", smallest=16, seeks_largest=True
    ),
    Axis.IMAGE_SIZE: Along(
        noun="image size",
        column="size",
        unit="pixels",
        smallest=64,
        multiple=32,
        power=2,
        seeks_largest=True,
    ),
    Axis.TOKENS: Along(noun="token budget", column="tokens", unit="tokens", smallest=64),
}
# What follows from a batch size, or is measured of it, and means nothing along another axis.
_OF_BATCHES = (
    "memory_breakdown", "rehearse", "min_batch_size", "max_batch_size", "evaluation", "by_length",
    "gradient_noise", "dataset_size", "drop_last", "price_per_hour", "learning_rate",
    "base_batch_size", "learning_rate_rule", "global_batch_size", "gradient_accumulation_steps",
    "num_devices",
)  # fmt: skip


def check_axis(settings: Any) -> None:
    """Refuse options that do not go with the axis.

    Args:
        settings: A record with the options of a search.

    Raises:
        SettingsError: Names the first of them.
    """
    axis, batch_size = settings.axis, settings.batch_size
    name = f"`axis={axis.value}`"
    if axis in (Axis.BATCH_SIZE, Axis.TOKENS):
        if batch_size is not None:
            raise SettingsError(
                f"`batch_size={batch_size}` is the size of every batch, which {name} looks for",
                hint="leave `batch_size` out, or say what else grows, with `axis=sequence_length`",
            )
    elif batch_size is None:
        raise SettingsError(
            f"{name} needs the size of every batch", hint="add `batch_size=8`, for example"
        )
    if axis is Axis.BATCH_SIZE:
        return
    record: type = type(settings)
    asked = {each.field: each for each in options_of(record).values()}
    changed = (
        asked[field] for field in _OF_BATCHES if getattr(settings, field) != asked[field].default
    )
    refused = asked["goal"] if settings.goal.value == "efficiency" else next(changed, None)
    if refused is not None:
        value = refused.kind.show(getattr(settings, refused.field))
        raise SettingsError(
            f"`{refused.name}={value}` is for a search of the batch size, not for {name}",
            hint=f"leave `{refused.name}` out",
        )
