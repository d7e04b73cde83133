"""``autobatch compare`` as a person meets it: real training in real processes."""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fixtures.commands import press_ctrl_c, run_autobatch, start_autobatch, wait_for

from autobatch.compare.cli import SHARED_NAMES
from autobatch.compare.cli import compare as command_object

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
compare = partial(run_autobatch, "compare")

REGRESSION = """
import os, signal, time
import torch
torch.manual_seed(0)
features = torch.randn(200, 4)
dataset = torch.utils.data.TensorDataset(features, features.sum(dim=1, keepdim=True))
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.05)
loss = torch.nn.MSELoss()
batch_size = 16
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.py"
    path.write_text(REGRESSION)
    return path


def runs_of(document: Any) -> dict[int, Any]:
    return {run["batch_size"]: run for run in document["runs"]}


def test_sizes_are_trained_saved_drawn_and_chosen_from(target: Path, tmp_path: Path) -> None:
    saved, plot = tmp_path / "comparison.json", tmp_path / "loss.svg"
    options = ("--batch-sizes", "1,32,full", "--epochs", "3", "-o", saved, "--plot", plot)
    done = compare(target, *options, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads(saved.read_text())
    runs = runs_of(document)
    assert set(runs) == {1, 32, 160}
    assert [epoch["num_iterations"] for epoch in runs[32]["epochs"]] == [5, 5, 5]
    assert runs[160]["is_full_batch"]
    assert document["batch_size"] in runs
    # The linear rule, from 0.05 at 16.
    assert runs[32]["learning_rate"] == pytest.approx(0.1)
    for run in runs.values():
        assert run["outcome"] == "finished"
        assert run["epochs"][-1]["validation_loss"] < run["epochs"][0]["validation_loss"]
        assert run["peak_bytes"] > 2**20
    assert plot.read_text().lstrip().startswith("<?xml")
    assert "batch 32: finished, 3 of 3 epochs" in done.stderr
    shown = run_autobatch("show", saved)
    assert shown.returncode == 0, shown.stderr
    assert "160 to train on, 40 held out" in shown.stdout


def test_the_example_shows_mini_batches_ahead_and_full_batch_smooth(tmp_path: Path) -> None:
    plot = tmp_path / "loss.svg"
    options = ("--epochs", "64", "--lr-rule", "none", "--validation", "0", "--plot", plot)
    done = compare(EXAMPLES / "regression_mlp.py", "--batch-sizes", "64,full", *options, "--json")
    assert done.returncode == 0, done.stderr
    runs = runs_of(json.loads(done.stdout))
    assert [runs[size]["epochs"][0]["num_iterations"] for size in (64, 1000)] == [16, 1]
    assert runs[64]["learning_rate"] == runs[1000]["learning_rate"] == 0.01
    # Full batch goes down with every update, mini-batches by no means.
    falls = {
        size: [after < before for before, after in pairwise(run["losses"])]
        for size, run in runs.items()
    }
    assert all(falls[1000])
    assert 0.2 < falls[64].count(False) / len(falls[64]) < 0.6
    final = {size: run["epochs"][-1]["train_loss"] for size, run in runs.items()}
    assert final[64] < 0.25 * final[1000]
    assert plot.exists()


def test_each_size_ends_where_it_reaches_the_target(target: Path) -> None:
    options = ("--batch-sizes", "4,64", "--epochs", "50", "--target-loss", "1.5", "--json")
    done = compare(target, *options, "--stop-at-target")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    for run in runs_of(document).values():
        assert run["outcome"] == "finished"
        losses = [epoch["validation_loss"] for epoch in run["epochs"]]
        assert losses[-1] <= 1.5 < min(losses[:-1], default=2.0)
    assert "soonest" in document["reason"]
    assert done.stderr.count(": reached the target, ") == 2


def test_all_sizes_begin_with_the_same_weights(target: Path) -> None:
    options = ("--batch-sizes", "159,full", "--epochs", "1", "--lr", "1e-9", "--json")
    runs = runs_of(json.loads(compare(target, *options).stdout))
    # At a rate of next to nothing the loss held out is that of the first weights.
    first, second = (run["epochs"][0]["validation_loss"] for run in runs.values())
    assert first == pytest.approx(second, rel=1e-5)


def test_a_diverging_run_is_reported_and_the_others_go_on(target: Path) -> None:
    options = ("--batch-sizes", "8,full", "--epochs", "40", "--lr", "0.05", "--lr-rule", "linear")
    done = compare(target, *options, "--base-batch-size", "8", "--json")
    assert done.returncode == 0, done.stderr
    runs = runs_of(json.loads(done.stdout))
    assert runs[160]["outcome"] == "diverged"
    assert "the loss is" in runs[160]["message"]
    assert runs[8]["outcome"] in ("finished", "diverged")


def test_a_size_that_kills_its_process_does_not_end_the_others(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(
        REGRESSION
        + "def training_step(model, batch):\n"
        + "    if len(batch[0]) == 64:\n"
        + "        os.kill(os.getpid(), signal.SIGKILL)\n"
        + "    return loss(model(batch[0]), batch[1])\n"
    )
    done = compare(target, "--batch-sizes", "16,64,full", "--epochs", "2", "--json")
    assert done.returncode == 0, done.stderr
    outcomes = {size: run["outcome"] for size, run in runs_of(json.loads(done.stdout)).items()}
    assert outcomes == {16: "finished", 64: "killed", 160: "finished"}


def test_where_nothing_can_be_trained_the_status_says_so(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(
        REGRESSION
        + "def training_step(model, batch):\n"
        + "    if len(batch[0]) > 1:\n"
        + "        raise ValueError('one at a time')\n"
        + "    return loss(model(batch[0]), batch[1])\n"
    )
    done = compare(target, "--batch-sizes", "16,full", "--epochs", "2")
    assert done.returncode == 1
    assert "one at a time" in done.stdout
    assert "no size was trained to the end" in " ".join(done.stdout.split())


SLOW = """
def training_step(model, batch):
    time.sleep(0.02)
    return loss(model(batch[0]), batch[1])
"""


def test_ctrl_c_keeps_what_was_done_and_resume_goes_on(target: Path, tmp_path: Path) -> None:
    target.write_text(REGRESSION + SLOW)
    saved = tmp_path / "comparison.json"
    options = ("--batch-sizes", "full,1", "--epochs", "3")
    process = start_autobatch("compare", target, *options, "-o", saved)
    wait_for(process, r"\(full\): finished")
    time.sleep(0.5)
    out, err = press_ctrl_c(process)
    assert out == ""
    assert "Interrupted; what was done so far" in err
    kept = json.loads(saved.read_text())
    assert runs_of(kept)[160]["outcome"] == "finished"
    assert runs_of(kept)[1]["outcome"] == "unfinished"
    target.write_text(REGRESSION)  # the same workload, quick
    done = compare(target, *options, "--resume", saved, "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["is_complete"]
    assert runs_of(again)[160] == runs_of(kept)[160], "trained once more"
    assert json.loads(saved.read_text()) == again


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--batch-sizes", "300,full"], ["300 and full", "160 samples"]),
        (["--batch-sizes", "1,two"], ["--batch-sizes must be", "got '1,two'"]),
        (["--batch-sizes", "4,4"], ["twice"]),
        (["--epochs", "0"], ["--epochs", "'0'"]),
        (["--target-loss", "low"], ["--target-loss", "'low'"]),
        (["--stop-at-target"], ["--stop-at-target needs --target-loss"]),
        (["--resume", "none.json"], ["none.json", "no such file"]),
        (["--plot", "loss.gif"], ["loss.gif"]),
        (["-o", "/dev/full"], ["/dev/full"]),
    ],
)
def test_bad_input_is_one_error_with_one_hint(
    target: Path, arguments: list[str], texts: list[str]
) -> None:
    done = compare(target, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    flat = " ".join(done.stderr.split())
    for text in texts:
        assert text in flat
    assert flat.count("Error: ") == 1
    assert flat.count("Hint: ") == 1


def test_full_of_a_stream_without_a_length_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(
        REGRESSION
        + "class Stream(torch.utils.data.IterableDataset):\n"
        + "    def __iter__(self):\n"
        + "        while True:\n"
        + "            time.sleep(0.001)\n"
        + "            yield torch.randn(4), torch.randn(1)\n"
        + "dataset = Stream()\n"
    )
    done = compare(target, "--batch-sizes", "4,full", "--epochs", "1")
    assert done.returncode == 2
    assert "'full' of an iterable dataset" in done.stderr


def test_the_settings_that_it_shares_with_a_search_reach_the_training(target: Path) -> None:
    target.write_text(REGRESSION + "print('variable', os.environ.get('MY_VARIABLE'))\n" + REPORT)
    arguments: dict[str, str] = {
        "--device": "cpu",
        "--memory-limit": "4GiB",
        "--headroom": "25%",
        "--tolerance": "7%",
        "--precision": "bf16",
        "--lr": "0.5",
        "--base-batch-size": "8",
        "--lr-rule": "sqrt",
        "--seed": "77",
        "--env": "MY_VARIABLE=5",
    }
    flat = [part for pair in arguments.items() for part in pair]
    done = compare(target, "--batch-sizes", "32", "--epochs", "1", "--json", "-v", *flat)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["device"] == "cpu"
    assert document["settings"]["memory_limit_bytes"] == 4 * 2**30
    assert document["settings"]["headroom_fraction"] == 0.25
    assert document["asked"]["tolerance_fraction"] == 0.07
    assert document["runs"][0]["learning_rate"] == pytest.approx(1.0)
    for line in ("variable 5", "autocast True", "seed 77"):
        assert line in done.stderr
    shared = {
        max(parameter.opts, key=len)
        for parameter in command_object.params
        if parameter.name in SHARED_NAMES
    }
    assert shared | {"--tolerance"} == set(arguments)


REPORT = """
def training_step(model, batch):
    print("autocast", torch.is_autocast_enabled("cpu"), "seed", torch.initial_seed())
    return loss(model(batch[0]), batch[1])
"""
