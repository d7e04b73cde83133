"""Targets traced in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autobatch.errors import AutobatchError, WorkerError, WorkloadError
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import PlainFacts
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.records import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows Linux symbols")

CARD = PlainFacts(compute_capability=(8, 0), num_sms=108)
MODEL = """
import os, ctypes, time, torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        depth = int(torch.tensor(3).item())
        self.layers = nn.Sequential(*(nn.Linear(256, 256) for _ in range(depth)))

    def forward(self, x):
        if len(x) == 6:
            ctypes.string_at(0)
        if len(x) == 7:
            time.sleep(600)
        return self.layers(x)

model = Model
batch = lambda size: (torch.randn(size, 256), torch.randint(256, (size,)))
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("traced") / "traced_model.py"
    file.write_text(MODEL)
    return str(file)


def test_two_traces_tell_any_batch_size_and_a_crash_ends_nothing(target: str) -> None:
    with Tracer(target, Settings(), timeout_s=60.0) as tracer:
        assert tracer.loaded.workload.num_parameters == 3 * (256 * 256 + 256)
        line = tracer.line((8, 0))
        assert line is not None
        assert line.explain_difference(tracer.trace(16, (8, 0))) == ""
        with pytest.raises(WorkloadError, match="SIGSEGV while a step at batch size 6") as raised:
            tracer.trace(6, (8, 0))
        assert raised.value.hint
        small, large = (predict(tracer.at(size, (8, 0)), CARD) for size in (16, 4096))
        assert small.peak_requested_bytes < large.peak_requested_bytes


def test_a_step_that_hangs_is_given_up(target: str) -> None:
    with Tracer(target, Settings()) as tracer:
        tracer._timeout_s = 2.0  # that of a trace alone
        with pytest.raises(WorkloadError, match="no end after 2"):
            tracer.trace(7, (8, 0))


def test_a_constructor_that_crashes_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "crashing_model.py"
    file.write_text("import ctypes\nctypes.string_at(0)")
    with pytest.raises(WorkerError, match="exit status -11 while the model was made"):
        Tracer(str(file), Settings()).__enter__()


def test_a_model_larger_than_the_machine_is_traced() -> None:
    target = "hf:llama,num_hidden_layers=6,hidden_size=16384,intermediate_size=65536"
    target += ",num_attention_heads=128,num_key_value_heads=128,sequence_length=8"
    with Tracer(target, Settings()) as tracer:
        trace = tracer.at(4, (9, 0))
    assert tracer.loaded.workload.num_parameters > 2.5e10
    assert predict(trace, CARD).peak_requested_bytes > 16 * 2.5e10


def test_a_mistake_in_the_target_is_an_error_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text("")
    with pytest.raises(AutobatchError, match="missing: a model"):
        Tracer(str(file), Settings()).__enter__()
