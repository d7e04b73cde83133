"""Target files, and the processes that they run in."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings, Trial


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a target file and return its path; ``torch`` and ``nn`` are imported in it."""
    return _writer(tmp_path)


@pytest.fixture(scope="module")
def write_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Like ``write``, for what the tests of a module share."""
    return _writer(tmp_path_factory.mktemp("targets"))


def _writer(folder: Path) -> Callable[..., str]:
    def write_file(code: str, name: str = "target_file.py") -> str:
        file = folder / name
        file.write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        return str(file)

    return write_file


class Probe:
    """A prober, with the shortest of trials and what the user's code printed."""

    def __init__(self, path: str, settings: dict[str, Any]) -> None:
        self.printed: list[str] = []
        self.prober = TargetProber(
            path, Settings(device="cpu", **settings), on_output=self.printed.append
        )

    def load(self) -> Any:
        return self.prober.load()

    def measure(self, batch_size: int, *, timeout_s: float | None = None, **plan: Any) -> Trial:
        plan = {"num_warmup_steps": 2, "min_steps": 1, "max_time_s": 0.0, **plan}
        return self.prober.measure(batch_size, TimingPlan(**plan), timeout_s=timeout_s)

    def worker(self) -> psutil.Process:
        """The worker, as the operating system sees it."""
        worker = self.prober._worker
        assert worker is not None
        return psutil.Process(worker._process.pid)


@pytest.fixture
def probe(write: Callable[..., str]) -> Iterator[Callable[..., Probe]]:
    """Start a prober for code; its worker, and all that it started, must be gone afterwards."""
    yield from _probes(write)


@pytest.fixture(scope="module")
def probe_once(write_once: Callable[..., str]) -> Iterator[Callable[..., Probe]]:
    """Like ``probe``, for what the tests of a module share."""
    yield from _probes(write_once)


def _probes(write_file: Callable[..., str]) -> Iterator[Callable[..., Probe]]:
    started: list[Probe] = []

    def start(code: str, shape: str = "", **settings: Any) -> Probe:
        probe = Probe(write_file(code) + shape, settings)
        probe.prober.__enter__()
        started.append(probe)
        return probe

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield start
    sessions = {child.pid for child in psutil.Process().children()} - before
    for probe in started:
        probe.prober.__exit__(None, None, None)
    # Orphans are ended with the rest; collecting them is up to the machine's first process.
    left = [each for each in psutil.process_iter() if _session(each.pid) in sessions]
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
