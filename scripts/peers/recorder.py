"""What a finder does to the objects that it is given: the steps it runs, and what it leaves.

Steps are written to a file by hooks of the model and of the optimizer, so that those in forked
children and in processes that die are counted too. Reading the file back needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.peers.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Steps that were run in a search.

    Attributes:
        trials: Size of each run of steps of one size, in order of their beginning.
        failed: Sizes of the runs whose last step began and never ended.
        finished: Sizes of which at least one whole step was run.
        num_steps: Whole steps.
    """

    trials: tuple[int, ...]
    failed: tuple[int, ...]
    finished: tuple[int, ...]
    num_steps: int


class Recorder:
    """Writes a line when a training step's forward pass begins, and one when the step has ended."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def watch(self, workload: Workload) -> None:
        """Hook the model and the optimizer."""
        workload.model.register_forward_pre_hook(self._begin, with_kwargs=True)
        workload.optimizer.register_step_post_hook(self._end)

    def _begin(self, module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not module.training:
            return  # an evaluation, which no optimizer step ends
        batch = inputs[0] if inputs else next(iter(named.values()))
        os.write(self._file, f"{os.getpid()} {len(batch)}\n".encode())

    def _end(self, optimizer: Any, inputs: Any, named: Any) -> None:
        os.write(self._file, f"{os.getpid()} end\n".encode())


def read_steps(text: str) -> Steps:
    """The steps in what a recorder wrote; a last line that was cut off is left out."""
    trials: list[int] = []
    failed: list[int] = []
    finished: set[int] = set()
    num_steps = 0
    current: dict[str, int] = {}
    is_open: defaultdict[str, bool] = defaultdict(bool)
    for line in text.split("\n")[:-1]:
        process, event = line.split()
        if event == "end":
            is_open[process] = False
            num_steps += 1
            finished.add(current[process])
            continue
        size = int(event)
        if is_open[process]:
            failed.append(current[process])
        if is_open[process] or current.get(process) != size:
            trials.append(size)
        current[process] = size
        is_open[process] = True
    failed += [current[process] for process, was_open in is_open.items() if was_open]
    return Steps(
        trials=tuple(trials),
        failed=tuple(failed),
        finished=tuple(sorted(finished)),
        num_steps=num_steps,
    )


def read_steps_of(path: Path) -> Steps:
    """The steps in a file, none if it was never made."""
    return read_steps(path.read_text() if path.exists() else "")


def digest_weights(workload: Workload) -> str:
    """Of the model's and the optimizer's state."""
    import torch

    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key, each in value.items():
                digest.update(str(key).encode())
                add(each)
        elif isinstance(value, (list, tuple)):
            for each in value:
                add(each)
        else:
            digest.update(repr(value).encode())

    add(workload.model.state_dict())
    add(workload.optimizer.state_dict())
    return digest.hexdigest()


def digest_generators() -> str:
    """Of the states of Python's, NumPy's and PyTorch's random generators."""
    import numpy as np
    import torch

    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    digest.update(repr(random.getstate()).encode())
    digest.update(repr([np.asarray(each).tolist() for each in np.random.get_state()]).encode())
    return digest.hexdigest()
