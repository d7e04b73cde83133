"""Training loops of others, written again from their words, and traced step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from autobatch.errors import cause_of
from autobatch.prediction.allocator import CachingAllocator
from autobatch.prediction.lines import TraceLine, explain_difference
from autobatch.prediction.predict import TraceReplay
from autobatch.prediction.trace import CardFacts, Trace
from autobatch.prediction.tracing.placing import place, skip_initialisers
from autobatch.prediction.tracing.steps import on_fake_cuda
from autobatch.probe.isolation.child import ChildDied, run_in_child


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A model and what each step does with it.

    Attributes:
        model: On the CPU, its weights not set.
        start: Makes what lives through all steps on ``cuda``, such as a batch and the optimizer,
            and returns the step.
    """

    model: nn.Module
    start: Callable[[], Callable[[], None]]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay measured.

    Attributes:
        requested_bytes: Peak of what was requested, in the last step.
        reserved_bytes: Peak of what was reserved, from the beginning.
        num_allocations: Requests of the last step.
    """

    requested_bytes: int
    reserved_bytes: int
    num_allocations: int


def trace_loop(
    make: Callable[[], Loop],
    batch_size: int,
    card: CardFacts,
    *,
    torch_version: tuple[int, int],
) -> Trace:
    """Trace two steps of a loop in a process of its own.

    Args:
        make: Makes it, in that process.
        batch_size: Samples of a step.
        card: For its compute capability.
        torch_version: The version that ran.
    """

    def work() -> Trace | str:
        try:
            torch.set_num_threads(1)
            skip_initialisers()
            loop = make()
            with on_fake_cuda(loop.model, card.compute_capability, torch_version) as session:
                place(loop.model, session.recorder)
                step = loop.start()
                for _ in range(2):
                    session.recorder.begin_step()
                    step()
                return session.finish(batch_size)
        except Exception as error:
            return cause_of(error)

    result = run_in_child(work, timeout_s=600.0)
    if isinstance(result, (str, ChildDied)):
        raise RuntimeError(f"the loop cannot be traced: {result}")
    trace: Trace = result
    return trace


def line_of(
    make: Callable[[int], Loop], card: CardFacts, *, torch_version: tuple[int, int]
) -> TraceLine:
    """Trace a loop at two batch sizes.

    Args:
        make: Makes the loop of a batch size.
        card: For its compute capability.
        torch_version: The version that ran.
    """
    small, large = (
        trace_loop(partial(make, size), size, card, torch_version=torch_version) for size in (2, 3)
    )
    difference = explain_difference(small, large)
    if difference:
        raise RuntimeError(difference)
    return TraceLine(small=small, large=large)


def replay_last_step(
    trace: Trace, card: CardFacts, *, empties_cache_before_it: bool = False
) -> Replayed:
    """Replay a trace until its steps are alike, and measure one more.

    Args:
        trace: The trace.
        card: For the sizes that a card decides.
        empties_cache_before_it: Whether the loop gives cached memory back before it.
    """
    replay = TraceReplay(trace, card, CachingAllocator())
    replay.play()
    replay.settle()
    statistics = replay.allocator.statistics
    reserved_bytes = statistics.peak_reserved_bytes
    if empties_cache_before_it:
        replay.allocator.release_cached()
    replay.allocator.reset_peaks()
    replay.repeat()
    return Replayed(
        requested_bytes=statistics.peak_requested_bytes,
        reserved_bytes=statistics.peak_reserved_bytes
        if empties_cache_before_it
        else max(reserved_bytes, statistics.peak_reserved_bytes),
        num_allocations=sum(
            event >= 0 and replay.sizes[event] > 0 for event in trace.events[trace.last_step :]
        ),
    )
