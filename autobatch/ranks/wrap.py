"""How a target's model is wrapped: by DDP, by FSDP2 over its repeated blocks, or as it says."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from autobatch.errors import WorkloadError
from autobatch.ranks.settings import Parallel
from autobatch.workload.loss import LossFunction
from autobatch.workload.optimizer import build_optimizer
from autobatch.workload.task import TrainingTask
from autobatch.workload.user_code import calling_user_code


def wrap_task(task: TrainingTask, parallel: Parallel) -> TrainingTask:
    """The task, with its model wrapped and an optimizer of the parameters that it then has.

    Args:
        task: Of one process.
        parallel: How, where the target does not say.

    Raises:
        WorkloadError: If the target's own wrapping fails, or its optimizer has other parameters.
    """
    own = task.workload.parallelize
    if own is not None:
        with calling_user_code("parallelize(model) failed", "it is called in every rank"):
            model: Any = own(task.model)
        if not isinstance(model, nn.Module):
            raise WorkloadError(
                f"parallelize(model) returned a {type(model).__name__}",
                hint="return the wrapped model from it",
            )
    elif parallel is Parallel.DDP:
        model = _wrap_in_ddp(task.model)
    else:
        model = _shard(task.model)
    return replace(
        task,
        model=model,
        loss=LossFunction(task.workload, model),
        built=_rebuild_optimizer(task, model),
    )


def describe_wrapping(model: nn.Module) -> str:
    """How a model is wrapped, in a user's words."""
    if any(isinstance(each, DistributedDataParallel) for each in model.modules()):
        return "DDP"
    is_sharded = any(_is_sharded(type(each)) for each in model.modules())
    return "FSDP2" if is_sharded else "wrapped by neither DDP nor FSDP2"


def inner_model(model: nn.Module) -> nn.Module:
    """The model that the user wrote, inside of what wraps it."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def inner_name(model: nn.Module) -> str:
    """The class of the model that the user wrote; FSDP2 makes a class of its own of it."""
    kind = type(getattr(inner_model(model), "_orig_mod", inner_model(model)))
    return kind.__mro__[2].__name__ if _is_sharded(kind) else kind.__name__


def find_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The repeated parts of a model: elements of its lists and sequences that have parameters.

    Of classes that are there more than once, unless none is; never a part of such a part.
    """
    lists = (nn.ModuleList, nn.Sequential)
    elements = [
        child
        for parent in model.modules()
        if isinstance(parent, lists)
        for child in parent
        if not isinstance(child, lists) and next(child.parameters(), None) is not None
    ]
    counts = Counter(type(each) for each in elements)
    repeated = [each for each in elements if counts[type(each)] > 1]
    inside = {id(part) for each in repeated for part in each.modules() if part is not each}
    return (each for each in repeated if id(each) not in inside)


def _wrap_in_ddp(model: nn.Module) -> nn.Module:
    if not any(each.requires_grad for each in model.parameters()):
        raise WorkloadError(
            "no parameter of the model needs a gradient, and DDP has nothing to exchange",
            hint="leave `parallel` and the number of processes out",
        )
    return DistributedDataParallel(model)


def _shard(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for block in find_blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def _is_sharded(kind: type) -> bool:
    if "torch.distributed.fsdp" not in sys.modules:
        return False
    from torch.distributed.fsdp import FSDPModule

    return issubclass(kind, FSDPModule)


def _rebuild_optimizer(task: TrainingTask, model: nn.Module) -> Any:
    own = {id(each) for each in model.parameters()}
    held = {id(each) for group in task.built.optimizer.param_groups for each in group["params"]}
    if held <= own:
        return task.built
    if isinstance(task.workload.optimizer, torch.optim.Optimizer):
        raise WorkloadError(
            "'optimizer' holds the parameters that the model had before it was wrapped",
            hint="make it a function of the parameters: optimizer = lambda p: SGD(p, lr=0.1)",
        )
    return build_optimizer(task.workload, model)
