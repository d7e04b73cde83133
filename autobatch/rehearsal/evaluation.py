"""The evaluation that training runs, on more and more of its samples.

An evaluation may keep what it computes, such as the logits of the whole set. What that takes grows
with the set and not with the batch. So all of the set runs if time allows, and else as many samples
as do, each time twice as many: what their peaks differ by is what the others would add.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.utils.data import IterableDataset, Subset

from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.evaluation import evaluation_mode
from autobatch.probe.trial.step import autocast
from autobatch.rehearsal.stage import StageRunner
from autobatch.units import format_bytes, format_count
from autobatch.workload.batches import LoaderSource, make_source
from autobatch.workload.lengths import scan_lengths
from autobatch.workload.order import visit_in_random_order
from autobatch.workload.signatures import count_positional

_SCAN_TIME_S = 0.5
_FIRST_BATCHES = 4
# Peaks of the same work differ by as much.
_SMALLEST_GROWTH_BYTES = 4 * 2**20
_SMALLEST_GROWTH_FRACTION = 0.01


class CannotEvaluateError(Exception):
    """A workload's own evaluation cannot be run in parts; says why."""


class WholeEvaluation:
    """A workload's own evaluation.

    Args:
        context: Has a workload that says how it evaluates, and on what.
        batch_size: Samples of a batch.
        max_time_s: Time that it may take.
        clock: Returns seconds from any origin.

    Raises:
        CannotEvaluateError: If it takes other arguments, or has no samples to choose from.
    """

    def __init__(
        self,
        context: JobContext,
        batch_size: int,
        max_time_s: float,
        clock: Callable[[], float],
    ) -> None:
        workload = context.task.workload
        self._context, self._evaluate = context, workload.evaluate
        self._max_time_s, self._clock = max_time_s, clock
        takes = count_positional(workload.evaluate)
        if not takes.least <= 2 <= takes.most:
            raise CannotEvaluateError("'evaluate' does not take a model and a loader")
        source = make_source(replace(workload, train_loader=workload.eval_loader, length=None))
        if not isinstance(source, LoaderSource) or isinstance(source.dataset, IterableDataset):
            raise CannotEvaluateError("'eval_loader' has an iterable dataset")
        self._source = source
        self._batch_size = batch_size
        self._num_samples = len(source.dataset)
        self._order = self._find_order()

    def run(self, stage: StageRunner) -> str:
        """Evaluate more and more samples, until all have run or the time is up.

        Returns:
            Why all of them would not fit; empty if nothing says so.
        """
        stage.reset_peak(release=True)
        idle_bytes = stage.read().peak_bytes or 0
        count, points = min(self._num_samples, _FIRST_BATCHES * self._batch_size), []
        begin = self._clock()
        while True:
            stage.name = self._name(count)
            stage.reset_peak(release=True)
            run_begin = self._clock()
            self._run(count)
            used = stage.read()
            points.append((count, used.peak_bytes or 0))
            growth_bytes = find_growth_bytes_per_sample(points)
            at_least_bytes = idle_bytes + growth_bytes * self._num_samples
            stage.at_any_size = at_least_bytes > stage.budget_bytes
            if not used.fits:
                return used.message
            now = self._clock()
            per_sample_s, left_s = (now - run_begin) / count, begin + self._max_time_s - now
            following = min(2 * count, self._num_samples)
            if per_sample_s * self._num_samples <= left_s:
                following = self._num_samples
            if count == self._num_samples or per_sample_s * following > left_s:
                return self._judge_rest(stage, points[-1], growth_bytes)
            count = following

    def _run(self, num_samples: int) -> None:
        context, indices = self._context, self._order[:num_samples]
        loader = self._source.loader_of(Subset(self._source.dataset, indices), self._batch_size)
        device = torch.device(context.device.name)
        with evaluation_mode(context.task.model), autocast(device, context.precision):
            self._evaluate(context.task.model, loader)  # type: ignore[misc]

    def _judge_rest(self, stage: StageRunner, ran: tuple[int, int], growth_bytes: float) -> str:
        """What the samples that did not run would add."""
        count, peak_bytes = ran
        left = self._num_samples - count
        if not left:
            return ""
        whole_bytes = round(peak_bytes + growth_bytes * left)
        stage.expect(whole_bytes)
        keeps = f"it keeps {format_bytes(growth_bytes)} a sample"
        whole = f"{format_bytes(whole_bytes)} with all {format_count(self._num_samples)}"
        if whole_bytes > stage.budget_bytes:
            return f"{keeps}, {whole}: more than the budget of {format_bytes(stage.budget_bytes)}"
        rest = f"the other {format_count(left)} samples of the evaluation"
        stage.left_out.append(f"{rest}: {keeps}, {whole}" if growth_bytes else rest)
        return ""

    def _name(self, count: int) -> str:
        whole = format_count(self._num_samples)
        part = f"all {whole}" if count == self._num_samples else f"{format_count(count)} of {whole}"
        return f"evaluation of {part} samples, {format_count(self._batch_size)} at a time"

    def _find_order(self) -> Sequence[int]:
        """The longest sample first: what is kept is often padded to it. The others are typical."""
        found = scan_lengths(self._source.dataset, max_time_s=_SCAN_TIME_S)
        shuffled = visit_in_random_order(self._num_samples, self._context.seed)
        indices = itertools.islice(shuffled, self._num_samples)
        return [*dict.fromkeys((*found.longest[:1], *indices))]


def find_growth_bytes_per_sample(points: Sequence[tuple[int, int]]) -> float:
    """What each sample adds to the peak of an evaluation; 0 if nothing beyond doubt.

    Args:
        points: Samples and peak in bytes of each run, each of more samples than the one before.
    """
    if len(points) < 2:
        return 0.0
    (fewer, low_bytes), (more, high_bytes) = points[-2:]
    threshold = max(_SMALLEST_GROWTH_BYTES, _SMALLEST_GROWTH_FRACTION * high_bytes)
    growth_bytes = high_bytes - low_bytes
    return growth_bytes / (more - fewer) if growth_bytes > threshold else 0.0
