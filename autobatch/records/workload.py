"""Description of the user's workload, without any of its objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthScan:
    """How the samples of a dataset differ in length.

    Attributes:
        num_scanned: Samples scanned, in random order.
        num_samples: Samples there are.
        shortest: Least length seen.
        median: Median length seen.
        longest: Greatest length seen.
        measure: What a length counts, in a user's words.
        steps_down: Greatest length seen, then the greatest at or below half of the one before, and
            so on: where batches of like length end.
        quantiles: Lengths at evenly spaced quantiles, from the shortest to the longest; empty
            where batches are not padded to their longest sample, or that is not known.
        criteria: What else samples differ in, such as ``boxes``.
    """

    num_scanned: int
    num_samples: int
    shortest: int
    median: float
    longest: int
    measure: str
    steps_down: tuple[int, ...] = ()
    quantiles: tuple[int, ...] = ()
    criteria: tuple[str, ...] = ()

    @property
    def differ(self) -> bool:
        """Whether any two samples differ."""
        return self.shortest != self.longest

    def padding_fraction(self, batch_size: int) -> float | None:
        """The fraction of a batch of random samples that is padding, on average.

        Args:
            batch_size: Samples of the batch.

        Returns:
            The fraction; ``None`` if batches are not padded or nothing is known of it.
        """
        count = len(self.quantiles)
        if not count:
            return None
        # The i-th of n equally likely lengths is the longest of b with (i^b - (i-1)^b) / n^b.
        below = [(index / count) ** batch_size for index in range(count + 1)]
        longest = sum(
            length * (below[index + 1] - below[index])
            for index, length in enumerate(self.quantiles)
        )
        return 1 - sum(self.quantiles) / count / longest


@dataclass(frozen=True, slots=True, kw_only=True)
class UneditedCommand:
    """A command that was run as it is, and what to run now.

    Attributes:
        template: The command, with ``{batch_size}`` where the size goes.
        following: The command to train with, to be copied; empty if it has no place for the size.
        files: What became of the files that trials wrote.
        notes: What else was done to the trials, or left behind by them, one sentence each.
    """

    template: str
    following: str
    files: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSummary:
    """A workload in words and numbers, as it travels from the worker and into JSON.

    Attributes:
        model: Class name of the model.
        num_parameters: Trainable parameters.
        data: Source of the batches, in a user's words.
        loss: The loss, in a user's words.
        optimizer: Class name of the optimizer, ``None`` if a training step hides it.
        optimizer_was_given: Whether the user chose the optimizer.
        dataset_size: Samples in an epoch, ``None`` if unknown.
        base_batch_size: The batch size that the user trains with now.
        base_learning_rate: The learning rate that goes with it, ``None`` if unknown.
        has_batch_norm: Whether the model has a BatchNorm layer.
        num_loader_workers: DataLoader worker processes; 0 if batches are made in place.
        num_threads: Intra-op threads that a step runs on.
        guesses: What was not given and had to be assumed, one sentence each.
        lengths: How samples differ in length; ``None`` if they were not scanned.
        is_compiled: Whether the model was compiled with ``torch.compile``.
        own_threads: Names of the Python threads that the target started as it was loaded; a fork
            lacks them, so each trial loads the target anew.
        command: The command that trains it; ``None`` for objects.
        num_ranks: Processes that train it together, each with ``base_batch_size`` now.
        parallel: How they do, in a user's words; empty for one process.
        num_positions: The longest sequence that the model has positions for, where lengths are
            searched for; ``None`` if its configuration does not say.
    """

    model: str
    num_parameters: int
    data: str
    loss: str
    optimizer: str | None
    optimizer_was_given: bool
    dataset_size: int | None
    base_batch_size: int | None
    base_learning_rate: float | None
    has_batch_norm: bool
    num_loader_workers: int
    num_threads: int
    guesses: tuple[str, ...] = ()
    lengths: LengthScan | None = None
    is_compiled: bool = False
    own_threads: tuple[str, ...] = ()
    command: UneditedCommand | None = None
    num_ranks: int = 1
    parallel: str = ""
    num_positions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a finding was measured.

    Attributes:
        device_name: What the hardware calls itself.
        driver_version: Driver of an accelerator, ``None`` on CPU.
        torch_version: Version of PyTorch.
        python_version: Version of Python.
        platform: Operating system and architecture.
        num_cores: Cores that this process may use.
        isolation: ``process`` if each trial ran in a process of its own, ``reloaded`` if each one
            loaded the target anew, else ``shared``.
        variables: Environment variables set for the trials.
    """

    device_name: str
    driver_version: str | None
    torch_version: str
    python_version: str
    platform: str
    num_cores: int
    isolation: str
    variables: dict[str, str]
