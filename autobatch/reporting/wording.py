"""The closed sets of words, as a user reads them."""

from __future__ import annotations

from collections.abc import Sequence

from autobatch import units
from autobatch.records import (
    Bottleneck,
    Contention,
    Finding,
    LearningRateRule,
    LengthScan,
    LoaderChoice,
    Outcome,
    Regime,
    StopReason,
)

_MUCH_PADDING_FRACTION = 0.1
# What an embedding of PyTorch raises on a CPU.
_NO_ROW = "index out of range in self"
OUTCOMES = {
    Outcome.FITS: "fits",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.OVER_BUDGET: "over budget",
    Outcome.KILLED: "killed",
    Outcome.TIMED_OUT: "timed out",
    Outcome.FAILED: "failed",
}
BOTTLENECKS = {
    Bottleneck.DATA_LOADING: "data loading",
    Bottleneck.PAGE_FAULTS: "page faults",
    Bottleneck.LAUNCH_OVERHEAD: "the fixed cost of a step, not its samples",
    Bottleneck.DEVICE: "the device itself",
}
REGIMES = {
    Regime.STOCHASTIC: "stochastic, one sample per update",
    Regime.MINI_BATCH: "mini-batch",
    Regime.FULL_BATCH: "full batch",
}
RULES = {
    LearningRateRule.AUTO: "automatic",
    LearningRateRule.LINEAR: "linear rule",
    LearningRateRule.SQRT: "square-root rule",
    LearningRateRule.NONE: "not scaled",
}


def among(sizes: Sequence[int], joint: str) -> str:
    """Write batch sizes in words: ``16, 32 and 64``.

    Args:
        sizes: Ascending.
        joint: Word before the last one.
    """
    *first, last = map(units.format_count, sizes)
    return f"{', '.join(first)} {joint} {last}" if first else last


def lengths_sentence(lengths: LengthScan, batch_size: int) -> str:
    """How samples differ, how many were looked at, and what that means for the figures.

    Args:
        lengths: What a scan found.
        batch_size: The recommended size, whose padding is told.
    """
    scanned, samples = map(units.format_count, (lengths.num_scanned, lengths.num_samples))
    coverage = f"all {samples}" if scanned == samples else f"{scanned} of {samples}"
    return (
        f"{units.format_count(lengths.shortest)} to {units.format_count(lengths.longest)} "
        f"{lengths.measure}, median {units.format_count(round(lengths.median))}; {coverage} "
        "samples scanned; peak memory is measured on the longest samples, step time on typical ones"
        f"{_padding(lengths, batch_size)}"
    )


def reloading_sentence(names: Sequence[str]) -> str:
    """Why each trial loads the target anew, and how that need not be.

    Args:
        names: Of the threads that the target starts, at least one.
    """
    threads = "a thread" if len(names) == 1 else f"{len(names)} threads"
    return (
        f"each loads the target anew: it starts {threads} ({', '.join(names[:3])}), which a fork "
        "would lack; start threads on first use to make the search quicker"
    )


def _padding(lengths: LengthScan, batch_size: int) -> str:
    fraction = lengths.padding_fraction(batch_size)
    if fraction is None or fraction < _MUCH_PADDING_FRACTION:
        return ""
    padding, size = units.format_fraction(fraction), units.format_count(batch_size)
    return f"; {padding} of a batch of {size} is padding: batch samples of like length"


def stop_sentence(finding: Finding) -> str:
    """How long the search took, over how many sizes, and why it went no further."""
    count = len(finding.trials)
    return (
        f"Searched for {units.format_seconds(finding.search_time_s)}, "
        f"{count} {'size' if count == 1 else 'sizes'}. "
        f"Stopped because {stop_reason(finding)}."
    )


def ends_at_embedding(finding: Finding) -> bool:
    """Whether larger sizes failed at an embedding that has no row for them, such as a position."""
    failed = (trial.message for trial in finding.trials if trial.outcome is Outcome.FAILED)
    return any(_NO_ROW in message for message in failed)


def stop_reason(finding: Finding) -> str:
    """Why a search went no further, as a clause."""
    reason, settings = finding.stop_reason, finding.settings
    cap = settings.max_batch_size
    limit_s = settings.time_limit_s
    positions = finding.workload.num_positions
    return {
        StopReason.MEMORY: "the next size up does not fit the memory budget",
        StopReason.MEMORY_EXPECTED: "the next size up is expected not to fit the memory budget "
        "(--goal memory tries it)",
        StopReason.DATASET: "the next size up is more than the dataset holds",
        StopReason.CAP: "the largest size to consider was reached"
        + (f" (--max-batch-size {cap})" if cap else ""),
        StopReason.PLATEAU: "throughput has levelled off",
        StopReason.COST: "the next size up would have taken longer than all before it, and "
        "throughput was not rising",
        StopReason.POSITIONS: f"the model has {units.format_count(positions or 0)} positions "
        "(max_position_embeddings)",
        StopReason.FAILED: "the next size up is more than an embedding has rows for"
        if ends_at_embedding(finding)
        else "the next size up ends in an error",
        StopReason.TIME_LIMIT: "the time was used up"
        + (f" (--time-limit {units.format_seconds(limit_s)})" if limit_s else ""),
        StopReason.INTERRUPTED: "it was interrupted",
    }[reason]


def advise_on_loading(loading: LoaderChoice) -> str:
    """What to do about loading that is the bound, once loader settings were compared or not."""
    keep = "do the work on the samples once and keep it"
    if loading.remedy:
        return f"{loading.remedy[0].upper()}{loading.remedy[1:]}; or {keep}."
    if loading.chosen is None:
        return f"{keep.capitalize()}."
    if loading.is_own:
        return (
            f"{keep.capitalize()}: of the loader settings that were timed none is clearly faster."
        )
    options = loading.chosen.as_options().items()
    settings = ", ".join(f"{name}={value}" for name, value in options if value)
    return f"Train with {settings} in its loader, as finding.dataloader(dataset) does."


def describe_contention(contention: Contention) -> str:
    """What a search noticed of other processes, and what it did about them."""
    return (
        f"others used {contention.others_busy_cores:.1f} of {contention.num_cores} cores, so timed "
        f"with {name_remedy(contention)}"
    )


def name_remedy(contention: Contention) -> str:
    """What a search did about contention, as a user would do it."""
    if contention.num_threads is not None:
        return f"OMP_NUM_THREADS={contention.num_threads}"
    return " ".join(f"{name}={value}" for name, value in contention.variables.items())
