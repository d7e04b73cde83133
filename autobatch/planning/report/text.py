"""A plan as text: the answer, a table of GPUs, where the memory goes, what was assumed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.planning.records import CardPlan, Plan, PredictedPeak, SizeRange
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Column, Row, fitting_table, labelled

_NOTHING = "-"
#: In every report.
NOTHING_RUN = "Predicted; nothing was run on a GPU."
_ESTIMATE = "est. samples/s"
_MAX_MODULES = 3


def render_plan(plan: Plan, console: Console) -> None:
    """Print a plan, for a person to read.

    Args:
        plan: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    show(console, _verdict(plan), Text(f"{NOTHING_RUN} {_next_step(plan)}"), "")
    show(console, labelled(_header_rows(plan)), "", _cards_table(plan, console.width))
    chosen = next((each for each in plan.cards if each.gpu == plan.choice), plan.cards[0])
    peak = chosen.at_batch_size or chosen.at_largest
    if peak is not None:
        title = f"Memory at batch size {units.format_count(peak.batch_size)} on {chosen.gpu}"
        show(console, "", Text(title, style="bold"), labelled(_part_rows(chosen, peak)))
    show(console, "", Text("Assumed", style="bold"), labelled(_assumed_rows(plan)))


def _verdict(plan: Plan) -> Text:
    asked = plan.asked.batch_size
    what = plan.target if asked is None else f"{plan.target} at batch size {asked:,}"
    if plan.choice is None:
        cards = "any of these GPUs" if len(plan.cards) > 1 else plan.cards[0].gpu
        words = "should not fit" if any(map(_may_fit, plan.cards)) else "does not fit"
        return Text(f"{what} {words} on {cards}", style="bold red")
    chosen = next(each for each in plan.cards if each.gpu == plan.choice)
    parts = [f"{what} fits on {chosen.gpu}"]
    if asked is None:
        parts.append(f"up to batch size {chosen.largest.likely:,}")
    if len(plan.cards) > 1:
        kind = "cheapest" if chosen.price is not None else "smallest"
        parts.append(f"the {kind} that does")
    return Text(", ".join(parts), style="bold green")


def _next_step(plan: Plan) -> str:
    if plan.choice is None:
        smaller = "size" if any(each.largest.likely for each in plan.cards) else "model"
        return f"Try a smaller {smaller}, bf16, gradient checkpointing or a larger GPU."
    return f"On {plan.choice}, autobatch probe {plan.target} measures it."


def _header_rows(plan: Plan) -> Iterator[Row]:
    count = units.format_count(plan.num_parameters)
    yield "model", Text(f"{plan.model}, {count} parameters")
    steps = plan.settings.gradient_accumulation_steps
    parts = [plan.optimizer or "own optimizer step", plan.settings.precision.value]
    parts += [f"{steps} passes per step"] if steps > 1 else []
    parts += [f"{plan.settings.num_devices} devices, DDP"] if plan.settings.num_devices > 1 else []
    parts += ["expandable segments"] if plan.asked.expandable_segments else []
    yield "training", Text(", ".join(parts))
    sizes = " and ".join(map(str, plan.traced_batch_sizes))
    time = units.format_seconds(plan.trace_time_s)
    yield "traced", Text(f"on this machine's CPU at batch sizes {sizes}, in {time}")


def _cards_table(plan: Plan, width: int) -> Table:
    cards = plan.cards
    asked = plan.asked.batch_size
    columns = [
        Column("gpu", tuple(each.gpu for each in cards), is_words=True),
        Column("memory", tuple(units.format_bytes(each.memory_bytes) for each in cards)),
        Column("largest batch", tuple(_largest(each.largest) for each in cards)),
        Column("peak there", tuple(_peak(each.at_largest) for each in cards)),
    ]
    if asked is not None:
        peaks = [each.at_batch_size for each in cards]
        columns.append(Column(f"at {asked:,}", tuple(map(_peak, peaks))))
        columns.append(
            Column(
                "", tuple(map(_fit_words, peaks)), is_words=True, styles=tuple(map(_style, peaks))
            )
        )
    if any(each.estimated_samples_per_s is not None for each in cards):
        columns.append(Column(_ESTIMATE, tuple(map(_throughput, cards))))
    if any(each.price is not None for each in cards):
        prices = (_NOTHING if each.price is None else f"{each.price:g}" for each in cards)
        columns.append(Column("price", tuple(prices)))
    marked = [index for index, each in enumerate(cards) if each.gpu == plan.choice]
    dropped = ("memory", "peak there", _ESTIMATE, f"at {asked or 0:,}", "price")
    return fitting_table(columns, width=width, dropped=dropped, marked=marked)


def _largest(sizes: SizeRange) -> str:
    if not sizes.high:
        return "none"
    likely = units.format_count(sizes.likely)
    if sizes.low == sizes.high:
        return likely
    return f"{likely} ({units.format_count(sizes.low)} to {units.format_count(sizes.high)})"


def _peak(peak: PredictedPeak | None) -> str:
    return _NOTHING if peak is None else units.format_bytes(peak.peak_bytes)


def _throughput(card: CardPlan) -> str:
    estimate = card.estimated_samples_per_s
    return _NOTHING if estimate is None else f"~{float(f'{estimate:.2g}'):,g}"


def _may_fit(card: CardPlan) -> bool:
    """Whether a card on which it is not likely to fit may still hold it."""
    asked = card.at_batch_size
    return bool(card.largest.high) if asked is None else not asked.is_certain


def _fit_words(peak: PredictedPeak | None) -> str:
    if peak is None:
        return _NOTHING
    words = "fits" if peak.fits else "does not fit"
    if not peak.is_certain:
        words = "should fit" if peak.fits else "should not fit"
    return f"{words}, at its limit" if peak.fits and peak.num_alloc_retries else words


def _style(peak: PredictedPeak | None) -> str:
    return (
        "" if peak is None else "yellow" if not peak.is_certain else "green" if peak.fits else "red"
    )


def _part_rows(card: CardPlan, peak: PredictedPeak) -> Iterator[Row]:
    for part, num_bytes in peak.parts_bytes.items():
        yield part, Text(units.format_bytes(num_bytes))
    outside_bytes = (card.outside_low_bytes + card.outside_high_bytes) // 2
    cached_bytes = peak.peak_bytes - outside_bytes - sum(peak.parts_bytes.values())
    yield "cached, rounded", Text(units.format_bytes(cached_bytes))
    yield "outside", Text(f"{units.format_bytes(outside_bytes)}, CUDA and its libraries")
    named = [(name, size) for name, size in peak.modules_bytes.items() if name][:_MAX_MODULES]
    if named:
        parts = ", ".join(f"{name} {units.format_bytes(size)}" for name, size in named)
        yield "most in", Text(parts)


def _assumed_rows(plan: Plan) -> Iterator[Row]:
    for source in dict.fromkeys(each.outside_source for each in plan.cards):
        card = next(each for each in plan.cards if each.outside_source == source)
        low, high = map(units.format_bytes, (card.outside_low_bytes, card.outside_high_bytes))
        sizes = low if low == high else f"{low} to {high}"
        yield "outside", Text(f"{sizes} besides PyTorch's allocator: {source}")
    percent = units.format_fraction(plan.band_fraction)
    yield "not seen", Text(f"up to {percent} more: {'; '.join(plan.unseen)}")
    if any(each.at_batch_size and each.at_batch_size.num_alloc_retries for each in plan.cards):
        yield (
            "at its limit",
            Text("the allocator gives its cache back in the step, which costs time"),
        )
    for each in plan.assumed:
        yield "", Text(each)
    yield "versions", Text(", ".join(f"{name} {each}" for name, each in plan.versions.items()))
