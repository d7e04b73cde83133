"""The gradient noise scale while a user's own loop trains, from norms that are almost free.

    backward -> after_backward()   |first gradient|^2        at batch_size
    backward -> after_backward()   nothing
    ...
    before_step()                  |accumulated gradient|^2  at batch_size x passes

Two squared norms at two batch sizes give one unbiased estimate of ``tr(Sigma)`` and of ``|G|^2``
for each optimizer step (McCandlish et al. 2018, appendix A.1). Each is averaged over many steps
before they are divided. Under ``DistributedDataParallel`` the two are the ranks' own gradients
and their mean, read where they are exchanged.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autobatch.errors import SettingsError
from autobatch.noise.estimate import average_noise_scale, moments_from_norms
from autobatch.records import NoiseScale

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel

# Reading a number from a GPU waits for all pending work: read many steps together.
_NUM_UNREAD = 64


class GradientNoiseScale:
    """Estimates the noise scale over the last steps of a training loop.

    With gradient accumulation::

        noise = autobatch.GradientNoiseScale(model.parameters(), batch_size=32)
        for index, batch in enumerate(loader, start=1):
            (loss(model, batch) / 4).backward()
            noise.after_backward()
            if index % 4 == 0:
                noise.before_step()  # before gradients are clipped
                optimizer.step()
                optimizer.zero_grad()
        print(noise.read())

    Under ``DistributedDataParallel`` make it with ``watch=ddp_model``; then accumulation is not
    needed, and ``after_backward`` may be left out where there is none.

    The loss must be a mean over the samples of a pass. Whether it is divided by the number of
    passes makes no difference.

    Args:
        parameters: The parameters trained.
        batch_size: Samples of one pass on one rank, in every pass.
        watch: The model whose ranks exchange gradients. It must have no communication hook.
        window: Optimizer steps to average over, the latest.
        every: Measure only every so many steps, to make it even cheaper.

    Raises:
        SettingsError: If a number is not above 0.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        batch_size: int,
        watch: DistributedDataParallel | None = None,
        window: int = 500,
        every: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("window", window), ("every", every)):
            if value < 1:
                raise SettingsError(f"{name} = {value} is not above 0", hint=f"change {name}")
        self._parameters = [each for each in parameters if each.requires_grad]
        self._batch_size = batch_size
        self._every = every
        self._num_steps = 0
        self._num_passes = 0
        self._first: torch.Tensor | None = None
        self._unread: list[tuple[torch.Tensor, torch.Tensor, int, int, float]] = []
        self._moments: deque[tuple[float, float]] = deque(maxlen=window)
        self._counts: deque[int] = deque(maxlen=window)
        self._own: list[torch.Tensor] = []
        self._group: Any = None
        self._num_ranks = 1
        if watch is not None:
            self._watch(watch)

    def after_backward(self) -> None:
        """Call after every backward pass."""
        self._num_passes += 1
        if self._num_passes == 1 and self._is_looking and self._num_ranks == 1:
            self._first = self._squared_norm()

    def before_step(self, *, loss_scale: float = 1.0) -> None:
        """Call before every optimizer step, with the gradients as they came.

        Args:
            loss_scale: What the loss was multiplied by, such as ``GradScaler.get_scale()``.
        """
        num_passes = max(1, self._num_passes)
        if self._is_looking and self._num_ranks > 1:
            self._compare_ranks(num_passes, loss_scale)
        elif self._first is not None and num_passes > 1:
            big = self._squared_norm() / num_passes**2
            self._note(self._first, big, self._batch_size, num_passes, loss_scale)
        self._num_steps += 1
        self._num_passes = 0
        self._first = None
        self._own = []
        if len(self._unread) >= _NUM_UNREAD:
            self._read_norms()

    def read(self) -> NoiseScale | None:
        """The noise scale over the last steps.

        Returns:
            The estimate with its interval; ``None`` before four steps were compared.

        Raises:
            SettingsError: If no step so far had two gradients to compare.
        """
        self._read_norms()
        if self._num_steps > self._every and not self._moments:
            raise SettingsError(
                f"none of {self._num_steps} optimizer steps had two gradients to compare",
                hint="call after_backward() after each of two backward passes per step or more, "
                "or give the DistributedDataParallel model as watch",
            )
        return average_noise_scale(
            list(self._moments),
            micro_batch_size=self._batch_size,
            num_micro_batches=sum(self._counts),
        )

    @property
    def _is_looking(self) -> bool:
        return self._num_steps % self._every == 0

    def _squared_norm(self) -> torch.Tensor:
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        if not gradients:
            raise SettingsError(
                "no parameter has a gradient",
                hint="call after_backward() after backward(), and before_step() before zero_grad()",
            )
        norms = torch._foreach_norm(gradients)
        return torch.stack([norm.float() for norm in norms]).square().sum()

    def _note(
        self, small: torch.Tensor, big: torch.Tensor, batch_size: int, times: int, scale: float
    ) -> None:
        self._unread.append((small, big, batch_size, times, scale))

    def _read_norms(self) -> None:
        if not self._unread:
            return
        norms = torch.stack([part for row in self._unread for part in row[:2]]).tolist()
        for index, (_, _, batch_size, times, scale) in enumerate(self._unread):
            small, big = (norm / scale**2 for norm in norms[2 * index : 2 * index + 2])
            # A step whose gradients overflowed is one that a gradient scaler skips.
            if math.isfinite(small) and math.isfinite(big):
                moments = moments_from_norms(small, big, small=batch_size, big=batch_size * times)
                self._moments.append(moments)
                self._counts.append(times)
        self._unread.clear()

    def _watch(self, model: DistributedDataParallel) -> None:
        from torch.distributed import get_world_size
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        group = self._group = model.process_group
        self._num_ranks = get_world_size(group)

        def measure_and_exchange(state: Any, bucket: Any) -> Any:
            if self._is_looking:
                self._own.append(torch.linalg.vector_norm(bucket.buffer()).float().square())
            return allreduce_hook(group, bucket)

        # DDP compares annotations with classes, and ours are text.
        measure_and_exchange.__annotations__.clear()
        model.register_comm_hook(None, measure_and_exchange)

    def _compare_ranks(self, num_passes: int, loss_scale: float) -> None:
        from torch.distributed import all_reduce

        if not self._own:
            return
        small = torch.stack(self._own).sum() / self._num_ranks
        all_reduce(small, group=self._group)
        batch_size = self._batch_size * num_passes
        self._note(
            small / num_passes**2,
            self._squared_norm() / num_passes**2,
            batch_size,
            self._num_ranks,
            loss_scale,
        )
