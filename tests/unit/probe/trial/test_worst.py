"""The largest batches by each criterion run, each once, in the final run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.finder.plans import FINAL_PLAN
from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.run import run_trial
from autobatch.probe.trial.worst import make_worst_batch, make_worst_batches
from autobatch.records import Outcome
from autobatch.records.rehearsal import LARGEST, SAVING

# Graphs, by nodes and edges.
GRAPHS = [(2, 3)] * 20 + [(9, 3), (2, 40)]
QUICK_FINAL = replace(FINAL_PLAN, min_steps=1, max_time_s=0.01, num_windows=1)


def join(samples: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
    """One after the other, as graphs are."""
    nodes, edges = (sum(each) for each in zip(*samples, strict=True))
    return {"x": torch.ones(nodes, 4), "edges": torch.ones(edges, 2)}


def pad(samples: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
    nodes, edges = (max(each) for each in zip(*samples, strict=True))
    return {"x": torch.ones(len(samples), nodes, 4), "edges": torch.ones(len(samples), edges, 2)}


def measure(graph: tuple[int, int]) -> dict[str, int]:
    return {"nodes": graph[0], "edges": graph[1]}


@pytest.fixture
def make_graphs(make_task: Any) -> Any:
    """A task of graphs, that notes the largest parts of each batch."""

    def make(seen: list[tuple[int, int]], collate: Any = join) -> Any:
        def step(model: nn.Module, batch: Any) -> torch.Tensor:
            seen.append((batch["x"].numel() // 4, batch["edges"].numel() // 2))
            return model(batch["x"]).mean()

        task = make_task(
            nn.Linear(4, 1),
            dataset=GRAPHS,
            collate_fn=collate,
            training_step=step,
            length=measure,
        )
        task.source.keep_lengths(task.source.scan(0))
        return task

    return make


def test_graphs_run_by_nodes_and_by_edges_and_padded_batches_once(make_graphs: Any) -> None:
    def made(collate: Any) -> list[tuple[str, bool]]:
        batches = make_worst_batches(make_graphs([], collate).source, 2)
        return [(name.removeprefix(LARGEST), batch is not None) for name, batch in batches]

    # Of two, the mixture has the largest graph of each kind.
    assert made(join) == [("padding", True), ("nodes", False), ("edges", False)]
    assert made(pad) == [("padding", True), ("nodes", False), ("edges", False)]
    one = make_worst_batches(make_graphs([], join).source, 1)
    assert [name for name, batch in one if batch is not None] == [
        f"{LARGEST}padding",
        f"{LARGEST}edges",
    ]


def test_mixtures_that_cannot_be_collated_are_left_out(make_graphs: Any) -> None:
    def only_alike(samples: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        if len({nodes for nodes, _ in samples}) > 1:
            raise RuntimeError("stack expects each tensor to be equal size")
        return join(samples)

    source = make_graphs([], only_alike).source
    assert [name for name, _ in make_worst_batches(source, 2)] == [f"{LARGEST}edges"]
    assert make_worst_batch(source, 2)["edges"].shape == (43, 2)


def test_running_out_of_memory_is_no_reason_to_leave_one_out(make_graphs: Any) -> None:
    def collate(samples: list[tuple[int, int]]) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(make_worst_batches(make_graphs([], collate).source, 2))


def test_a_trial_runs_the_first_and_a_final_run_all_and_saves(make_graphs: Any) -> None:
    seen: list[tuple[int, int]] = []
    context = make_context(make_graphs(seen))
    trial = run_trial(context, 1, TimingPlan(min_steps=1, max_time_s=0.01))
    assert seen[-2:] == [(9, 3)] * 2
    assert trial.also_ran == ()
    final = run_trial(context, 1, QUICK_FINAL)
    assert seen[-6:-2] == [(9, 3)] * 2 + [(2, 40)] * 2, "and then an evaluation"
    assert final.also_ran == (
        SAVING,
        f"{LARGEST}padding",
        f"{LARGEST}nodes",
        f"{LARGEST}edges",
    )


@pytest.mark.parametrize("is_final", [True, False])
def test_a_trial_that_runs_out_of_memory_names_what_it_did(
    make_graphs: Any, is_final: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_graphs([])

    def state_dict() -> Any:
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    monkeypatch.setattr(task.model, "state_dict", state_dict)
    plan = QUICK_FINAL if is_final else TimingPlan(min_steps=1, max_time_s=0.01)
    trial = run_trial(make_context(task), 1, plan)
    if not is_final:
        assert trial.fits
        return
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert trial.message == "saving a checkpoint: Tried to allocate 2 GiB"
    assert trial.requested_bytes == 2 * 2**30


def test_a_state_that_cannot_be_saved_is_no_fault_of_the_size(
    make_graphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_graphs([])
    monkeypatch.setattr(task.model, "state_dict", lambda: {"handle": lambda: None})
    trial = run_trial(make_context(task), 1, QUICK_FINAL)
    assert trial.fits
    assert SAVING not in trial.also_ran
