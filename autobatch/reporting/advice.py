"""What goes with the recommended size, in words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from autobatch import units
from autobatch.records import (
    AccumulationCheck,
    Axis,
    Confirmation,
    Finding,
    LearningRateRule,
    LengthBucket,
    LoaderChoice,
    MemoryBudget,
    MemoryForecast,
    Recommendation,
    Rehearsal,
    Trial,
)
from autobatch.records.rehearsal import LARGEST, SAVING
from autobatch.reporting.tables import Row
from autobatch.reporting.wording import BOTTLENECKS, REGIMES, RULES


def recommendation_rows(finding: Finding) -> Iterator[Row]:
    """The recommendation, one labelled line for each thing to set or to know."""
    recommendation = finding.recommendation
    yield "largest that fits", Text(_largest(recommendation))
    yield "memory", Text(_memory(finding))
    if finding.forecast is not None:
        yield "predicted", Text(_forecast(finding.forecast))
    if finding.host_budget is not None and _chosen_trial(finding).host_peak_bytes is not None:
        yield "host memory", Text(_host_memory(finding))
    if finding.confirmation is not None:
        yield "confirmed", Text(_confirmation(finding.confirmation, finding.budget))
    eagerly = ", run eagerly" if finding.workload.is_compiled else ""
    throughput = "throughput", Text(_throughput(finding) + eagerly)
    if finding.settings.axis is not Axis.BATCH_SIZE:
        yield throughput
        return
    yield from _evaluation_rows(finding)
    if finding.rehearsal is not None:
        yield from _rehearsal_rows(finding.rehearsal)
    else:
        yield "not rehearsed", Text(_not_rehearsed(finding))
    for index, bucket in enumerate(finding.buckets):
        yield "by length" if index == 0 else "", Text(_bucket(bucket))
    yield throughput
    if finding.workload.is_compiled:
        yield "compiled", Text(_compiled(finding))
    yield "bounded by", Text(BOTTLENECKS[recommendation.bottleneck])
    if finding.loading is not None:
        yield "loader", Text(_loader(finding.loading))
    if recommendation.global_batch_size != recommendation.batch_size:
        yield "global batch", Text(_global_batch(recommendation))
    if finding.accumulation is not None:
        yield "accumulation", Text(_accumulation(finding.accumulation))
    yield "iterations", Text(_iterations(finding))
    if recommendation.epoch_time_s is not None:
        yield "epoch time", Text(_epoch_time(finding, recommendation.epoch_time_s))
    if finding.epoch_price is not None:
        yield "epoch price", Text(_epoch_price(finding, finding.epoch_price))
    yield from _learning_rate_rows(recommendation)
    if recommendation.regime is not None:
        yield "regime", Text(_regime(recommendation))


def _accumulation(check: AccumulationCheck) -> str:
    if check.reason:
        return f"not compared with one batch: {check.reason}"
    how = f"{check.batch_size} samples in {check.num_passes} passes"
    if check.loss_differs or check.norm_differs:
        return f"not the gradient of one batch ({how}): see below"
    return f"the same gradient as one batch ({how})"


def _loader(loading: LoaderChoice) -> str:
    if loading.chosen is None or loading.samples_per_s is None:
        return f"settings not compared: {loading.reason}"
    peak = loading.host_peak_bytes
    memory = f"; host memory {units.format_bytes(peak)} peak" if peak else ""
    refused = [each for each in loading.timings if each.message]
    if refused:
        memory += f"; not {refused[0].settings.num_workers} workers: {refused[0].message}"
    rate = units.format_rate(loading.samples_per_s)
    options = loading.chosen.as_options().items()
    settings = ", ".join(f"{name}={value}" for name, value in options if value)
    if loading.is_own:
        settings = settings or "num_workers=0"
        return f"{settings}, as it is: of {_count_ways(loading)} none was clearly faster{memory}"
    gain = loading.samples_per_s / (loading.own_samples_per_s or loading.samples_per_s) - 1
    gained = units.format_fraction(gain)
    return f"{settings or 'num_workers=0'}: {rate}, {gained} faster than with yours{memory}"


def _count_ways(loading: LoaderChoice) -> str:
    number = len({each.settings for each in loading.timings})
    return f"{number} {_plural('setting', number)}"


def _rehearsal_rows(rehearsal: Rehearsal) -> Iterator[Row]:
    done = [stage.name for stage in rehearsal.stages if stage.fits]
    peaks = [stage.peak_bytes for stage in rehearsal.stages if stage.peak_bytes is not None]
    text = ", ".join(done) or "nothing passed"
    if peaks:
        text += f"; peak {units.format_bytes(max(peaks))}"
    yield "rehearsed", Text(text)
    if rehearsal.reason:
        yield "did not fit", Text(rehearsal.reason)
    for index, refused in enumerate(rehearsal.refused):
        yield "stepped down from" if index == 0 else "", Text(refused)
    for index, what in enumerate(rehearsal.not_rehearsed):
        yield "not rehearsed" if index == 0 else "", Text(what)


def _not_rehearsed(finding: Finding) -> str:
    """What training does that has not run, in one line."""
    final, steps, lengths = (
        finding.confirmation,
        finding.iterations_per_epoch,
        finding.workload.lengths,
    )
    ran = final.also_ran if final is not None else ()
    num_steps = final.num_steps if final is not None else _chosen_trial(finding).num_steps
    parts = []
    if steps is None or steps > num_steps:
        parts.append(f"steps after {units.format_count(num_steps)}")
    criteria = lengths.criteria if lengths is not None else ()
    if missing := [name for name in criteria if LARGEST + name not in ran]:
        parts.append(LARGEST + ", ".join(missing))
    if SAVING not in ran:
        parts.append(SAVING)
    parts += ["a whole evaluation", "callbacks"]
    how = "--rehearse" if finding.workload.command is None else "--rehearse, for a target"
    return f"{', '.join(parts)} ({how})"


def _chosen_trial(finding: Finding) -> Trial:
    size = finding.recommendation.batch_size
    return next(trial for trial in finding.trials if trial.batch_size == size and trial.fits)


def _forecast(forecast: MemoryForecast) -> str:
    error = forecast.error_fraction
    side = "more" if error > 0 else "less"
    largest = units.format_count(forecast.largest_batch_size)
    return (
        f"{units.format_bytes(forecast.predicted_bytes)} by a trace of the step, "
        f"{units.format_fraction(abs(error))} {side} than measured; {largest} as the largest"
    )


def _largest(recommendation: Recommendation) -> str:
    how = "ran" if recommendation.largest_was_run else "predicted from the memory line, not run"
    bound = "at least " if recommendation.largest_is_lower_bound else ""
    return f"{bound}{units.format_count(recommendation.largest_batch_size)} ({how})"


def _memory(finding: Finding) -> str:
    peak = finding.recommendation.peak_bytes
    if peak is None:
        return "peak not known: the device does not tell"
    trial = _chosen_trial(finding)
    text = f"{units.format_bytes(peak)} peak"
    if trial.peak_is_lower_bound:
        text = f"at least {text} (sampled)"
    if finding.budget.budget_bytes:
        share = units.format_fraction(peak / finding.budget.budget_bytes)
        text += f", {share} of the budget"
    if finding.workload.is_compiled and finding.confirmation is not None:
        text += ", compiling included"
    if trial.loader_bytes and finding.host_budget is None:
        text += f"; {units.format_bytes(trial.loader_bytes)} of it in loader workers"
    return text


def _host_memory(finding: Finding) -> str:
    trial = _chosen_trial(finding)
    text = f"{units.format_bytes(trial.host_peak_bytes or 0)} peak"
    parts = {"in loader workers": trial.loader_bytes, "pinned": trial.pinned_bytes}
    named = [f"{units.format_bytes(part)} {where}" for where, part in parts.items() if part]
    return f"{text} ({', '.join(named)})" if named else text


def _confirmation(confirmation: Confirmation, budget: MemoryBudget) -> str:
    steps = _plural("step", confirmation.num_steps)
    text = f"for {units.format_count(confirmation.num_steps)} {steps} at the end"
    largest = any(each.startswith(LARGEST) for each in confirmation.also_ran)
    parts = ["the largest samples"] * largest + [SAVING] * (SAVING in confirmation.also_ran)
    text += f" with {' and '.join(parts)}" if parts else ""
    if confirmation.peak_bytes is None:
        return text
    peak, whole = (units.format_bytes(n) for n in (confirmation.peak_bytes, budget.budget_bytes))
    return f"{text}, peak {peak} of {whole}"


def _compiled(finding: Finding) -> str:
    rate, final = finding.compiled_samples_per_s, finding.confirmation
    if rate is None or final is None or final.step_time_s is None:
        return "not run compiled: the search ended before its final run"
    text = f"{units.format_rate(rate)}, {units.format_seconds(final.step_time_s)} per pass"
    if final.compile_time_s is None:
        return text
    return f"{text}, in the final run; compiling took {units.format_seconds(final.compile_time_s)}"


def _epoch_time(finding: Finding, epoch_time_s: float) -> str:
    text = f"{units.format_seconds(epoch_time_s)}, predicted"
    rate = finding.compiled_samples_per_s
    if not finding.workload.is_compiled or rate is None:
        return text
    compiled_s = epoch_time_s * finding.recommendation.samples_per_s / rate
    return f"{text} for running eagerly; {units.format_seconds(compiled_s)} compiled"


def _epoch_price(finding: Finding, price: float) -> str:
    num_devices = finding.recommendation.num_devices
    each = f" for each of {num_devices} devices" if num_devices > 1 else ""
    hour = units.format_price(finding.settings.price_per_hour or 0.0)
    return f"{units.format_price(price)}, at {hour} an hour{each}"


def _evaluation_rows(finding: Finding) -> Iterator[Row]:
    message = finding.confirmation.eval_message if finding.confirmation is not None else ""
    if message:
        yield "evaluation", Text(f"not known: {message}")
    if finding.eval_batch_size is not None:
        yield "evaluation", Text(_evaluation(finding))
    elif finding.settings.evaluation and not message:
        yield "evaluation", Text("not known: no size ran")


def _evaluation(finding: Finding) -> str:
    size = units.format_count(finding.eval_batch_size or 0)
    if finding.recommendation.eval_is_largest:
        return f"{size}, the largest that fits (ran)"
    if finding.settings.evaluation:
        return f"{size} (ran); the search for the largest ended early"
    return f"{size} fits too (ran); --eval finds the largest that does"


def _bucket(bucket: LengthBucket) -> str:
    longest, size = units.format_count(bucket.longest), units.format_count(bucket.batch_size)
    tokens = units.format_count(bucket.max_tokens)
    peak = "" if bucket.peak_bytes is None else f", peak {units.format_bytes(bucket.peak_bytes)}"
    return f"up to {longest}: {size} samples, {tokens} padded tokens{peak} (ran)"


def _throughput(finding: Finding) -> str:
    recommendation, along = finding.recommendation, finding.settings.along
    rate = units.format_rate(
        along.rate(recommendation.batch_size, recommendation.samples_per_s), along.unit
    )
    time = units.format_seconds(recommendation.step_time_s)
    return f"{rate} on one device, {time} per pass"


def _global_batch(recommendation: Recommendation) -> str:
    factors = [units.format_count(recommendation.batch_size)]
    if recommendation.gradient_accumulation_steps > 1:
        count = units.format_count(recommendation.gradient_accumulation_steps)
        factors.append(f"{count} accumulation steps")
    if recommendation.num_devices > 1:
        factors.append(f"{units.format_count(recommendation.num_devices)} devices")
    total = units.format_count(recommendation.global_batch_size)
    return f"{total} samples per optimizer step ({' x '.join(factors)})"


def _iterations(finding: Finding) -> str:
    recommendation = finding.recommendation
    iterations, last = recommendation.iterations_per_epoch, recommendation.last_batch_size
    if iterations is None:
        return "unknown without the size of the dataset (--dataset-size)"
    text = f"{units.format_count(iterations)} per epoch"
    size = finding.settings.dataset_size or finding.workload.dataset_size
    if recommendation.drop_last:
        dropped = max(0, (size or 0) - iterations * recommendation.global_batch_size)
        return f"{text}; drop_last leaves out {_samples(dropped)}"
    if last is None or last == recommendation.global_batch_size:
        return text
    return f"{text}; the last one has {_samples(last)}"


def _learning_rate_rows(recommendation: Recommendation) -> Iterator[Row]:
    yield "learning rate", Text(_learning_rate(recommendation))
    if recommendation.learning_rate_reason:
        yield "", Text(recommendation.learning_rate_reason)
    if recommendation.learning_rate_multiplier in (None, 1):
        return  # and what goes with the rate stays as it is
    adam = []
    if recommendation.adam_betas is not None:
        betas = ", ".join(map(units.format_beta, recommendation.adam_betas))
        adam.append(f"betas ({betas})")
    if recommendation.adam_epsilon_multiplier is not None:
        factor = units.format_factor(recommendation.adam_epsilon_multiplier)
        adam.append(f"epsilon x {factor}")
    if adam:
        yield "Adam", Text(", ".join(adam))


def _learning_rate(recommendation: Recommendation) -> str:
    if recommendation.learning_rate_multiplier is None:
        return "none is given"
    factor = units.format_factor(recommendation.learning_rate_multiplier)
    base_size = units.format_count(recommendation.base_batch_size)
    rule = RULES[recommendation.learning_rate_rule]
    rate, base = recommendation.learning_rate, recommendation.base_learning_rate
    if rate is None or base is None:
        return f"{factor} x the rate that suits batch size {base_size} ({rule}); give it with --lr"
    scaled = units.format_learning_rate(rate)
    if recommendation.learning_rate_rule is LearningRateRule.NONE:
        return f"{scaled} ({rule})"
    if rate == base:
        return f"{scaled}, the base rate unchanged ({rule})"
    base_rate = units.format_learning_rate(base)
    return f"{scaled} = {base_rate} at batch size {base_size} x {factor} ({rule})"


def _regime(recommendation: Recommendation) -> str:
    regime = recommendation.regime
    words = REGIMES[regime] if regime is not None else ""
    updates = recommendation.iterations_per_epoch
    if updates is None:
        return words
    return f"{words}; {units.format_count(updates)} {_plural('update', updates)} per epoch"


def _samples(count: int) -> str:
    return f"{units.format_count(count)} {_plural('sample', count)}"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
