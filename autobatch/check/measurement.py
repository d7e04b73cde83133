"""One batch size measured for a check, as it is kept in a baseline."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records.workload import Environment

# Below this nothing can be said of how much rounds differ.
FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRound:
    """The target, and then the reference, each timed without a break.

    Attributes:
        step_times_s: Every timed step of the target.
        reference_times_s: Every timed step of the reference; empty if there is none.
        peak_bytes: Highest memory use of the target; ``None`` if it could not be read.
    """

    step_times_s: tuple[float, ...]
    reference_times_s: tuple[float, ...] = ()
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMakeup:
    """What a training step is made of.

    Attributes:
        num_calls: Operations, those of the backward pass and of the optimizer included.
        convolution_flops: Floating point operations in convolutions.
        matrix_flops: Floating point operations in matrix products.
        tensor_bytes: Usual size of the tensors that it works on: half of the bytes that the
            forward pass keeps are in tensors no larger. 0 if it keeps none.
    """

    num_calls: int
    convolution_flops: int
    matrix_flops: int
    tensor_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A target at one batch size, timed in rounds on one machine.

    Attributes:
        target: The target, as the user wrote it.
        batch_size: Samples per forward/backward pass.
        precision: Arithmetic of a step.
        device: Name of the device: ``cpu``, ``cuda:0``.
        reference: What was timed in turn with the target: ``builtin:linear`` and the like, a
            target, or ``none``.
        reference_batch_size: The batch size that it ran at; ``None`` if there is none.
        num_threads: Intra-op threads that a step ran on.
        environment: Where it was measured.
        rounds: What was measured, in the order it was.
    """

    target: str
    batch_size: int
    precision: str
    device: str
    reference: str
    reference_batch_size: int | None
    num_threads: int
    environment: Environment
    rounds: tuple[CheckRound, ...]

    @property
    def peaks_bytes(self) -> tuple[int, ...]:
        """The peak of every round that has one."""
        return tuple(each.peak_bytes for each in self.rounds if each.peak_bytes is not None)
