"""Training steps on batches that are loaded in one way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, cast

from torch.utils.data import IterableDataset

from autobatch.devices.host import HostMemory, open_pinned
from autobatch.devices.sticky import is_sticky
from autobatch.errors import WorkloadError, first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.host import read_memory
from autobatch.probe.trial.start import drop_gradients_at_end, start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.records.loading import LoaderSettings, LoaderTiming
from autobatch.workload.batches import BatchSource, LoaderSource

# Long enough for the rounds in which workers deliver to even out.
_TIME_S = 1.5
# Slow steps say enough after this time, though not every worker has delivered twice.
_PATIENCE_S = 10.0


def time_loader(
    context: JobContext, batch_size: int, num_passes: int, settings: LoaderSettings | None
) -> LoaderTiming:
    """Time training steps with one way of loading, and the memory of its workers.

    Args:
        context: What to train, where, and the memory budget.
        batch_size: Samples of a pass.
        num_passes: Passes before the optimizer steps.
        settings: The way; the user's own if ``None``.

    Returns:
        The timing, or why there is none: whatever loading raises is no error here.
    """
    task, device = context.task, context.device
    task.model.to(device.name)
    start_anew(device, context.seed)
    try:
        source = _rebuildable(task.source)
    except WorkloadError as error:
        return LoaderTiming(settings=LoaderSettings(num_workers=0), message=str(error))
    used = settings or find_own(source)
    with (
        run_eagerly(),
        drop_gradients_at_end(task.built.optimizer),
        device.enforce(context.limits.budget_bytes),
    ):
        try:
            return _Timing(context, num_passes, source, used).run(batch_size)
        except Exception as error:
            if is_sticky(error):
                raise
            reason = f"{type(error).__name__}: {first_line_of(error)}"[:300]
            return LoaderTiming(settings=used, message=reason)


def find_own(source: LoaderSource) -> LoaderSettings:
    """How the user's own loader is set.

    Args:
        source: Rebuilds that loader.
    """
    options = source.options
    num_workers = source.num_loader_workers
    return LoaderSettings(
        num_workers=num_workers,
        prefetch_factor=options.get("prefetch_factor") if num_workers else None,
        pin_memory=bool(options.get("pin_memory")),
        persistent_workers=bool(options.get("persistent_workers")),
    )


def _rebuildable(source: BatchSource) -> LoaderSource:
    if not isinstance(source, LoaderSource):
        raise WorkloadError(f"no DataLoader makes the batches: they come from {source.description}")
    if isinstance(source.dataset, IterableDataset):
        raise WorkloadError(
            "an iterable dataset decides itself what each worker reads, and may repeat samples"
        )
    return source


class _Timing:
    def __init__(
        self,
        context: JobContext,
        num_passes: int,
        source: LoaderSource,
        settings: LoaderSettings,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._context, self._source, self._settings = context, source, settings
        self._device, self._clock = context.device, clock
        self._train = TrainingStep(
            context.task, context.device.name, context.precision, num_passes=num_passes
        )
        self._host = HostMemory(
            open_pinned(context.device.name),
            template_pid=os.getppid() if context.is_apart else None,
        )
        # Batches come in rounds of one from each worker.
        self._round = max(1, settings.num_workers)

    def run(self, batch_size: int) -> LoaderTiming:
        options = self._settings.as_options()
        if self._settings.num_workers:  # what starting them costs an epoch is told apart
            options["persistent_workers"] = True
        batches = self._source.with_options(**options).batches(batch_size)
        self._host.reset_peak()
        self._device.reset_peak()
        with closing(cast("Any", batches)):
            begin = self._clock()
            self._train(next(batches))
            start_s = self._clock() - begin
            for _ in range(self._round):
                self._train(next(batches))
            samples_per_s = batch_size / self._time_pass(batches, self._count_batches(batch_size))
            trial = read_memory(self._device, self._host, self._context.limits, batch_size)
        return LoaderTiming(
            settings=self._settings,
            samples_per_s=samples_per_s if trial.fits else None,
            start_s=start_s,
            host_peak_bytes=trial.host_peak_bytes,
            loader_bytes=trial.loader_bytes,
            message=trial.message,
        )

    def _count_batches(self, batch_size: int) -> int:
        return (self._source.dataset_size or 0) // batch_size

    def _time_pass(self, batches: Iterator[Any], num_per_epoch: int) -> float:
        """Mean time of a pass over whole rounds of the workers, or over epochs if they are short.

        The mean, since batches come in bursts: the median of two workers is one of two extremes.
        """
        self._device.synchronize()
        count, elapsed_s, begin = 0, 0.0, self._clock()
        while elapsed_s < _PATIENCE_S:
            self._train(next(batches))
            count += 1
            elapsed_s = self._clock() - begin
            unit = num_per_epoch if 0 < num_per_epoch <= count else self._round
            is_enough = elapsed_s >= _TIME_S and count >= 2 * self._round
            if is_enough and count % unit == 0:
                break
        self._device.synchronize()
        return (self._clock() - begin) / count
