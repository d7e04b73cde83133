"""A plan as it is made, with traces made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import GIB, MIB, make_trace

from autobatch.cards.peaks import Units
from autobatch.errors import SettingsError
from autobatch.planning import session
from autobatch.planning.records import Plan, PlanSettings
from autobatch.planning.session import plan_target
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.request import LoadedTask
from autobatch.prediction.work import Operation, WorkKind
from autobatch.records import Precision, Settings


class FakeTracer:
    """A tracer whose every trace is made by hand."""

    asked: list[tuple[int, tuple[int, int]]]
    unseen: tuple[str, ...] = ()
    benchmark = False
    reason = ""
    num_passes = 1

    def __init__(self, target: str, settings: Settings, **callbacks: Any) -> None:
        type(self).asked = []
        type(self).settings = settings
        self.loaded: LoadedTask

    def __enter__(self) -> FakeTracer:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def at(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        self.asked.append((batch_size, capability))
        return replace(make_trace(batch_size), unseen=self.unseen)

    def trace(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        operations = self.operations_at(batch_size, capability)
        return replace(make_trace(batch_size), unseen=self.unseen, operations=operations)

    def operations_at(self, batch_size: int, capability: tuple[int, int]) -> tuple[Operation, ...]:
        return (
            Operation(
                kind=WorkKind.POINTWISE,
                units=Units.SINGLE,
                num_flops=0,
                num_bytes=batch_size * 32 * MIB,
            ),
        )

    @property
    def reason_for_each(self) -> str:
        return self.reason


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, make_finding: Callable[..., Any]) -> Callable[..., Plan]:
    """Plan for cards of 4 and 24 GiB, and what else is asked."""

    class Tracer(FakeTracer):
        def __enter__(self) -> FakeTracer:
            self.loaded = LoadedTask(
                workload=make_finding().workload,
                torch_version=(2, 13),
                libraries={"torch": "2.13.0"},
                uses_cudnn_benchmark=self.benchmark,
            )
            return self

    monkeypatch.setattr(session, "Tracer", Tracer)

    def plan(settings: Settings | None = None, **asked: Any) -> Plan:
        for name in ("unseen", "benchmark", "reason"):
            setattr(Tracer, name, asked.pop(name, getattr(FakeTracer, name)))
        asked = {"gpu_memory": ("4GiB:8.9", "24GiB:8.6"), **asked}
        made = plan_target("model.py", settings or Settings(), PlanSettings(**asked))
        plan.tracer = Tracer  # type: ignore[attr-defined]
        return made

    return plan


def test_each_card_has_its_largest_size_and_the_smallest_card_is_taken(
    make: Callable[..., Plan],
) -> None:
    plan = make()
    small, large = plan.cards
    # 256 MiB stay, and a sample takes 32: between 2.0 and 0.9 GiB of 4 are held besides.
    assert (small.largest.low, small.largest.high) == (55, 91)
    assert (large.largest.low, large.largest.high) == (689, 731)
    assert plan.choice == "4GiB:8.9"
    assert plan.timeline.batch_size == small.largest.likely
    assert {capability for _, capability in make.tracer.asked} == {(8, 9), (8, 6)}  # type: ignore[attr-defined]


def test_a_size_is_judged_on_each_card(make: Callable[..., Plan]) -> None:
    plan = make(batch_size=200)
    assert [each.fits for each in plan.cards] == [False, True]
    assert plan.choice == "24GiB:8.6"
    peak = plan.cards[1].at_batch_size
    assert peak is not None
    assert peak.allocated_bytes == (256 + 200 * 32) * MIB


def test_if_it_fits_nowhere_there_is_no_choice(make: Callable[..., Plan]) -> None:
    plan = make(gpu_memory=("1GiB",))
    assert (plan.choice, plan.fits, plan.cards[0].at_largest) == (None, False, None)
    assert (plan.timeline.gpu, plan.timeline.batch_size) == ("1GiB", 2)


def test_prices_choose(make: Callable[..., Plan]) -> None:
    plan = make(prices={"4GiB:8.9": 2.0, "24GiB:8.6": 1.0})
    assert plan.choice == "24GiB:8.6"
    assert [each.price for each in plan.cards] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("unseen", "benchmark", "band_fraction"),
    [((), False, 0.01), ((), True, 0.01), (("convolution",), False, 0.08),
     (("convolution",), True, 0.25)],
)  # fmt: skip
def test_what_a_trace_does_not_see_widens_the_band_upwards(
    make: Callable[..., Plan], unseen: tuple[str, ...], benchmark: bool, band_fraction: float
) -> None:
    plan = make(unseen=unseen, benchmark=benchmark)
    assert plan.band_fraction == band_fraction
    assert ("convolution" in plan.unseen[0]) == bool(unseen)
    usable_bytes = (24 * GIB - 2 * GIB) / (1 + band_fraction)
    low = plan.cards[1].largest.low
    assert low == int((usable_bytes - 256 * MIB) // (32 * MIB))


def test_several_devices_have_buckets_and_nccl(make: Callable[..., Plan]) -> None:
    alone, together = make(batch_size=8), make(Settings(num_devices=8), batch_size=8)
    peaks = [each.cards[1].at_batch_size.peak_bytes for each in (alone, together)]  # type: ignore[union-attr]
    assert peaks[1] - peaks[0] == pytest.approx((64 + (150 + 1350) / 2) * MIB, abs=20 * MIB)
    assert any("DDP" in each for each in together.assumed)


def test_it_is_said_if_each_size_was_traced_by_itself(make: Callable[..., Plan]) -> None:
    plan = make(reason="allocation 3 differs")
    assert any("traced by itself: allocation 3 differs" in each for each in plan.assumed)
    assert len(plan.traced_batch_sizes) > 2
    assert make().traced_batch_sizes == (2, 3)


def test_the_trace_is_of_the_precision_that_was_asked_for(make: Callable[..., Plan]) -> None:
    plan = make(Settings(precision=Precision.BF16, gradient_accumulation_steps=4))
    traced = make.tracer.settings  # type: ignore[attr-defined]
    assert (traced.precision, traced.gradient_accumulation_steps) == (Precision.BF16, 4)
    assert plan.settings.base_batch_size is None


def test_throughput_is_estimated_where_others_timed_the_card(make: Callable[..., Plan]) -> None:
    plan = make(gpus=("rtx-4090", "h100-80gb"), gpu_memory=None)
    timed, untimed = (each.estimated_samples_per_s for each in plan.cards)
    # 32 MiB a sample, at 1 TB/s at the most.
    assert timed is not None
    assert 10_000 < timed < 100_000
    assert untimed is None
    assert any("samples/s are estimated" in each for each in plan.assumed)
    unknown = make(unseen=("rnn",), gpus=("rtx-4090",), gpu_memory=None)
    assert unknown.cards[0].estimated_samples_per_s is None
    assert "throughput is not estimated: cuDNN runs recurrent layers as a whole" in unknown.assumed


def test_an_unknown_card_is_refused_before_anything_is_traced(make: Callable[..., Plan]) -> None:
    with pytest.raises(SettingsError, match="no GPU 'rtx-4900'"):
        make(gpus=("rtx-4900",))
