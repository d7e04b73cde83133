"""The campaign on the replayed device: a run that was cut off goes on where it was."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scripts.gpu import replayed
from scripts.gpu.replayed import Case


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, int]]:
    """What a campaign of two workloads under three capacities examines."""
    ran: list[tuple[str, int]] = []

    def examine(name: str, capacity_bytes: int) -> Case:
        ran.append((name, capacity_bytes))
        truth = capacity_bytes // 100
        return Case(
            workload=name, capacity_bytes=capacity_bytes, truth=truth, memory=truth, fastest=truth
        )

    monkeypatch.setattr(replayed, "prepare", lambda: None)
    monkeypatch.setattr(replayed, "choose_capacities", lambda name, count: [100, 200, 400][:count])
    monkeypatch.setattr(replayed, "examine", examine)
    file = str(tmp_path / "cases.json")
    monkeypatch.setattr(sys, "argv", ["replayed", "cnn", "gpt", "--caps", "3", "--json", file])
    return ran


def test_cases_that_were_written_are_not_run_again(
    examined: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cases.json"
    assert replayed.main() == 0
    assert len(examined) == 6
    file.write_text(json.dumps(json.loads(file.read_text())[:4]))
    examined.clear()
    assert replayed.main() == 0
    assert examined == [("cnn", 400), ("gpt", 400)]
    assert len(json.loads(file.read_text())) == 6
    assert "6 cases, 0 wrong" in capsys.readouterr().out


def test_a_written_case_that_is_wrong_stays_wrong(
    examined: list[tuple[str, int]], tmp_path: Path
) -> None:
    file = tmp_path / "cases.json"
    wrong = {"workload": "cnn", "capacity_bytes": 100, "truth": 1, "memory": 2, "fastest": 1}
    file.write_text(json.dumps([wrong]))
    assert replayed.main() == 1
    assert ("cnn", 100) not in examined


def test_processes_of_their_own_find_everything_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    context = SimpleNamespace(set_forkserver_preload=names.extend)
    monkeypatch.setattr(replayed.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(replayed.torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(replayed.gc, "freeze", lambda: None)
    replayed.prepare()
    # Not "__main__", for which the server of Python 3.11 imports nothing.
    assert [importlib.import_module(name) for name in names] == [replayed, torch._dynamo]


def test_every_order_of_the_sizes_is_in_the_row_in_which_they_run() -> None:
    for count, walk in replayed.WALKS.items():
        rows = {walk[begin : begin + count] for begin in range(len(walk))}
        assert set(itertools.permutations(range(count))) <= rows
