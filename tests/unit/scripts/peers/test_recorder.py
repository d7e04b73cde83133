from __future__ import annotations

from pathlib import Path

import torch

from scripts.peers.recorder import Recorder, read_steps, read_steps_of
from scripts.peers.workloads import Pool, Workload


def test_steps_of_one_size_are_one_trial() -> None:
    steps = read_steps("1 2\n1 end\n1 2\n1 end\n1 4\n1 end\n")
    assert steps.trials == (2, 4)
    assert steps.failed == ()
    assert steps.finished == (2, 4)
    assert steps.num_steps == 3


def test_a_step_that_never_ended_is_a_failure() -> None:
    steps = read_steps("1 4\n1 end\n1 8\n1 4\n1 end\n")
    assert steps.trials == (4, 8, 4)
    assert steps.failed == (8,)
    assert steps.finished == (4,)


def test_a_process_that_died_in_its_last_step_has_failed() -> None:
    assert read_steps("1 4\n2 8\n1 end\n").failed == (8,)


def test_the_same_size_again_after_a_failure_is_a_trial_of_its_own() -> None:
    assert read_steps("1 8\n1 8\n1 end\n").trials == (8, 8)


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert read_steps("1 4\n1 end\n1 12").trials == (4,)


def test_training_is_recorded_and_evaluation_is_not(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 1)
    workload = Workload(
        model=model,
        dataset=Pool(10, lambda: (torch.ones(3), torch.ones(1))),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loss=torch.nn.functional.mse_loss,
    )
    Recorder(str(tmp_path / "steps")).watch(workload)
    workload.train(4, 3)
    model.eval()
    model(torch.ones(2, 3))
    steps = read_steps_of(tmp_path / "steps")
    assert steps.trials == (4,)
    assert steps.failed == ()
    assert steps.num_steps == 3


def test_no_file_is_no_steps(tmp_path: Path) -> None:
    assert read_steps_of(tmp_path / "none").num_steps == 0
