"""N replies become one: the largest peak, the slowest step, and the cause of a failure.

A rank that fails takes the others along: they stop, wait, or see a connection close. Such a reply
is a consequence and never the cause, however early it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from autobatch.probe.protocol import Crash, Failure, Loaded, Reply, TrialReply
from autobatch.records import Outcome, RankReading, TimingRound, Trial

if TYPE_CHECKING:  # it imports PyTorch
    from autobatch.ranks.control import Cause

N = TypeVar("N", int, float)

#: Kinds of failure that are consequences: a rank stopped for another one, or waited for it.
STOPPED, WAITED = "PeerFailed", "WaitedForPeers"


def find_cause(replies: Sequence[Reply], first: Cause | None) -> int | None:
    """The rank that failed by itself, and before any other.

    Args:
        replies: Of all ranks.
        first: The failure that was told first.

    Returns:
        The rank; ``None`` if none has failed. Where all only saw the failure of another, the first
        of those that waited, or else the first.
    """
    failed = [rank for rank, reply in enumerate(replies) if _has_failed(reply)]
    causes = [rank for rank in failed if not _is_consequence(replies[rank])]
    if first is not None and first.rank in causes:
        return first.rank
    waited = [rank for rank in failed if getattr(replies[rank], "error", "") == WAITED]
    return next(iter((*causes, *waited, *failed)), None)


def merge_trials(trials: Sequence[Trial]) -> Trial:
    """The trial of a group, from those of its ranks, all of which fitted.

    Steps are the same ones on all ranks, so that each takes as long as on the slowest. What other
    processes did to the cores cannot be told apart from what the other ranks did.

    Args:
        trials: By rank.
    """
    highest = max(trials, key=lambda each: each.peak_bytes or 0)
    eval_fits = [each.eval_fits for each in trials]
    return replace(
        highest,
        rounds=tuple(map(_merge_rounds, zip(*(each.rounds for each in trials), strict=True))),
        window_peaks_bytes=_elementwise(max, (each.window_peaks_bytes for each in trials)),
        host_peak_bytes=_highest(each.host_peak_bytes for each in trials),
        loader_bytes=_highest(each.loader_bytes for each in trials),
        pinned_bytes=_highest(each.pinned_bytes for each in trials),
        others_busy_cores=None,
        loss_is_finite=all(each.loss_is_finite for each in trials),
        compile_time_s=_highest(each.compile_time_s for each in trials),
        eval_fits=False if False in eval_fits else None if None in eval_fits else True,
        eval_peak_bytes=_highest(each.eval_peak_bytes for each in trials),
        eval_message=next((each.eval_message for each in trials if each.eval_message), ""),
        ranks=collect_readings(trials),
    )


def collect_readings(trials: Sequence[Trial]) -> tuple[RankReading, ...]:
    """What each rank read, its peak as its worker saw it.

    Args:
        trials: By rank, each with its own reading if it came to its end.
    """
    return tuple(
        replace(
            next(iter(each.ranks), RankReading(rank=rank)), rank=rank, peak_bytes=each.peak_bytes
        )
        for rank, each in enumerate(trials)
    )


def describe_waiting(replies: Sequence[Reply], timeout_s: float | None) -> Trial:
    """The trial in which every rank waited for another until the time was up.

    Args:
        replies: Of all ranks.
        timeout_s: Seconds that they had.
    """
    standing = [
        f"rank {rank}: {reply.message}"
        for rank, reply in enumerate(replies)
        if isinstance(reply, Failure)
    ]
    message = f"{Crash.timed_out(timeout_s).message}, all wait; {'; '.join(standing)}"
    return Trial(batch_size=1, outcome=Outcome.TIMED_OUT, message=message)


def merge_loaded(all_loaded: Sequence[Loaded]) -> Loaded:
    """What all ranks loaded: one workload, with the least memory that any of them has.

    Args:
        all_loaded: By rank.
    """
    tightest = min(all_loaded, key=lambda each: each.budget.budget_bytes)
    return replace(
        all_loaded[0],
        budget=tightest.budget,
        memory_is_enforced=all(each.memory_is_enforced for each in all_loaded),
        smallest_batch_size=max(each.smallest_batch_size for each in all_loaded),
        loss_is_finite=all(each.loss_is_finite for each in all_loaded),
        idle_bytes=_highest(each.idle_bytes for each in all_loaded),
    )


def _has_failed(reply: Reply) -> bool:
    if isinstance(reply, TrialReply):
        return not reply.trial.fits
    return isinstance(reply, (Failure, Crash))


def _is_consequence(reply: Reply) -> bool:
    return isinstance(reply, Failure) and reply.error in (STOPPED, WAITED)


def _merge_rounds(rounds: tuple[TimingRound, ...]) -> TimingRound:
    return replace(
        rounds[0],
        step_times_s=_elementwise(max, (each.step_times_s for each in rounds)),
        data_times_s=_elementwise(max, (each.data_times_s for each in rounds)),
    )


def _elementwise(
    join: Callable[[tuple[N, ...]], N], rows: Iterable[tuple[N, ...]]
) -> tuple[N, ...]:
    return tuple(map(join, zip(*rows, strict=True)))


def _highest(figures: Iterable[N | None]) -> N | None:
    return max((figure for figure in figures if figure is not None), default=None)
