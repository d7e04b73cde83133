"""Pipes that close early, and terminals: what is written where, and what it does to the status."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures.commands import ENVIRONMENT

TARGET = """
import torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 64
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(TARGET)
    return path


def start(arguments: Sequence[object], **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autobatch", *map(str, arguments)]
    return subprocess.run(command, text=True, env=ENVIRONMENT, timeout=240, **more)  # type: ignore[call-overload, no-any-return]


@contextmanager
def nobody_reads() -> Iterator[int]:
    """The end of a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--help",), 0),
        (("probe", "--help"), 0),
        (("devices", "--device", "cpu"), 0),
        (("devices", "--device", "cpu", "--json"), 0),
        (("check", "--device", "cpu", "--min-cores", "1", "-q"), 0),
        (("check", "--device", "cpu", "--min-cores", "100000", "-q"), 1),
        (("check", "--device", "cpu", "--min-cores", "100000", "-q", "--json"), 1),
    ],
)
def test_a_reader_that_leaves_early_does_not_change_the_status(
    arguments: tuple[str, ...], status: int
) -> None:
    with nobody_reads() as pipe:
        done = start(arguments, stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (status, "")


def test_an_error_that_nobody_reads_has_its_status_all_the_same() -> None:
    with nobody_reads() as pipe:
        assert start(["probe", "nothere.py"], stderr=pipe).returncode == 2


def test_output_of_the_target_that_nobody_reads_does_not_stop_the_search(target: Path) -> None:
    # More than a pipe holds: the worker would wait for ever for someone to read it.
    target.write_text(TARGET + "for _ in range(4000):\n    print('x' * 60)\n")
    with nobody_reads() as pipe:
        done = start(
            ["probe", target, "--max-batch-size", "2", "-v", "--json"],
            stdout=subprocess.PIPE,
            stderr=pipe,
        )
    assert done.returncode == 0
    assert json.loads(done.stdout)["batch_size"] <= 2


def on_a_terminal(target: Path, *arguments: str, term: str = "xterm") -> str:
    """What appears on a terminal that standard error is connected to, in the target's folder."""
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "autobatch", *arguments],
        cwd=target.parent,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**ENVIRONMENT, "TERM": term},
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(reader, 4096):
            shown += part
    except OSError:  # how a terminal says that its last writer has left
        pass
    os.close(reader)
    assert process.wait(timeout=240) == 0
    return shown.decode()


def test_a_terminal_shows_what_loading_does_and_for_how_long(target: Path) -> None:
    shown = on_a_terminal(target, "probe", target.name, "--goal", "memory", "--max-batch-size", "4")
    for doing in ("importing PyTorch", "making the model and its data", "running a first step"):
        assert re.search(rf"loading small\.py: {doing} \(\d+ s\)", " ".join(shown.split())), doing
    assert "batch 4: " in shown


@pytest.mark.parametrize("command", ["probe", "check", "compare"])
def test_a_dumb_terminal_gets_plain_lines(target: Path, command: str) -> None:
    options = {
        "probe": ("--goal", "memory", "--max-batch-size", "4"),
        "check": ("--batch-size", "4", "--max-memory", "100GiB"),
        "compare": ("--batch-sizes", "8", "--epochs", "1"),
    }[command]
    shown = on_a_terminal(target, command, target.name, *options, term="dumb")
    assert "\x1b" not in shown
    first, *others = shown.splitlines()
    assert first == "loading small.py"
    assert len(others) >= 2
