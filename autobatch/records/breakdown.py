"""Where the memory of a step goes at its peak."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleMemory:
    """What one module's forward pass keeps.

    Attributes:
        module: Its name within the model, such as ``layers.3.mlp``.
        kind: Its class.
        activation_bytes: What it holds at the peak.
    """

    module: str
    kind: str
    activation_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAdvice:
    """What would free most.

    Attributes:
        what: The change, in words.
        saved_bytes: By how much the peak of tensors would fall, as the recorded step says.
    """

    what: str
    saved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBreakdown:
    """The parts of the peak of a training step; all but the last were measured by themselves.

    Attributes:
        batch_size: Samples of a pass.
        peak_bytes: What the device measured of such a step.
        weights_bytes: Parameters and buffers.
        gradients_bytes: Gradients.
        optimizer_bytes: State of the optimizer.
        activations_bytes: What modules hold for the backward pass.
        logits_bytes: The model's output and what the loss makes of it.
        temporaries_bytes: What the backward pass and the optimizer hold for a moment.
        batch_bytes: The batch.
        other_bytes: Other tensors of the process: a dataset in memory, averaged weights.
        workspace_bytes: What is no tensor: the interpreter and libraries; on a GPU its context.
        cached_bytes: Freed memory that the allocator keeps: by how much steps in a row take more
            than one after all was given back; on a GPU what it has reserved and no tensor has.
        buffer_bytes: Buffers of the operator that ran at the peak, where the kernel tells.
        loader_bytes: Loader workers, where their memory is the device's.
        unexplained_bytes: The peak less all of these, as far as allocators round and steps differ;
            below zero where the parts add up to more.
        modules: Those that hold most, at most ten.
        advice: What would free most; ``None`` if nothing would free much.
        reason: Why there is no breakdown; empty if there is one.
    """

    batch_size: int
    peak_bytes: int = 0
    weights_bytes: int = 0
    gradients_bytes: int = 0
    optimizer_bytes: int = 0
    activations_bytes: int = 0
    logits_bytes: int = 0
    temporaries_bytes: int = 0
    batch_bytes: int = 0
    other_bytes: int = 0
    workspace_bytes: int = 0
    cached_bytes: int = 0
    buffer_bytes: int = 0
    loader_bytes: int = 0
    unexplained_bytes: int = 0
    modules: tuple[ModuleMemory, ...] = ()
    advice: MemoryAdvice | None = None
    reason: str = ""
