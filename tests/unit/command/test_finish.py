from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.command.finish import complete
from autobatch.command.launch import Protection
from autobatch.command.settings import FileProtection
from autobatch.command.template import parse_command
from autobatch.records import Contention, Finding, LearningRateRule
from autobatch.reporting import render


@pytest.fixture
def completed(make_finding: Callable[..., Finding]) -> Callable[..., Finding]:
    """A finding that recommends 64 for a command, with what its runs were seen to do."""

    def make(
        *arguments: str,
        rates: dict[int, float] | None = None,
        own: tuple[int, int] | None = None,
        contention: Contention | None = None,
        **seen: Any,
    ) -> Finding:
        finding = replace(make_finding(), contention=contention)
        changed = replace(
            finding.recommendation,
            batch_size=64,
            base_batch_size=32,
            base_learning_rate=0.1,
            learning_rate=0.2,
            gradient_accumulation_steps=4,
        )
        starts = SimpleNamespace(**{"trackers": ("wandb",), "written": {}, **seen})
        prober: Any = SimpleNamespace(
            template=parse_command(arguments, {"BS": "{batch_size}"} if not arguments[2:] else {}),
            protection=Protection(kind=FileProtection.OVERLAY, root="/home/me/project"),
            starts=starts,
            passed=SimpleNamespace(rates=rates or {}, own=own),
        )
        return complete(replace(finding, recommendation=changed), prober)

    return make


def following(finding: Finding) -> str:
    assert finding.workload.command is not None
    return finding.workload.command.following


def test_the_command_has_size_accumulation_and_rate_filled_in(
    completed: Callable[..., Finding],
) -> None:
    arguments = ("python", "train.py", "-b", "{batch_size}", "--acc={accumulation}", "--lr", "0.1")
    text = following(completed(*arguments))
    assert text == "python train.py -b 64 --acc=4 --lr 0.2"


def test_a_size_in_the_environment_stands_before_the_command(
    completed: Callable[..., Finding],
) -> None:
    assert following(completed("python", "train.py")) == "BS=64 python train.py"


def test_a_script_that_scales_its_own_rate_is_left_alone(
    completed: Callable[..., Finding],
) -> None:
    arguments = ("python", "train.py", "-b", "{batch_size}", "--lr", "0.1")
    finding = completed(*arguments, rates={16: 0.1, 64: 0.4})
    recommendation = finding.recommendation
    assert recommendation.learning_rate == 0.4
    assert recommendation.learning_rate_rule is LearningRateRule.NONE
    assert recommendation.learning_rate_reason == (
        "the script scales its own learning rate linearly: 0.1 at 16 and 0.4 at 64; leave it"
    )
    assert following(finding) == "python train.py -b 64 --lr 0.1"
    same = completed(*arguments, rates={16: 0.1, 64: 0.1})
    assert same.recommendation.learning_rate == 0.2


def test_the_report_begins_with_the_files_and_ends_with_the_command(
    completed: Callable[..., Finding], printed: Callable[..., str]
) -> None:
    finding = completed(
        *("python", "train.py", "-b", "{batch_size}"),
        written={f"/data/{number}.pt": "write" for number in range(10)},
    )
    lines = printed(render, finding, width=400).strip().splitlines()
    files = "what trials wrote below /home/me/project was thrown away (overlay)"
    assert lines[0] == f"Files: {files}"
    assert lines[-1] == "python train.py -b 64"
    assert "  turned off: wandb" in lines
    words = " ".join(" ".join(lines).split())
    assert "written all the same: /data/0.pt, /data/1.pt" in words
    assert "/data/7.pt and 2 more" in words


def test_what_helped_against_busy_cores_is_part_of_the_command(
    completed: Callable[..., Finding],
) -> None:
    contention = Contention(
        others_busy_cores=1.0,
        num_cores=2,
        num_threads=None,
        variables={"OMP_WAIT_POLICY": "PASSIVE"},
        speedup=3.0,
        batch_size=64,
    )
    finding = completed("python", "train.py", "-b", "{batch_size}", contention=contention)
    assert following(finding) == "OMP_WAIT_POLICY=PASSIVE python train.py -b 64"
    fewer = replace(contention, num_threads=1, variables={})
    finding = completed("python", "train.py", "-b", "{batch_size}", contention=fewer)
    assert following(finding) == "OMP_NUM_THREADS=1 python train.py -b 64"


def test_an_argument_that_sets_no_batch_size_is_not_filled_in(
    completed: Callable[..., Finding],
) -> None:
    arguments = ("python", "train.py", "--test-batch-size", "{batch_size}")
    finding = completed(*arguments, own=(8, 64))
    assert following(finding) == ""
    assert finding.workload.command is not None
    note = "its loader made batches of 8 when --test-batch-size was 64"
    assert f"set the batch size in the script: {note}" in finding.workload.command.notes
    assert following(completed(*arguments, own=(64, 64))).endswith("--test-batch-size 64")
