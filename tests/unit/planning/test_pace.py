"""Throughput on cards that are not here, with what a tracer tells made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.plans import make_trace

from autobatch.cards import find_card
from autobatch.cards.peaks import Units
from autobatch.errors import WorkloadError
from autobatch.planning import pace
from autobatch.planning.pace import Pace
from autobatch.prediction.step_time import estimate_step_s, scale_of
from autobatch.prediction.trace import Trace
from autobatch.prediction.tracing.request import LoadedTask
from autobatch.prediction.work import Operation, WorkKind
from autobatch.records import Finding, Precision, Settings

RTX_4090, A100 = find_card("rtx-4090"), find_card("a100-40gb")


class FakeTracer:
    """Of a step that moves 1 GB a sample and updates 2 GB."""

    def __init__(
        self, workload: Any, unseen: tuple[str, ...] = (), *, compiled: bool = False
    ) -> None:
        self.loaded = LoadedTask(
            workload=workload, torch_version=(2, 13), libraries={}, is_compiled=compiled
        )
        self.unseen = unseen
        self.num_passes = 1

    def __enter__(self) -> FakeTracer:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def trace(self, batch_size: int, capability: tuple[int, int]) -> Trace:
        operations = () if "nothing" in self.unseen else self.operations_at(batch_size, capability)
        return replace(make_trace(batch_size), unseen=self.unseen, operations=operations)

    def operations_at(self, batch_size: int, capability: tuple[int, int]) -> tuple[Operation, ...]:
        return tuple(
            Operation(kind=kind, units=Units.HALF, num_flops=0, num_bytes=num_bytes)
            for kind, num_bytes in (
                (WorkKind.POINTWISE, batch_size * 10**9),
                (WorkKind.OPTIMIZER, 2 * 10**9),
            )
        )


@pytest.fixture
def make(make_finding: Callable[..., Finding]) -> Callable[..., Pace]:
    def pace_of(settings: Settings | None = None, *unseen: str, **kind: Any) -> Pace:
        tracer: Any = FakeTracer(make_finding().workload, unseen, **kind)
        settings = settings or Settings()
        tracer.num_passes = min(2, settings.gradient_accumulation_steps)
        return Pace(tracer, "model.py", settings)

    return pace_of


def step_s(batch_size: int, card: Any) -> float:
    tracer = FakeTracer(None)
    time_s = estimate_step_s(tracer.operations_at(batch_size, (8, 9)), card)
    assert time_s is not None
    return time_s


def test_a_card_that_others_timed_has_an_estimate(make: Callable[..., Pace]) -> None:
    scale = scale_of(RTX_4090)
    assert scale is not None
    expected = 32 / (scale * step_s(32, RTX_4090))
    assert make().samples_per_s(RTX_4090, 32) == pytest.approx(expected)
    assert make().samples_per_s(A100, 32) is None, "nobody timed it"


def test_passes_share_the_optimizer(make: Callable[..., Pace]) -> None:
    one, eight = (
        make(Settings(gradient_accumulation_steps=steps)).samples_per_s(RTX_4090, 4)
        for steps in (1, 8)
    )
    assert one is not None
    assert eight is not None
    assert one < eight


@pytest.mark.parametrize(
    ("settings", "unseen", "kind", "reason"),
    [
        (Settings(), (), {"compiled": True}, "the model is compiled"),
        (Settings(num_devices=2), (), {}, "several devices wait for each other"),
        (Settings(), ("rnn",), {}, "cuDNN runs recurrent layers as a whole"),
        (Settings(), ("convolution", "mine::attend"), {},
         "mine::attend does not tell its arithmetic"),
        (Settings(), ("nothing",), {}, "an operator does not tell its arithmetic"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_estimated(
    make: Callable[..., Pace], settings: Settings, unseen: tuple[str, ...], kind: Any, reason: str
) -> None:
    made = make(settings, *unseen, **kind)
    assert made.samples_per_s(RTX_4090, 32) is None
    assert made.explain_missing(RTX_4090) == reason
    assert make(None, "convolution").explain_missing(RTX_4090) == ""


def measured(make_finding: Callable[..., Finding], slower: float) -> Finding:
    """A finding whose sizes took so much longer than the estimates of scale 1."""
    finding = make_finding()
    estimates = tuple(
        replace(each, samples_per_s=each.batch_size / (slower * step_s(each.batch_size, A100)))
        for each in finding.decision.estimates
    )
    assert estimates
    return replace(
        finding, target="model.py", decision=replace(finding.decision, estimates=estimates)
    )


def test_a_probe_tells_how_fast_its_card_is(
    make: Callable[..., Pace], make_finding: Callable[..., Finding]
) -> None:
    made = make()
    made.calibrate(A100, measured(make_finding, 1.7))
    assert made.calibrated == (A100.name,)
    assert made.samples_per_s(A100, 64) == pytest.approx(64 / (1.7 * step_s(64, A100)))
    assert made.samples_per_s(RTX_4090, 64) == make().samples_per_s(RTX_4090, 64)


def test_a_probe_of_another_target_is_traced_by_itself(
    make: Callable[..., Pace],
    make_finding: Callable[..., Finding],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def open_tracer(target: str, settings: Settings) -> FakeTracer:
        opened.append((target, settings.precision))
        return FakeTracer(make_finding().workload)

    monkeypatch.setattr(pace, "Tracer", open_tracer)
    finding = measured(make_finding, 1.7)
    for target, precision in (("other.py", Precision.FP32), ("model.py", Precision.BF16)):
        made = make()
        settings = replace(finding.settings, precision=precision)
        made.calibrate(A100, replace(finding, target=target, settings=settings))
        assert made.samples_per_s(A100, 64) == pytest.approx(64 / (1.7 * step_s(64, A100)))
    make(Settings(gradient_accumulation_steps=4)).calibrate(A100, finding)
    assert opened == [
        ("other.py", Precision.FP32),
        ("model.py", Precision.BF16),
        ("model.py", Precision.FP32),
    ]


def test_a_probe_of_what_is_not_here_tells_memory_alone(
    make: Callable[..., Pace],
    make_finding: Callable[..., Finding],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(target: str, settings: Settings) -> FakeTracer:
        raise WorkloadError(f"there is no file {target}", hint="look for it")

    monkeypatch.setattr(pace, "Tracer", refuse)
    made = make()
    made.calibrate(A100, replace(measured(make_finding, 1.7), target="gone.py"))
    assert made.samples_per_s(A100, 64) is None
