"""The text of every warning: what happened, with its figures, and then what to try.

Figures are written by their names' unit suffix, so a text needs no formatting of its own;
``{details}`` stands for the warning's words.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from autobatch import units
from autobatch.records import BATCHES, Along, FindingWarning, LoaderChoice, WarningCode
from autobatch.reporting.wording import advise_on_loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A warning in words.

    Attributes:
        title: What it is about, a few words.
        happened: One sentence with the figures.
        remedy: One sentence: what to try.
    """

    title: str
    happened: str
    remedy: str


FIGURES: dict[WarningCode, tuple[str, ...]] = {
    WarningCode.DATA_LOADING: (
        "data_fraction",
        "data_time_s",
        "step_time_s",
        "num_loader_workers",
    ),
    WarningCode.PAGE_FAULTS: ("page_faults_per_step", "kernel_time_fraction", "batch_size"),
    WarningCode.ALLOC_RETRIES: ("batch_size", "alloc_retries_per_step"),
    WarningCode.BUSY_MACHINE: ("others_busy_cores", "num_cores", "num_threads"),
    WarningCode.OTHER_SEARCHES: ("num_searches", "num_trials"),
    WarningCode.FALLING_THROUGHPUT: (
        "batch_size",
        "samples_per_s",
        "worst_batch_size",
        "worst_samples_per_s",
    ),
    WarningCode.FEW_UPDATES: ("iterations_per_epoch", "global_batch_size"),
    WarningCode.LOSS_NOT_FINITE: ("batch_size",),
    WarningCode.LAST_BATCH_OF_ONE: ("iterations_per_epoch",),
    WarningCode.DROP_LAST_DROPS_ALL: ("dataset_size", "global_batch_size"),
    WarningCode.LEAK: ("batch_size", "growth_bytes", "steps_left"),
    WarningCode.NOT_CONFIRMED: ("batch_size",),
    WarningCode.MEMORY_NOT_MONOTONE: (
        "small_batch_size",
        "small_peak_bytes",
        "large_batch_size",
        "large_peak_bytes",
    ),
    WarningCode.GLOBAL_BATCH_REMAINDER: ("global_batch_size", "batch_size", "steps", "remainder"),
    WarningCode.DATASET_SIZE_UNKNOWN: (),
    WarningCode.NO_BASE_LEARNING_RATE: ("learning_rate_multiplier", "base_batch_size"),
    WarningCode.TRIAL_KILLED: ("batch_size",),
    WarningCode.TRIAL_FAILED: ("batch_size",),
    WarningCode.THROTTLED: ("batch_size",),
    WarningCode.BUDGET_NOT_ENFORCED: (),
    WarningCode.ACCUMULATED_LOSS_DIFFERS: ("batch_size", "num_passes", "difference_fraction"),
    WarningCode.ACCUMULATED_BATCH_NORM: ("batch_size", "num_passes", "difference_fraction"),
    WarningCode.FINAL_RUN_TOO_LARGE: (
        "batch_size",
        "trial_peak_bytes",
        "final_peak_bytes",
        "budget_bytes",
    ),
    WarningCode.EVALUATION_TOO_LARGE: ("batch_size", "eval_peak_bytes", "budget_bytes"),
    WarningCode.EVALUATION_FAILED: ("batch_size",),
    WarningCode.LENGTHS_PARTLY_SCANNED: ("num_scanned", "num_samples", "longest"),
    WarningCode.LENGTHS_FAILED: ("batch_size", "longest"),
    WarningCode.NO_SIZES_BY_LENGTH: (),
}

_TEXTS: dict[WarningCode, Advice] = {
    WarningCode.DATA_LOADING: Advice(
        title="data loading holds the device up",
        happened="A step of {step_time_s} waited {data_time_s} for its batch ({data_fraction}), "
        "with {num_loader_workers} loader workers.",
        remedy="Raise num_workers of the DataLoader, or do the work on the samples once and keep "
        "it.",
    ),
    WarningCode.PAGE_FAULTS: Advice(
        title="memory is given back and faulted in again at every step",
        happened=(
            "At batch size {batch_size} a step took {page_faults_per_step} page faults and spent "
            "{kernel_time_fraction} of its CPU time in the kernel."
        ),
        remedy=(
            "Let glibc keep its memory: --env MALLOC_MMAP_THRESHOLD_=4294967296 "
            "--env MALLOC_TRIM_THRESHOLD_=4294967296; if that is faster, train with them too."
        ),
    ),
    WarningCode.ALLOC_RETRIES: Advice(
        title="the caching allocator meets its limit in every step",
        happened=(
            "At batch size {batch_size} it gave its cache back to the driver and fetched memory "
            "anew {alloc_retries_per_step} times a step, and the GPU waits for that."
        ),
        remedy=(
            "Let its segments grow in place: --env "
            "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; if the warning goes away, train "
            "with it too."
        ),
    ),
    WarningCode.BUSY_MACHINE: Advice(
        title="other processes were busy during the trials",
        happened="They kept {others_busy_cores} of {num_cores} cores busy beside the threads of a "
        "step ({num_threads}). Steps wait for cores then, and threads that wait for each other "
        "slow down by far more than their share.",
        remedy="Search again on a quiet machine; where a step has several threads, --env "
        "OMP_NUM_THREADS=1 leaves cores to the others.",
    ),
    WarningCode.OTHER_SEARCHES: Advice(
        title="another search was running",
        happened="Other searches by autobatch on this machine: {num_searches}, during {num_trials} "
        "of the sizes. Each takes time and memory from the others.",
        remedy="Run one search at a time.",
    ),
    WarningCode.FALLING_THROUGHPUT: Advice(
        title="larger batches are slower",
        happened=(
            "Throughput falls from {samples_per_s} at the recommended {batch_size} to "
            "{worst_samples_per_s} at {worst_batch_size}."
        ),
        remedy="Reach a larger global batch with gradient accumulation.",
    ),
    WarningCode.FEW_UPDATES: Advice(
        title="an epoch has few updates",
        happened=(
            "With {global_batch_size} samples per update an epoch has {iterations_per_epoch} "
            "updates: it is soon over, and may teach the model far less than smaller batches do."
        ),
        remedy="Search with --goal efficiency, which weighs what a sample is worth.",
    ),
    WarningCode.LOSS_NOT_FINITE: Advice(
        title="the loss is not finite",
        happened=(
            "At batch size {batch_size} a loss was NaN or infinite; the timing and the memory "
            "hold, the training would not."
        ),
        remedy="Lower the learning rate, or probe with --precision fp32 to see if it goes away.",
    ),
    WarningCode.LAST_BATCH_OF_ONE: Advice(
        title="the last batch of an epoch has one sample",
        happened=(
            "The last of {iterations_per_epoch} iterations has a single sample, and BatchNorm "
            "cannot train on one."
        ),
        remedy="Train with drop_last=True (--drop-last).",
    ),
    WarningCode.DROP_LAST_DROPS_ALL: Advice(
        title="drop_last drops the whole dataset",
        happened=(
            "The dataset has {dataset_size} samples, fewer than one global batch of "
            "{global_batch_size}, so an epoch has no iteration."
        ),
        remedy="Leave out --drop-last, or make the global batch smaller.",
    ),
    WarningCode.LEAK: Advice(
        title="memory grows from step to step",
        happened=(
            "At batch size {batch_size} each step held on to {growth_bytes} more; at that pace the "
            "budget is used up after {steps_left} further steps."
        ),
        remedy="Look for tensors that are kept with their graph, such as losses in a list: keep "
        "loss.item() instead.",
    ),
    WarningCode.NOT_CONFIRMED: Advice(
        title="the recommended size was not confirmed",
        happened=(
            "Batch size {batch_size} ran and fitted, but the search ended before its longer final "
            "run."
        ),
        remedy="Give the search more time (--time-limit).",
    ),
    WarningCode.MEMORY_NOT_MONOTONE: Advice(
        title="a larger batch took less memory",
        happened=(
            "Batch size {small_batch_size} took {small_peak_bytes} and {large_batch_size} took "
            "{large_peak_bytes}, so sizes between those that ran may not fit."
        ),
        remedy="Use only sizes that ran; cudnn.benchmark = False often makes memory regular.",
    ),
    WarningCode.GLOBAL_BATCH_REMAINDER: Advice(
        title="the global batch is not a whole number of passes",
        happened=(
            "A global batch of {global_batch_size} takes {steps} passes of {batch_size}, of which "
            "the last is {remainder} samples short."
        ),
        remedy="Ask for a --global-batch-size that is a multiple of {batch_size}.",
    ),
    WarningCode.DATASET_SIZE_UNKNOWN: Advice(
        title="the size of the dataset is not known",
        happened="Without it there are no iterations per epoch and no epoch time.",
        remedy="Give it with --dataset-size.",
    ),
    WarningCode.NO_BASE_LEARNING_RATE: Advice(
        title="no learning rate to scale",
        happened=(
            "No base learning rate was given or found, so there is only a factor: "
            "{learning_rate_multiplier} times the rate that suits batch size {base_batch_size}."
        ),
        remedy="Give the rate that you train with now: --lr RATE --base-batch-size SIZE.",
    ),
    WarningCode.TRIAL_KILLED: Advice(
        title="a trial was killed",
        happened="The trial of batch size {batch_size} died ({details}); it counts as not fitting.",
        remedy="If memory ran out, set --memory-limit below what the machine or the container can "
        "really give; otherwise run one training step of that size by itself.",
    ),
    WarningCode.TRIAL_FAILED: Advice(
        title="a trial ended in an error",
        happened=(
            "At batch size {batch_size} training raised {details}. It counts as not fitting, and "
            "the answer rests on smaller sizes, which ran."
        ),
        remedy="Run one training step of that size by itself: the size may exceed what a kernel "
        "can take, or the error may come from your code.",
    ),
    WarningCode.THROTTLED: Advice(
        title="the GPU's clocks were held down",
        happened=(
            "At batch size {batch_size} the GPU was slowed down ({details}), so step times depend "
            "on what ran before as well as on the size."
        ),
        remedy="Compare sizes at one clock (nvidia-smi -lgc MHZ, undone by -rgc), or give the GPU "
        "more cooling or power (nvidia-smi -pl WATTS).",
    ),
    WarningCode.BUDGET_NOT_ENFORCED: Advice(
        title="the memory budget was watched, not enforced",
        happened=(
            "This system has no limit that stops a process at the budget, so a trial could pass "
            "it for a moment before it was seen."
        ),
        remedy="Keep more memory free with --headroom 20%.",
    ),
    WarningCode.ACCUMULATED_LOSS_DIFFERS: Advice(
        title="accumulated passes do not train as one batch does",
        happened=(
            "The gradient of {batch_size} samples in {num_passes} passes differs by "
            "{difference_fraction} from that of one batch: its loss is not the mean of "
            "the losses of its parts, as where it is a mean over unequal numbers of tokens."
        ),
        remedy="Divide the summed loss of each pass by the tokens of all passes of the step.",
    ),
    WarningCode.ACCUMULATED_BATCH_NORM: Advice(
        title="BatchNorm sees one pass at a time",
        happened=(
            "The gradient of {batch_size} samples in {num_passes} passes differs by "
            "{difference_fraction} from that of one batch: BatchNorm takes its statistics from "
            "each pass."
        ),
        remedy="Use GroupNorm or frozen statistics, or a batch that needs no accumulation.",
    ),
    WarningCode.FINAL_RUN_TOO_LARGE: Advice(
        title="the final run of a larger size did not fit",
        happened=(
            "Batch size {batch_size} took {trial_peak_bytes} in its trial, and {final_peak_bytes} "
            "in the longer final run, with a budget of {budget_bytes} ({details})."
        ),
        remedy="The search stepped down from it; with more memory or less else running it may fit.",
    ),
    WarningCode.EVALUATION_TOO_LARGE: Advice(
        title="evaluation does not fit at the training size",
        happened=(
            "At batch size {batch_size} an evaluation beside the optimizer's state took "
            "{eval_peak_bytes} of {budget_bytes}."
        ),
        remedy="Evaluate with the smaller size that the report names.",
    ),
    WarningCode.EVALUATION_FAILED: Advice(
        title="the search for the evaluation size ended in an error",
        happened=(
            "An evaluation at batch size {batch_size} failed ({details}), so larger sizes were not "
            "tried; what the report names ran."
        ),
        remedy="Run one evaluation at that size by itself to see where it fails.",
    ),
    WarningCode.LENGTHS_PARTLY_SCANNED: Advice(
        title="not every sample's length was looked at",
        happened=(
            "Samples differ in length, and {num_scanned} of {num_samples} were looked at; the "
            "longest of them, {longest}, is what memory was measured with."
        ),
        remedy="Give a quicker length function, or keep more memory free with --headroom.",
    ),
    WarningCode.LENGTHS_FAILED: Advice(
        title="the search for sizes by length ended in an error",
        happened=(
            "A step at batch size {batch_size} on samples up to {longest} long failed ({details}), "
            "so no more sizes by length were tried; those that the report names ran."
        ),
        remedy="Run one step on such a batch by itself to see where it fails.",
    ),
    WarningCode.NO_SIZES_BY_LENGTH: Advice(
        title="there are no batch sizes by length",
        happened="They were asked for (--by-length), but {details}.",
        remedy="Train with the one batch size; sizes by length need a map-style dataset whose "
        "samples differ in the measure that 'length' gives.",
    ),
}


def advise(
    warning: FindingWarning, loading: LoaderChoice | None = None, along: Along = BATCHES
) -> Advice:
    """A warning in words, with its figures; one that is missing reads ``unknown``.

    Args:
        warning: What to say.
        loading: What came of comparing loader settings, if they were.
        along: What the sizes are.
    """
    text = _TEXTS[warning.code]
    written = {name: _figure(name, number) for name, number in warning.figures.items()}
    figures: dict[str, str] = defaultdict(lambda: "unknown", written)
    figures["details"] = ", ".join(filter(None, warning.details)) or "no reason known"
    remedy = text.remedy.format_map(figures)
    if warning.code is WarningCode.DATA_LOADING and loading is not None:
        remedy = advise_on_loading(loading)
    happened = along.reword(text.happened).format_map(figures)
    return Advice(title=text.title, happened=happened, remedy=remedy)


def _figure(name: str, number: float) -> str:
    if not math.isfinite(number):
        return "unknown"
    if name.endswith("per_s"):
        return units.format_rate(number)
    if name.endswith("_bytes"):
        return units.format_bytes(number)
    if name.endswith("_fraction"):
        return units.format_fraction(number)
    if name.endswith("_s"):
        return units.format_seconds(number)
    if name.endswith(("_busy_cores", "_retries_per_step")):
        return f"{number:.1f}"
    if name.startswith("learning_rate"):
        return units.format_factor(number)
    return units.format_count(number)
