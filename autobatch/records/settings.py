"""Everything that a user can ask of a search; one object that travels whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autobatch.errors import SettingsError
from autobatch.records.enums import Goal, LearningRateRule, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a search.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``xpu``, ``xpu:1``, ``mps``.
        memory_limit_bytes: Memory that the training process may hold in all, ``None`` for what
            the machine has.
        headroom_fraction: Share of the memory to keep free.
        min_batch_size: Smallest size to consider.
        max_batch_size: Largest size to consider, ``None`` for no cap.
        grid_multiple: Refine between the last power of two that fits and the first that does
            not to multiples of this; ``None`` for powers of two alone.
        goal: What the recommended size is best at.
        tolerance_fraction: How far below the best throughput the knee may lie.
        precision: Arithmetic of a step.
        dataset_size: Samples in an epoch, over what the workload says.
        drop_last: Whether a last, smaller batch is left out.
        learning_rate: Base learning rate, over what the workload says.
        base_batch_size: Global batch size that the base rate goes with, over the workload's.
        learning_rate_rule: How the rate follows the global batch size.
        global_batch_size: Samples per optimizer step to reach, ``None`` to follow the size.
        num_devices: Devices that will train together.
        time_limit_s: Wall-clock time after which the search stops with what it has.
        trial_timeout_s: Wall-clock time after which a trial counts as hanging.
        seed: Seed of every random generator in a trial.
        max_tokens: Whether to find a batch size for each range of lengths too.
        evaluation: Whether to look for the largest size for evaluation too.
        variables: Environment variables for the training process.
        input_shape: Shape of one input sample, for a target that has only a model.
        vocabulary_size: Inputs are token ids below this instead of floats.
        num_classes: Classes of the target, with ``input_shape``.
        overrides: Values of a catalogue model's configuration by key, as text.
        sequence_length: Tokens in a sample of a catalogue's language model.
        checkpoint: Path of the weights to measure at, over those the model is made with.
        measure_noise: Measure the gradient noise scale whatever the goal.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    device: str = "auto"
    memory_limit_bytes: int | None = None
    headroom_fraction: float = 0.1
    min_batch_size: int = 1
    max_batch_size: int | None = None
    grid_multiple: int | None = None
    goal: Goal = Goal.THROUGHPUT
    tolerance_fraction: float = 0.05
    precision: Precision = Precision.FP32
    dataset_size: int | None = None
    drop_last: bool = False
    learning_rate: float | None = None
    base_batch_size: int | None = None
    learning_rate_rule: LearningRateRule = LearningRateRule.AUTO
    global_batch_size: int | None = None
    num_devices: int = 1
    time_limit_s: float | None = None
    trial_timeout_s: float = 600.0
    seed: int = 0
    evaluation: bool = False
    max_tokens: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    input_shape: tuple[int, ...] | None = None
    vocabulary_size: int | None = None
    num_classes: int | None = None
    overrides: dict[str, str] = field(default_factory=dict)
    sequence_length: int | None = None
    checkpoint: str | None = None
    measure_noise: bool = False

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            _require(self, name, lambda value: value > 0, "is not above 0")
        for name in ("headroom_fraction", "tolerance_fraction"):
            _require(self, name, lambda value: 0 <= value < 1, "is not from 0 up to 1")
        _require(self, "input_shape", lambda shape: all(n > 0 for n in shape), "has a size of 0")
        self._require_consistent()

    @property
    def wants_noise(self) -> bool:
        """Whether the answer needs the gradient noise scale."""
        return self.measure_noise or self.goal is Goal.EFFICIENCY

    def _require_consistent(self) -> None:
        low, high = self.min_batch_size, self.max_batch_size
        if high is not None and high < low:
            raise SettingsError(
                f"--max-batch-size {high} is below --min-batch-size {low}",
                hint="raise --max-batch-size",
            )
        if self.global_batch_size is not None and self.global_batch_size % self.num_devices:
            raise SettingsError(
                f"--global-batch-size {self.global_batch_size} cannot be shared equally by "
                f"--num-devices {self.num_devices}",
                hint=f"take a multiple of {self.num_devices}",
            )
        for option, value in (
            ("--classes", self.num_classes),
            ("--vocabulary", self.vocabulary_size),
        ):
            if value is not None and self.input_shape is None:
                raise SettingsError(
                    f"{option} {value} needs the shape of an input beside it",
                    hint="add --input, such as --input 3x224x224",
                )


_POSITIVE = (
    "memory_limit_bytes",
    "min_batch_size",
    "max_batch_size",
    "grid_multiple",
    "dataset_size",
    "learning_rate",
    "base_batch_size",
    "global_batch_size",
    "num_devices",
    "time_limit_s",
    "trial_timeout_s",
    "vocabulary_size",
    "num_classes",
    "sequence_length",
)
_OPTION_NAMES = {
    "memory_limit_bytes": "--memory-limit",
    "headroom_fraction": "--headroom",
    "grid_multiple": "--grid multiple:",
    "tolerance_fraction": "--tolerance",
    "learning_rate": "--lr",
    "time_limit_s": "--time-limit",
    "trial_timeout_s": "--trial-timeout",
    "input_shape": "--input",
    "vocabulary_size": "--vocabulary",
    "num_classes": "--classes",
}


def _require(settings: Settings, name: str, holds: Any, complaint: str) -> None:
    value = getattr(settings, name)
    if value is not None and not holds(value):
        option = _OPTION_NAMES.get(name, "--" + name.replace("_", "-"))
        raise SettingsError(f"{option} {value} {complaint}", hint=f"change {option.strip(':')}")
