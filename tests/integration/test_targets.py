"""Loading targets in a worker: what it finds, what it refuses, what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autobatch.errors import DeviceError, DeviceUnavailableError, WorkerError, WorkloadError
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import Purpose
from autobatch.records import Outcome, Precision, Settings

GIB = 2**30


def test_a_plain_script_is_loaded_and_described(probe: Callable[..., Any]) -> None:
    loaded = probe(
        """
        print("loading", flush=False)
        net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        criterion = nn.CrossEntropyLoss()
        dataset = [(torch.randn(8), 1)] * 40
        """,
        memory_limit_bytes=4 * GIB,
        headroom_fraction=0.25,
        variables={"MARK": "x", "PYTHONUNBUFFERED": ""},
    )
    answer = loaded.load()
    workload = answer.workload
    assert workload.model == "Sequential"
    assert workload.num_parameters == 8 * 16 + 16 + 16 * 3 + 3
    assert workload.loss == "CrossEntropyLoss"
    assert workload.dataset_size == 40
    assert workload.guesses == (
        "net is the model, as the only model in the file",
        "criterion is the loss, as the only loss in the file",
        "AdamW as the optimizer",
        "32 as the batch size trained with now",
    )
    assert answer.device == "cpu"
    assert answer.smallest_batch_size == 1
    assert answer.memory_is_enforced
    assert (answer.budget.bound_by, answer.budget.budget_bytes) == ("memory limit", 3 * GIB)
    assert answer.environment.isolation == "process"
    assert answer.environment.num_cores >= 1
    assert answer.environment.variables == {"MARK": "x", "PYTHONUNBUFFERED": ""}
    assert "loading" in loaded.printed


def test_environment_variables_are_there_before_anything_is_loaded(
    probe: Callable[..., Any],
) -> None:
    answer = probe(
        """
        import os
        assert os.environ["MARK"] == "from the command line"
        model = nn.Linear(4, 3)
        dataset = [(torch.randn(4), 1)] * 8
        """,
        variables={"MARK": "from the command line", "OMP_NUM_THREADS": "1"},
    ).load()
    assert answer.workload.num_threads == 1


def test_the_users_number_of_threads_is_respected(probe: Callable[..., Any]) -> None:
    prober = probe(
        """
        torch.set_num_threads(3)
        model = nn.Linear(4, 3)
        dataset = [(torch.randn(4), 1)] * 8
        def training_step(model, batch):
            print("threads", torch.get_num_threads())
            return model(batch[0]).sum()
        """
    )
    assert prober.load().workload.num_threads == 3
    assert prober.measure(4).outcome is Outcome.FITS
    assert {line for line in prober.printed if line.startswith("threads")} == {"threads 3"}


def test_batch_norm_needs_two_samples(probe: Callable[..., Any]) -> None:
    prober = probe(
        """
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        dataset = [(torch.randn(4), 1)] * 8
        """
    )
    answer = prober.load()
    assert answer.smallest_batch_size == 2
    assert answer.workload.has_batch_norm
    assert prober.measure(2).fits


def test_an_error_in_the_users_code_has_the_users_traceback_and_the_batch_size(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        class Net(nn.Linear):
            def forward(self, x):
                return super().forward(x)
        model = Net(9, 3)  # the data have 4 features
        dataset = [(torch.randn(4), 1)] * 8
        """
    )
    with pytest.raises(WorkloadError) as caught:
        prober.load()
    assert "RuntimeError in a trial at batch size 1: mat1 and mat2 shapes" in str(caught.value)
    assert "return super().forward(x)" in caught.value.user_traceback
    assert "autobatch/" not in caught.value.user_traceback
    assert "the traceback above" in caught.value.hint


def test_an_error_outside_of_the_users_code_shows_no_traceback_and_says_what_was_called(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        model = nn.Linear(9, 3)  # the data have 4 features
        dataset = [(torch.randn(4), 1)] * 8
        """
    )
    with pytest.raises(WorkloadError) as caught:
        prober.load()
    assert "raised by model(a float32 tensor of shape (1, 4))" in str(caught.value)
    assert caught.value.user_traceback == ""
    assert "traceback" not in caught.value.hint


GAN = """
generator, discriminator = nn.Linear(4, 4), nn.Linear(4, 1)
first = torch.optim.Adam(generator.parameters(), lr=0.25)
second = torch.optim.Adam(discriminator.parameters(), lr=0.25)
model = generator
dataset = [torch.randn(4)] * 64
def training_step(model, batch):
    assert float(discriminator.weight.detach().sum()) == weight
    for optimizer in (second, first):
        optimizer.zero_grad()
        discriminator(model(batch)).square().mean().backward()
        optimizer.step()
weight = float(discriminator.weight.detach().sum())
"""


def test_a_gan_that_steps_two_optimizers_is_measured_and_confirmed(
    probe: Callable[..., Any],
) -> None:
    prober = probe(GAN)
    workload = prober.load().workload
    assert workload.loss == "training_step(model, batch) with 2 optimizers of its own"
    assert (workload.optimizer, workload.base_learning_rate) == ("Adam", 0.25)
    assert workload.guesses == ("32 as the batch size trained with now",)
    trial = prober.measure(8)
    assert trial.fits
    assert trial.samples_per_s == pytest.approx(8 / trial.step_time_s)
    final = prober.measure(8, purpose=Purpose.FINAL, num_windows=3)
    assert final.fits
    assert final.loss_is_finite
    assert "does not evaluate" in final.eval_message


def test_a_syntax_error_is_the_users(probe: Callable[..., Any]) -> None:
    with pytest.raises(WorkloadError, match="SyntaxError") as caught:
        probe("model = (\n").load()
    assert "target_file.py" in caught.value.user_traceback


def test_a_worker_that_ends_while_loading_says_what_it_wrote_last(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        import os, sys
        sys.stderr.write("line\\n" * 100 + "the library gives up\\n")
        sys.stderr.flush()
        os._exit(7)
        """
    )
    with pytest.raises(WorkerError) as caught:
        prober.load()
    assert caught.value.exit_code == 7
    assert caught.value.stderr_tail.endswith("the library gives up")
    assert len(caught.value.stderr_tail.splitlines()) == 20
    assert "exit status 7 while the workload was loaded" in str(caught.value)


def test_a_target_that_is_never_loaded_is_given_up(probe: Callable[..., Any]) -> None:
    prober = probe("import time\ntime.sleep(600)\n")
    worker = prober.worker()
    with pytest.raises(WorkerError, match="more than 1 s"):
        prober.prober.load(timeout_s=1.0)
    assert not worker.is_running()


def test_a_device_that_is_not_there_is_an_error(write: Callable[..., str]) -> None:
    with (
        TargetProber(write("model = 1"), Settings(device="cuda:77")) as prober,
        pytest.raises(DeviceUnavailableError, match="cuda:77"),
    ):
        prober.load()


def test_a_precision_that_the_device_lacks_is_an_error(probe: Callable[..., Any]) -> None:
    with pytest.raises(DeviceError, match="`precision=tf32`") as caught:
        probe("model = 1", precision=Precision.TF32).load()
    assert "bf16" in caught.value.hint


def test_a_model_too_large_for_its_budget_is_no_error_of_the_user(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        model = nn.Linear(3000, 3000)  # 36 MB, the same again for each of its gradients and states
        dataset = [(torch.randn(3000), torch.randn(3000))] * 8
        """,
        memory_limit_bytes=64 * 2**20,
        headroom_fraction=0.0,
    )
    prober.load()
    assert prober.measure(1).outcome in (Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET)


def test_nothing_of_the_caller_changes(probe: Callable[..., Any]) -> None:
    import random
    import sys

    import torch

    before = (
        json.dumps(sys.argv),
        json.dumps(sys.path),
        random.getstate(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )
    prober = probe("model = nn.Linear(4, 3)\ndataset = [(torch.randn(4), 1)] * 8")
    prober.load()
    prober.measure(4)
    after = (
        json.dumps(sys.argv),
        json.dumps(sys.path),
        random.getstate(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
    )
    assert after == before
