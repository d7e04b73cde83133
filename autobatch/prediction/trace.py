"""What one training does with a GPU's memory, in order: the record that a trace makes.

    events      0  1  2  ~1  3  ~2 ...      n allocates ``storages[n]``, ~n frees it
    storages    bytes, category, module, operator

A trace is made without a GPU. What depends on the card alone, such as the workspace of cuBLAS, is a
storage that ``Storage.bytes_on`` sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from autobatch.prediction.attention import AttentionCall
from autobatch.prediction.work import Operation

#: Workspace that PyTorch sets aside for each cuBLAS handle: ``:4096:2:16:8`` in KiB, and
#: ``:4096:8`` on Hopper (``parseChosenWorkspaceSize`` in ``CublasHandlePool.cpp``).
_CUBLAS_BYTES = (4096 * 2 + 16 * 8) * 1024
_CUBLAS_HOPPER_BYTES = 4096 * 8 * 1024


class CardFacts(Protocol):
    """What of a card changes how much memory the same step takes."""

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Such as (8, 9)."""

    @property
    def num_sms(self) -> int:
        """Its multiprocessors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFacts:
    """The facts of a card that is in no table.

    Attributes:
        compute_capability: Such as (8, 9).
        num_sms: Its multiprocessors.
    """

    compute_capability: tuple[int, int]
    num_sms: int


class Category(Enum):
    """What a storage is for."""

    PARAMETER = "parameters"
    BUFFER = "buffers"
    INPUT = "inputs"
    ACTIVATION = "activations"
    GRADIENT = "gradients"
    OPTIMIZER_STATE = "optimizer state"
    TEMPORARY = "temporary"
    WORKSPACE = "workspaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """A sum that a GPU may split between blocks, which then need a buffer to meet in.

    Attributes:
        num_outputs: Elements of the result.
        num_inputs: Elements that each of them sums.
        width: Elements of the fastest dimension: of the result, or of what is summed.
        is_inner: Whether what is summed is the fastest dimension.
        is_contiguous: Whether neighbours in that dimension are neighbours in memory.
        num_reduced_dimensions: Dimensions that are summed, once neighbours are merged.
        element_bytes: Of the accumulator.
    """

    num_outputs: int
    num_inputs: int
    width: int
    is_inner: bool
    is_contiguous: bool = True
    num_reduced_dimensions: int = 1
    element_bytes: int = 4

    def staging_bytes(self, card: CardFacts) -> tuple[int, int]:
        """Bytes of the buffer and of its semaphores on a card; zeros where blocks need not meet.

        ``setReduceConfig`` in ``Reduce.cuh`` of PyTorch.
        """
        vector, width = 1, self.width
        if self.is_contiguous and self.is_inner:
            if width > 128 and self.num_reduced_dimensions == 1:
                width //= 4
        elif self.is_contiguous:
            vector = next(each for each in (4, 2, 1) if width % each == 0)
            width //= vector
        height = self.num_outputs if self.is_inner else self.num_inputs
        block_x, block_y = _block_of(width, height, max_threads=512 // vector)
        step = block_x if self.is_inner else 1
        values = -(-self.num_inputs // step)
        if values < min(block_y * 16, 256):
            return 0, 0
        values = -(-self.num_inputs // (step * block_y))
        grid = -(-(self.num_outputs // vector) // (1 if self.is_inner else block_x))
        target = card.num_sms * (_threads_of_sm(card) // (block_x * block_y))
        if values < 256 or grid > target:
            return 0, 0
        blocks = max(min(-(-target // grid), -(-values // 16)), -(-values // 256))
        if blocks <= 1:
            return 0, 0
        num_bytes = self.element_bytes * self.num_outputs * blocks
        return num_bytes * (1 if self.is_inner else block_x * vector), 4 * grid


class Workspace(Enum):
    """Memory that a library keeps, by what decides its size."""

    CUBLAS = "cuBLAS"
    REDUCTION = "reduction"
    SEMAPHORES = "semaphores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Memory that one operator allocates.

    Attributes:
        num_bytes: As requested; 0 where the card decides.
        category: What it is for.
        module: The module that it belongs to or was made in, by its name in the model.
        operator: What made it.
        workspace: What decides its size, if the card does.
        reduction: The sum that it stages.
    """

    num_bytes: int
    category: Category
    module: str
    operator: str
    workspace: Workspace | None = None
    reduction: Reduction | None = None

    def bytes_on(self, card: CardFacts) -> int:
        """Bytes that are requested on a card; 0 if it requests none."""
        if self.workspace is None:
            return self.num_bytes
        if self.workspace is Workspace.CUBLAS:
            is_hopper = card.compute_capability == (9, 0)
            return _CUBLAS_HOPPER_BYTES if is_hopper else _CUBLAS_BYTES
        assert self.reduction is not None, "staging has a reduction"
        buffer_bytes, semaphore_bytes = self.reduction.staging_bytes(card)
        return buffer_bytes if self.workspace is Workspace.REDUCTION else semaphore_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a part of the training begins.

    Attributes:
        name: ``model``, ``forward``, ``backward`` or ``optimizer``.
        step: Number of the step, from 1; 0 before the first.
        position: Index of its first event.
    """

    name: str
    step: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Every allocation of a training on a GPU, from the first weight to the end of the last step.

    Attributes:
        batch_size: Samples of a pass.
        compute_capability: Of the cards that would do the same.
        storages: In the order of their allocation.
        events: ``n`` allocates ``storages[n]``, ``~n`` frees it.
        marks: Where its parts begin.
        attention: Each kind of call of attention: a card that would choose another kernel for one
            of them needs a trace of its own.
        unseen: Operators with memory of their own that no trace sees, such as convolutions, whose
            workspaces cuDNN chooses on the card; the names, each once.
        operations: What the last step computes, in order; nothing of a first one, and
            nothing if what an operator computes is not known.
    """

    batch_size: int
    compute_capability: tuple[int, int]
    storages: tuple[Storage, ...] = field(repr=False)
    events: tuple[int, ...] = field(repr=False)
    marks: tuple[Mark, ...] = field(repr=False, default=())
    attention: tuple[AttentionCall, ...] = ()
    unseen: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = field(repr=False, default=())

    @property
    def last_step(self) -> int:
        """Index of the first event of the last step."""
        return max((mark.position for mark in self.marks if mark.name == "forward"), default=0)

    def find_heirs(self) -> dict[int, int] | None:
        """What a repetition of the last step would find in place of what the step found itself.

        Returns:
            For each storage that the last step freed and the one before it had left, the storage
            that the last step leaves to the next; ``None`` if they are not alike, or there is no
            step before.
        """
        events = self.events[self.last_step :]
        made, freed = {each for each in events if each >= 0}, {~each for each in events if each < 0}
        found, left = sorted(freed - made), sorted(made - freed)
        if not self.last_step or [*map(self._kind_of, found)] != [*map(self._kind_of, left)]:
            return None
        return dict(zip(found, left, strict=True))

    def _kind_of(self, index: int) -> tuple[str, str, int]:
        storage = self.storages[index]
        return storage.operator, storage.module, storage.num_bytes


def _threads_of_sm(card: CardFacts) -> int:
    """Threads that one multiprocessor holds (table of the CUDA programming guide)."""
    major, minor = card.compute_capability
    if (major, minor) == (7, 5):
        return 1024
    return 1536 if major == 12 or (major == 8 and minor) else 2048


def _block_of(width: int, height: int, *, max_threads: int) -> tuple[int, int]:
    """Threads of a block in both directions."""
    width = 1 << (min(max(width, 1), max_threads).bit_length() - 1)
    height = 1 << (min(max(height, 1), max_threads).bit_length() - 1)
    block_y = min(height, max_threads // min(width, 32))
    return min(width, max_threads // block_y), block_y
