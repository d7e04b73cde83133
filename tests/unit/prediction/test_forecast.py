"""A forecast of a search, from one trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from fixtures.plans import MIB, make_trace

from autobatch.errors import WorkloadError
from autobatch.prediction import forecast
from autobatch.prediction.forecast import TracedForecast
from autobatch.prediction.lines import TraceLine
from autobatch.probe.protocol import Loaded
from autobatch.records import MemoryBudget, Outcome, Settings, Trial
from autobatch.testing.simulated import make_environment

OUTSIDE_BYTES = 500 * MIB
FIRST = Trial(
    batch_size=1,
    outcome=Outcome.FITS,
    peak_bytes=OUTSIDE_BYTES + 400 * MIB,
    peak_reserved_bytes=400 * MIB,
)


class FakeTracer:
    """Gives traces made by hand, and counts how often it was started."""

    starts: ClassVar[list[dict[str, Any]]] = []
    error: Exception | None = None

    def __init__(self, target: str, settings: Settings, **options: Any) -> None:
        self.starts.append(options)

    def __enter__(self) -> FakeTracer:
        if self.error is not None:
            raise self.error
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def line(self, capability: tuple[int, int]) -> TraceLine:
        assert capability == (9, 0)
        return TraceLine(small=make_trace(2), large=make_trace(3))


@pytest.fixture(autouse=True)
def tracer(monkeypatch: pytest.MonkeyPatch) -> type[FakeTracer]:
    monkeypatch.setattr(FakeTracer, "starts", [])
    monkeypatch.setattr(forecast, "Tracer", FakeTracer)
    return FakeTracer


@pytest.fixture
def loaded(make_finding: Callable[..., Any]) -> Loaded:
    return Loaded(
        workload=make_finding().workload,
        environment=make_environment(device_name="NVIDIA H100 80GB HBM3"),
        device="cuda:0",
        budget=MemoryBudget(
            capacity_bytes=9000 * MIB,
            used_by_others_bytes=0,
            headroom_fraction=0.0,
            budget_bytes=OUTSIDE_BYTES + 4000 * MIB,
            bound_by="memory of the GPU",
        ),
        memory_is_enforced=True,
        peak_uncertainty_fraction=0.5,
    )


def test_what_is_held_besides_is_the_first_trials(loaded: Loaded) -> None:
    traced = TracedForecast("model.py", Settings())
    # 256 MiB stay, and a sample takes 32: 117 are 4,000.
    assert traced.propose(loaded, FIRST, timeout_s=10.0) == (4000 - 256) // 32
    assert traced.peak_bytes(100) == OUTSIDE_BYTES + (256 + 100 * 32) * MIB


def test_a_second_search_traces_no_more(loaded: Loaded, tracer: type[FakeTracer]) -> None:
    traced = TracedForecast("model.py", Settings())
    sizes = {traced.propose(loaded, FIRST, timeout_s=10.0) for _ in range(2)}
    assert len(sizes) == 1
    # A trial lets go of what the model returned.
    assert tracer.starts == [{"keeps_output": False, "timeout_s": 10.0}]


def test_a_trace_has_seconds_whatever_time_a_trial_has(
    loaded: Loaded, tracer: type[FakeTracer]
) -> None:
    TracedForecast("model.py", Settings()).propose(loaded, FIRST, timeout_s=900.0)
    assert tracer.starts[0]["timeout_s"] == 20.0


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "AMD EPYC"), ("mps", "Apple M3"), ("cuda:0", "AMD Instinct MI300X")],
)
def test_where_there_is_no_known_gpu_nothing_is_traced(
    loaded: Loaded, tracer: type[FakeTracer], device: str, name: str
) -> None:
    environment = make_environment(device_name=name)
    loaded = replace(loaded, device=device, environment=environment)
    assert TracedForecast("model.py", Settings()).propose(loaded, FIRST, timeout_s=10.0) is None
    assert tracer.starts == []


def test_what_cannot_be_traced_is_not_predicted(
    loaded: Loaded, tracer: type[FakeTracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "error", WorkloadError("reads values"))
    assert TracedForecast("model.py", Settings()).propose(loaded, FIRST, timeout_s=10.0) is None
    assert len(tracer.starts) == 1
