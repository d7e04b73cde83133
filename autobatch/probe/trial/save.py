"""Saving a checkpoint, to nowhere: what is measured is memory, not the disk."""

from __future__ import annotations

import os

import torch

from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records.rehearsal import SAVING
from autobatch.workload.task import TrainingTask
from autobatch.workload.tensors import find_tensors

# In a final run: a GiB takes a second.
_MOST_BYTES = 2**30


def save_checkpoint(task: TrainingTask, most_bytes: int | None = None) -> bool:
    """Save the model's and the optimizer's state, as training does.

    Args:
        task: Has them.
        most_bytes: Size up to which it is saved, ``None`` for any.

    Returns:
        Whether it was saved.
    """
    state = {"model": task.model.state_dict(), "optimizer": task.built.optimizer.state_dict()}
    size = sum(tensor.nbytes for tensor in find_tensors(state))
    if most_bytes is not None and size > most_bytes:
        return False
    torch.save(state, os.devnull)
    return True


def try_to_save(task: TrainingTask) -> tuple[str, ...]:
    """Save a checkpoint if that is quick.

    Args:
        task: Has the model and the optimizer.

    Returns:
        What was done, in words; nothing of a state that is large, or cannot be saved so.
    """
    try:
        return (SAVING,) if save_checkpoint(task, _MOST_BYTES) else ()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return ()
