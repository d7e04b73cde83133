"""What goes wrong around a search, and what must be left of it. Real processes, real signals."""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fixtures.commands import start_autobatch, wait_for

if sys.platform != "linux":
    pytest.skip("reads /proc, and limits resources", allow_module_level=True)

TOKEN_NAME = "AUTOBATCH_TEST_TOKEN"
SLOW_STEPS = """
import time
import torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 100_000

def training_step(model, batch):
    time.sleep(0.1)
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
"""
SMALL = """
import torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 64
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a search of a target; whatever it starts must be gone afterwards."""
    token = secrets.token_hex(8)

    def start_search(
        text: str, *arguments: str, stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        target = tmp_path / "target.py"
        target.write_text(text)
        return start_autobatch("probe", target, *arguments, stdout=stdout, **{TOKEN_NAME: token})

    yield start_search
    deadline = time.monotonic() + 10
    while find_processes(token) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [process.cmdline() for process in find_processes(token)] == []


def find_processes(token: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            variables = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if token.encode() in variables:
            found.append(process)
    return found


def assert_one_error(stderr: str, text: str) -> None:
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, stderr
    assert text in errors[0]
    assert "Traceback" not in stderr


def test_sigterm_ends_a_search_like_ctrl_c(start: Start, tmp_path: Path) -> None:
    saved = tmp_path / "best.json"
    process = start(SLOW_STEPS, "-o", str(saved))
    wait_for(process, "^batch 2: fits")
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "best answer so far" in stderr
    assert json.loads(saved.read_text())["stop_reason"] == "interrupted"


@pytest.mark.parametrize("delay_s", [0.2, 0.5, 0.9])
def test_ctrl_c_while_it_starts_shows_no_traceback(start: Start, delay_s: float) -> None:
    process = start(SLOW_STEPS)
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    # Earlier than this code runs, Python's own start is interrupted.
    assert process.returncode in (130, -signal.SIGINT)
    assert "autobatch/" not in stderr


def test_a_finding_that_cannot_be_saved_is_printed_all_the_same(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    process = start(SMALL, "--json", "--max-batch-size", "4", "-o", str(folder / "finding.json"))
    wait_for(process, "^batch 1: fits")
    folder.rmdir()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert_one_error(stderr, "there is no folder")
    assert json.loads(stdout)["batch_size"] in (1, 2, 4)


def test_an_interrupted_search_that_cannot_save_shows_its_answer(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    process = start(SLOW_STEPS, "-o", str(folder / "finding.json"))
    wait_for(process, "^batch 2: fits")
    folder.rmdir()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Not saved: " in stderr
    assert "best answer so far" in stderr
    assert "Batch size 2:" in stderr


def test_a_failed_search_that_cannot_save_says_why_it_failed(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    no_folder = f"assert __import__('os').path.exists({str(folder)!r}), 'no'"
    text = SLOW_STEPS.replace("time.sleep(0.1)", f"time.sleep(0.1); {no_folder}")
    folder.mkdir()
    process = start(text, "-o", str(folder / "finding.json"))
    wait_for(process, "^batch 1: fits")
    folder.rmdir()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Not saved: " in stderr
    assert "Error: AssertionError in a trial at batch size 1: no" in stderr


def test_a_file_that_takes_no_more_is_an_error_and_no_draft_is_left(
    start: Start, tmp_path: Path
) -> None:
    process = start(SMALL, "--json", "--max-batch-size", "4", "-o", str(tmp_path / "finding.json"))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (512, 512))
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert_one_error(stderr, "finding.json")
    assert json.loads(stdout)["batch_size"] in (1, 2, 4)
    left = {path.name for path in tmp_path.iterdir()} - {"target.py", "__pycache__"}
    assert left == set()


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_a_full_standard_output_is_an_error(start: Start, arguments: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        process = start(SMALL, "--max-batch-size", "4", *arguments, stdout=full)
    finally:
        os.close(full)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert_one_error(stderr, "cannot write to standard output")
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize("delay_s", [0.4, 1.0, 1.6])
def test_a_parent_that_is_killed_while_the_worker_starts_leaves_none_behind(
    start: Start, delay_s: float
) -> None:
    process = start("import time\ntime.sleep(600)\n")
    time.sleep(delay_s)
    process.kill()
    process.communicate(timeout=60)  # the fixture looks for what is left


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("raise type('Mute', (RuntimeError,), {'__str__': lambda self: 1 / 0})()", "Mute"),
        ("raise SystemExit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
    ids=["mute", "exit", "interrupt"],
)
@pytest.mark.parametrize("place", ["step", "load"])
def test_whatever_the_users_code_raises_is_one_clear_error(
    start: Start, place: str, statement: str, text: str
) -> None:
    code = f"{SMALL}{statement}\n"
    if place == "step":
        code = f"{SMALL}def training_step(model, batch):\n    {statement}\n"
    process = start(code)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2
    assert stdout == ""
    assert len([line for line in stderr.splitlines() if line.startswith("Error: ")]) == 1
    if (place, text) != ("load", "SystemExit"):  # which has a message of its own
        assert text in stderr
    assert "autobatch/probe" not in stderr, "a frame of ours is shown"
