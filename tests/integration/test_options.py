"""Every option of ``probe`` reaches the trial, or the answer."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from fixtures.commands import run_autobatch

from autobatch.cli.probe import probe
from autobatch.command.settings import CommandSettings
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Settings
from autobatch.records.options import options_of

TARGET = """
import os, torch
model = torch.nn.Linear(8, 4)
dataset = [(torch.randn(8), index % 4) for index in range(200)]
optimizer = torch.optim.Adam
"""

# The option, and what must then be true of the finding.
EFFECTS: dict[str, tuple[list[str], Any]] = {
    "--device": (["--device", "cpu"], lambda f: f["device"] == "cpu"),
    "--memory-limit": (
        ["--memory-limit", "2GiB"],
        lambda f: f["capacity_bytes"] == 2 * 2**30 and f["bound_by"] == "memory limit",
    ),
    "--headroom": (
        ["--headroom", "25%", "--memory-limit", "2GiB"],
        lambda f: f["budget_bytes"] == 1.5 * 2**30 and f["headroom_fraction"] == 0.25,
    ),
    "--min-batch-size": (
        ["--min-batch-size", "3"],
        lambda f: min(t["batch_size"] for t in f["trials"]) == 3,
    ),
    "--max-batch-size": (
        ["--max-batch-size", "4", "--goal", "memory"],
        lambda f: f["batch_size"] == 4 and f["stop_reason"] == "cap",
    ),
    "--grid": (
        ["--grid", "multiple:8"],
        lambda f: f["settings"]["grid_multiple"] == 8,
    ),
    "--goal": (
        ["--goal", "memory"],
        lambda f: f["batch_size"] == f["largest_batch_size"] == 16,
    ),
    "--tolerance": (["--tolerance", "50%"], lambda f: "50 %" in f["reason"]),
    "--gradient-noise": (
        ["--gradient-noise", "--max-batch-size", "4"],
        lambda f: f["gradient_noise"]["num_micro_batches"] >= 16 and f["efficiency"],
    ),
    "--precision": (["--precision", "bf16"], lambda f: "autocast: True" in f["stderr"]),
    "--dataset-size": (
        ["--dataset-size", "1050", "--min-batch-size", "10", "--max-batch-size", "10"],
        lambda f: f["iterations_per_epoch"] == 105 and f["last_batch_size"] == 10,
    ),
    "--drop-last": (
        ["--drop-last", "--min-batch-size", "16"],
        lambda f: f["iterations_per_epoch"] == 12 and f["drop_last"],
    ),
    "--lr": (
        ["--lr", "0.5", "--lr-rule", "none"],
        lambda f: f["learning_rate"] == 0.5,
    ),
    "--base-batch-size": (
        ["--base-batch-size", "8", "--min-batch-size", "16", "--lr-rule", "linear"],
        lambda f: f["learning_rate_multiplier"] == 2 and f["base_batch_size"] == 8,
    ),
    "--lr-rule": (
        ["--lr-rule", "sqrt", "--min-batch-size", "16", "--base-batch-size", "4"],
        lambda f: f["learning_rate_rule"] == "sqrt" and f["learning_rate_multiplier"] == 2,
    ),
    "--global-batch-size": (
        ["--global-batch-size", "48", "--min-batch-size", "16", "--max-batch-size", "16"],
        lambda f: f["global_batch_size"] == 48 and f["gradient_accumulation_steps"] == 3,
    ),
    "--gradient-accumulation-steps": (
        ["--gradient-accumulation-steps", "3"],
        lambda f: (
            f["gradient_accumulation_steps"] == 3
            and f["global_batch_size"] == 3 * f["batch_size"]
            and f["accumulation"] is not None
        ),
    ),
    "--rehearse": (
        ["--rehearse"],
        lambda f: (
            f["rehearsal"]["batch_size"] == f["batch_size"]
            and all(stage["fits"] for stage in f["rehearsal"]["stages"])
        ),
    ),
    "--memory-breakdown": (
        ["--memory-breakdown"],
        lambda f: f["breakdown"]["weights_bytes"] == 4 * (8 * 4 + 4),
    ),
    "--num-devices": (
        ["--num-devices", "2", "--min-batch-size", "16"],
        lambda f: f["num_devices"] == 2 and f["global_batch_size"] == 32,
    ),
    "--price-per-hour": (
        ["--price-per-hour", "2.5", "--goal", "memory", "--max-batch-size", "2"],
        lambda f: f["epoch_price"] == pytest.approx(f["epoch_time_s"] / 3600 * 2.5),
    ),
    "--time-limit": (
        ["--time-limit", "1h"],
        lambda f: f["settings"]["time_limit_s"] == 3600,
    ),
    "--trial-timeout": (
        ["--trial-timeout", "7min"],
        lambda f: f["settings"]["trial_timeout_s"] == 420,
    ),
    "--seed": (["--seed", "77"], lambda f: "seed: 77" in f["stderr"]),
    "--eval": (
        ["--eval"],
        lambda f: f["eval_batch_size"] == 16 and f["eval_is_largest"] and f["eval_trials"],
    ),
    "--by-length": (["--by-length"], lambda f: f["settings"]["by_length"]),
    "--env": (
        ["--env", "MY_VARIABLE=5"],
        lambda f: (
            "variable: 5" in f["stderr"] and f["environment"]["variables"] == {"MY_VARIABLE": "5"}
        ),
    ),
}

# What follows the target behind commas, and what must then be true of the finding.
SHAPES: dict[str, tuple[str, Any]] = {
    "input": ("{file},input=8", lambda f: f["workload"]["data"] == "random inputs 8"),
    "classes": (
        "{file},input=8,classes=4",
        lambda f: f["workload"]["data"] == "random inputs 8, 4 classes",
    ),
    "vocabulary": (
        "{file},input=8,vocabulary=9",
        lambda f: f["workload"]["data"] == "random tokens below 9 8",
    ),
    "configuration": (
        "hf:gpt2,n_layer=1,n_embd=24,vocabulary=96,sequence_length=8",
        lambda f: f["workload"]["num_parameters"] == 24 * (96 + 1024) + 12 * 24**2 + 15 * 24,
    ),
    "sequence_length": (
        "hf:gpt2,n_layer=1,n_embd=24,vocab_size=96,sequence_length=12",
        lambda f: f["workload"]["data"] == "random tokens below 96, 12 long",
    ),
}

# The others are tried without a race for the fastest size, which takes longer than all the rest.
OF_THROUGHPUT = ("--tolerance", "--gradient-noise")

REPORT = """
def training_step(model, batch):
    x = batch if isinstance(batch, torch.Tensor) else batch[0]
    print("autocast:", torch.is_autocast_enabled("cpu"), "seed:", torch.initial_seed(),
          "variable:", os.environ.get("MY_VARIABLE"))
    return model(x.float()).square().mean()
"""


@pytest.mark.parametrize("option", EFFECTS)
def test_the_option_has_its_effect(option: str, tmp_path: Path) -> None:
    arguments, holds = EFFECTS[option]
    assert option in arguments
    if "--max-batch-size" not in arguments and "--global-batch-size" not in arguments:
        arguments = [*arguments, "--max-batch-size", "16"]
    if option not in OF_THROUGHPUT and "--goal" not in arguments:
        arguments = [*arguments, "--goal", "memory"]
    assert holds(find("{file}", tmp_path, arguments))


@pytest.mark.parametrize("value", SHAPES)
def test_what_follows_the_target_has_its_effect(value: str, tmp_path: Path) -> None:
    target, holds = SHAPES[value]
    if target.startswith("hf:") and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    finding = find(target, tmp_path, ["--goal", "memory", "--max-batch-size", "2"])
    assert finding["target"] == target.format(file=tmp_path / "target.py")
    assert holds(finding)


def find(target: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    file = folder / "target.py"
    file.write_text(TARGET + REPORT)
    target = target.format(file=file)
    done = run_autobatch(
        "probe", target, "--json", "-v", *arguments, cwd=folder, HF_HUB_OFFLINE="1"
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


def test_the_noise_of_random_data_is_refused_before_the_search(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(TARGET + REPORT)
    done = run_autobatch("probe", f"{target},input=8", "--goal", "efficiency")
    assert done.returncode == 2
    assert "needs real data" in done.stderr
    assert "batch 1:" not in done.stderr


def test_every_option_of_a_search_is_tried_above() -> None:
    names = {
        max(parameter.opts, key=len)
        for parameter in probe.params
        if parameter.param_type_name == "option"
    }
    of_output = {"--json", "--output", "--plot", "--html", "--force", "--quiet", "--verbose"}
    of_output |= {"--reuse"}
    # A command is tried in tests/integration/command.
    of_command = {each.flag for each in options_of(CommandSettings).values()}
    # And so are ranks, in tests/integration/ranks.
    of_ranks = {each.flag for each in options_of(RanksSettings).values()}
    # And what grows, in tests/integration/test_axis.py.
    of_axis = {"--axis", "--batch-size"}
    assert names - of_output - of_command - of_ranks - of_axis == set(EFFECTS)
    assert {each.flag for each in options_of(Settings).values()} - of_axis == set(EFFECTS)
