"""What a user sees of a command: the report, its last line, JSON, errors and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
LOOP = (sys.executable, "loop.py", "--batch-size", "16", "--lr", "0.05")


def run_autobatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autobatch", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture
def saved(folder: Path, tmp_path: Path) -> tuple[dict[str, Any], str]:
    """The finding of a search as JSON, and what `show` prints of it."""
    path = tmp_path / "finding.json"
    done = run_autobatch("probe", "--max-batch-size", "64", "-q", "-o", str(path), "--", *LOOP)
    assert done.returncode == 0, done.stderr
    shown = run_autobatch("show", str(path))
    assert shown.stdout == done.stdout
    return json.loads(path.read_text()), done.stdout


def test_a_search_begins_with_the_files_and_ends_with_the_command(
    saved: tuple[dict[str, Any], str],
) -> None:
    document, text = saved
    first, *_, last = text.splitlines()
    assert first.startswith("Files: ")
    size, rate = document["batch_size"], document["learning_rate"]
    expected = (*LOOP[:2], "--batch-size", str(size), "--lr", f"{rate:.6g}")
    assert last == " ".join(expected)
    command = document["workload"]["command"]
    assert command["following"] == last
    assert command["template"].endswith("loop.py --batch-size {batch_size} --lr 0.05")
    assert document["workload"]["base_batch_size"] == 16
    assert {trial["batch_size"] for trial in document["trials"]} >= {1, 2, 4, 8, 16}


def test_a_check_of_a_command_is_met_or_not(folder: Path) -> None:
    limits = ("--max-memory", "4GiB", "--max-step-time", "60s", "--time-limit", "5s")
    met = run_autobatch("check", *limits, "--", *LOOP)
    assert met.returncode == 0, met.stderr
    assert "batch size 16" in met.stdout
    unmet = run_autobatch("check", "--max-memory", "10MiB", "--time-limit", "5s", "--", *LOOP)
    assert unmet.returncode == 1, unmet.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["probe"], "there is neither a target nor a command", "autobatch probe model.py or"),
        (["probe", "model.py", "--", "python"], "there is a target, model.py, and", "give one"),
        (["probe", "--"], "there is no command after", "{batch_size}"),
        (["probe", "--fresh", "--resize", "--", "python"], "--fresh and --resize exclude", "one"),
        (["probe", "--precision", "bf16", "--", "python"], "--precision bf16 is for a", "itself"),
        (["probe", "--seed", "3", "--", "python"], "--seed 3 is for a target", "itself"),
        (["check", "model.py", "--", "python"], "there is a target, model.py, and", "only one"),
        (["probe", "--", "false"], "the command ended with exit status 1", "start it yourself"),
        (["probe", "--", "true"], "timed, and nothing has imported PyTorch", "start it yourself"),
        (["probe", "--", "python", "train.ipynb"], "train.ipynb is a notebook", "nbconvert"),
    ],
)
def test_what_cannot_be_done_is_said_with_one_hint(
    folder: Path, arguments: list[str], message: str, hint: str
) -> None:
    done = run_autobatch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert hint in done.stderr.partition("Hint:")[2]
    assert "Traceback" not in done.stderr
