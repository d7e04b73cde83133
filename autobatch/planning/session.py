"""A plan as it is made: trace, replay on each card, choose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from autobatch.cards import Card
from autobatch.planning.buckets import with_buckets
from autobatch.planning.fitting import CardFit
from autobatch.planning.gpus import card_of, choose_cards, outside_of, read_prices
from autobatch.planning.pace import Pace
from autobatch.planning.records import CardPlan, Plan, PlanSettings, Timeline
from autobatch.planning.timeline import make_timeline
from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.lines import LARGE, SMALL
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.prediction.unseen import Unseen, find_unseen
from autobatch.records import Finding, Settings


def plan_target(
    target: str,
    settings: Settings,
    asked: PlanSettings,
    *,
    finding: Finding | None = None,
    on_stage: Callable[[str], None] = lambda doing: None,
    on_output: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Say what fits on GPUs that are not here.

    Args:
        target: The workload, as the user named it.
        settings: Precision, accumulation, number of devices.
        asked: Cards and size.
        finding: Of a probe on one of the cards, for what the card holds besides tensors.
        on_stage: Receives what is done now, in words.
        on_output: Receives each line that the user's code prints.

    Raises:
        SettingsError: If a card is not known.
        WorkloadError: If the step cannot be traced; names the operator.
    """
    cards = choose_cards(asked, finding)
    prices = read_prices(asked, cards)
    begin = time.monotonic()
    # Where a learning rate is scaled from moves no byte, and need not be assumed.
    traced = replace(settings, base_batch_size=1)
    with Tracer(target, traced, on_output=on_output, on_stage=on_stage) as tracer:
        session = _Session(tracer, target, settings, asked)
        session.trace({card.compute_capability for card in cards})
        if finding is not None:
            on_stage("tracing what the calibration ran")
            session.pace.calibrate(card_of(finding), finding)
        trace_time_s = time.monotonic() - begin
        plans = []
        for card in cards:
            on_stage(f"fitting batch sizes to {card.name}")
            plans.append(session.plan_card(card, finding, prices.get(card.name)))
        choice = choose(plans)
        workload = tracer.loaded.workload
        return Plan(
            target=target,
            settings=settings,
            asked=asked,
            model=workload.model,
            num_parameters=workload.num_parameters,
            optimizer=workload.optimizer,
            cards=tuple(plans),
            choice=choice,
            timeline=session.draw(cards, plans, choice),
            band_fraction=session.unseen.band_fraction,
            unseen=session.unseen.reasons,
            assumed=(*workload.guesses, *session.assume(cards, plans)),
            versions=dict(tracer.loaded.libraries),
            traced_batch_sizes=tuple(session.traced_batch_sizes()),
            trace_time_s=trace_time_s,
        )


def choose(plans: Iterable[CardPlan]) -> str | None:
    """The card to take: of those on which it fits the cheapest, or the one with the least memory.

    A card without a price is taken only where none that fits has one.
    """
    fitting = [each for each in plans if each.fits]
    priced = [each for each in fitting if each.price is not None]
    best = min(
        priced or fitting, key=lambda each: (each.price or 0.0, each.memory_bytes), default=None
    )
    return None if best is None else best.gpu


class _Session:
    """A tracer, and the traces that were asked of it."""

    def __init__(
        self, tracer: Tracer, target: str, settings: Settings, asked: PlanSettings
    ) -> None:
        self._tracer = tracer
        self._settings = settings
        self._asked = asked
        self._traces: dict[tuple[int, tuple[int, int]], Trace] = {}
        self.unseen: Unseen
        self.pace = Pace(tracer, target, settings)

    def trace(self, capabilities: Iterable[tuple[int, int]]) -> None:
        """Trace for each compute capability, before anything is said of a card."""
        traces = [self._at(self._first_size, each) for each in sorted(capabilities)]
        self.unseen = find_unseen(traces[0], self._tracer.loaded)

    def plan_card(self, card: Card, finding: Finding | None, price: float | None) -> CardPlan:
        outside = outside_of(card, self._asked, finding, self._settings.num_devices)
        fit = CardFit(
            card,
            lambda batch_size: self._at(batch_size, card.compute_capability),
            settings=AllocatorSettings(expandable_segments=self._asked.expandable_segments),
            outside=outside,
            band_fraction=self.unseen.band_fraction,
        )
        largest = fit.largest()
        asked_size = self._asked.batch_size
        size = asked_size or largest.likely
        return CardPlan(
            gpu=card.name,
            compute_capability="{}.{}".format(*card.compute_capability),
            memory_bytes=card.memory_bytes,
            memory_source=card.memory_source,
            outside_low_bytes=outside.low_bytes,
            outside_high_bytes=outside.high_bytes,
            outside_source=outside.source,
            largest=largest,
            at_largest=fit.at(largest.likely) if largest.likely else None,
            at_batch_size=None if asked_size is None else fit.at(asked_size),
            price=price,
            estimated_samples_per_s=self.pace.samples_per_s(card, size) if size else None,
        )

    def draw(
        self, cards: Sequence[Card], plans: Sequence[CardPlan], choice: str | None
    ) -> Timeline:
        """The memory of a step on the card to take, or on the first one."""
        plan = next((each for each in plans if each.gpu == choice), plans[0])
        peak = plan.at_batch_size or plan.at_largest
        size = self._first_size if peak is None else peak.batch_size
        card = next(each for each in cards if each.name == plan.gpu)
        return make_timeline(self._at(size, card.compute_capability), card)

    def assume(self, cards: Sequence[Card], plans: Sequence[CardPlan]) -> Iterator[str]:
        """What else was assumed, one sentence each."""
        if any(each.estimated_samples_per_s for each in plans):
            yield (
                "samples/s are estimated from operators, loading left out: half of such estimates "
                "were within 13 %, nine of ten within 35 %"
            )
            for name in self.pace.calibrated:
                yield f"{name} is as fast for its data sheet as it was in {self._asked.calibration}"
        elif reason := self.pace.explain_missing(cards[0]):
            yield f"throughput is not estimated: {reason}"
        if self._tracer.loaded.is_compiled:
            yield "the model was traced without torch.compile, which may need more or less"
        if self._settings.num_devices > 1:
            yield "gradients are reduced in buckets as large as all of them together, as DDP does"
        if self._tracer.reason_for_each:
            yield f"each batch size was traced by itself: {self._tracer.reason_for_each}"

    def traced_batch_sizes(self) -> list[int]:
        if self._tracer.reason_for_each:
            return sorted({batch_size for batch_size, _ in self._traces})
        return [SMALL, LARGE]

    @property
    def _first_size(self) -> int:
        return self._asked.batch_size or SMALL

    def _at(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        key = (batch_size, capability)
        if key not in self._traces:
            trace = self._tracer.at(batch_size, capability)
            if self._settings.num_devices > 1:
                trace = with_buckets(trace)
            self._traces[key] = trace
        return self._traces[key]
