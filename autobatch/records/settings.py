"""Everything that a user can ask of a search; one object that travels whole."""

# ruff: noqa: RUF009 - each call makes a field

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from autobatch.errors import SettingsError
from autobatch.records.axis import ALONG, Along, Axis, check_axis
from autobatch.records.enums import Goal, LearningRateRule, Precision
from autobatch.records.kinds import (
    BYTES,
    COUNT,
    FLAG,
    FRACTION,
    GRID,
    INTEGER,
    RATE,
    SECONDS,
    TEXT,
    TIME_LIMIT,
    VARIABLES,
    choice_of,
)
from autobatch.records.options import check_options, option

_memory = partial(option, group="Device and memory")
_look = partial(option, group="What to look for")
_training = partial(option, group="Your training")
_rate = partial(option, group="Learning rate and global batch")
_time = partial(option, group="Time")


#: The default of most frameworks, where neither the user nor the data tell one.
DEFAULT_BASE_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a search. Each field is an option, with its default, kind and help.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    device: str = _memory("auto", TEXT, "Where to train: auto, cpu, cuda, cuda:1, xpu, xpu:1, mps.")
    memory_limit_bytes: int | None = _memory(
        None, BYTES, "Memory that training may hold in all, such as 8GiB. Default: all there is.")
    headroom_fraction: float = _memory(0.1, FRACTION, "Part of the memory to keep free.")
    memory_breakdown: bool = _memory(
        False, FLAG, "Say where the memory goes at the recommended size, and what would free most.")
    rehearse: bool = _memory(
        False, FLAG, "Run what training does late, before it: the largest samples, hundreds of "
        "shuffled steps, an evaluation, saving a checkpoint.")
    goal: Goal = _look(
        Goal.THROUGHPUT, choice_of(Goal), "Look for the smallest size that is as fast as any "
        "(throughput), the largest that fits (memory), or the size with the highest throughput "
        "times statistical efficiency (efficiency).")
    tolerance_fraction: float = _look(
        0.05, FRACTION, "How far below the best throughput the answer may lie.")
    axis: Axis = _look(
        Axis.BATCH_SIZE, choice_of(Axis), "What grows: the batch; at a fixed `batch_size` the "
        "length of sequences or the size of square images, to the largest that fits; or the tokens "
        "of a packed batch.", in_code=False)
    batch_size: int | None = _look(
        None, COUNT, "Samples of every batch, where `axis` is their length or size.", in_code=False)
    min_batch_size: int = _look(1, COUNT, "Smallest size to try.")
    max_batch_size: int | None = _look(None, COUNT, "Largest size to try.")
    grid_multiple: int | None = _look(
        None, GRID, "Sizes to try: powers of two (powers), or multiples of 8 alone (multiple:8), "
        "near the memory limit all of them.", name="grid")
    evaluation: bool = _look(
        False, FLAG, "Look for the largest size for evaluation, too.", name="eval")
    by_length: bool = _look(
        False, FLAG, "Find a batch size for each range of lengths, where samples differ in length.")
    gradient_noise: bool = _look(
        False, FLAG, "Measure the gradient noise scale; `goal=efficiency` always does.")
    precision: Precision = _training(
        Precision.FP32, choice_of(Precision), "Arithmetic of a step.")
    dataset_size: int | None = _training(
        None, COUNT, "Samples per epoch. Default: what the data says.")
    drop_last: bool = _training(False, FLAG, "Leave out a last, smaller batch.")
    price_per_hour: float | None = _training(
        None, RATE, "Price of an hour of one device, to say what an epoch costs.", metavar="PRICE")
    variables: dict[str, str] = _training(
        {}, VARIABLES, "Set an environment variable for the training. May be repeated.",
        name="env", in_code=False)
    seed: int = _training(0, INTEGER, "Seed of every random generator in a trial.")
    learning_rate: float | None = _rate(
        None, RATE, "Learning rate that you train with now. Default: the optimizer's.", name="lr")
    base_batch_size: int | None = _rate(
        None, COUNT, "Global batch size that `lr` goes with. Default: what the data says, or 32.")
    learning_rate_rule: LearningRateRule = _rate(
        LearningRateRule.AUTO, choice_of(LearningRateRule), "How the learning rate follows the "
        "global batch size. With auto the optimizer decides.", name="lr_rule")
    global_batch_size: int | None = _rate(
        None, COUNT, "Samples per optimizer step to reach by gradient accumulation.")
    gradient_accumulation_steps: int = _rate(
        1, COUNT, "Passes per optimizer step, where that number is fixed.")
    num_devices: int = _rate(1, COUNT, "Devices that will train together.")
    time_limit_s: float | None = _time(
        120.0, TIME_LIMIT, "Stop after this time with the best answer so far; none lifts the "
        "limit.")
    trial_timeout_s: float = _time(
        600.0, SECONDS, "Give a size up after this time, and count it as not fitting.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        check_axis(self)
        low, high = self.min_batch_size, self.max_batch_size
        if high is not None and high < low:
            raise SettingsError(
                f"`max_batch_size` must be at least `min_batch_size={low}`, got {high}",
                hint="raise `max_batch_size`",
            )
        if high is not None and high < self.first_batch_size:
            raise SettingsError(
                f"`grid=multiple:{self.grid_multiple}` has no size from `min_batch_size={low}` to "
                f"`max_batch_size={high}`",
                hint=f"use `max_batch_size={self.first_batch_size}`",
            )
        if self.global_batch_size is not None and self.global_batch_size % self.num_devices:
            raise SettingsError(
                f"`global_batch_size={self.global_batch_size}` cannot be shared equally by "
                f"`num_devices={self.num_devices}`",
                hint=f"use a multiple of {self.num_devices}",
            )
        if self.global_batch_size is not None and self.gradient_accumulation_steps > 1:
            raise SettingsError(
                f"`gradient_accumulation_steps={self.gradient_accumulation_steps}` is given beside "
                f"`global_batch_size={self.global_batch_size}`, from which it follows",
                hint="leave one of them out",
            )

    @property
    def first_batch_size(self) -> int:
        """Smallest size to try: the smallest one allowed that is a multiple, if all must be."""
        multiple = self.grid_multiple or 1
        return -(-max(self.min_batch_size, self.along.smallest) // multiple) * multiple

    @property
    def along(self) -> Along:
        """What a size is, in words, and what throughput counts."""
        return replace(ALONG[self.axis], batch_size=self.batch_size or 1)

    @property
    def wants_noise(self) -> bool:
        """Whether the answer needs the gradient noise scale."""
        return self.gradient_noise or self.goal is Goal.EFFICIENCY
