"""What is private in ``torch.distributed``: groups without a network, and new backends inside them.

A forked child has the process groups of its parent, but not the threads that serve them. So it puts
a backend of its own inside each group that exists: whatever holds the group, such as DDP, FSDP2, a
device mesh or the user's code, then works in the child as it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed import distributed_c10d


def open_stand_in(rank: int, world_size: int) -> None:
    """Make a default group that exchanges nothing, for wrapping a model.

    Args:
        rank: This process.
        world_size: How many there are.
    """
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)


def reconnect(store: Store) -> Store:
    """The same store, by a connection of this process's own."""
    connected: Any = store
    again: Store = connected.clone()
    return again


def renew_backends(store: Store, timeout_s: float) -> None:
    """Put a new gloo backend inside each group that exists; all its ranks must do so.

    The old ones are neither used nor destroyed, since their threads are not in this process.

    Args:
        store: Where the ranks find each other.
        timeout_s: Longest time of a collective.
    """
    groups: dict[Any, Any] = distributed_c10d._world.pg_map
    timeout = timedelta(seconds=timeout_s)
    for group, (kind, _) in list(groups.items()):
        ranks = "_".join(map(str, dist.get_process_group_ranks(group)))
        place = PrefixStore(f"group/{group.group_name}/{ranks}", store)
        backend = dist.ProcessGroupGloo(place, group.rank(), group.size(), timeout)
        # One of a type that the group has already would be ignored.
        types = dist.ProcessGroup.BackendType
        type_ = types.CUSTOM if "gloo" in kind else types.GLOO
        group._register_backend(torch.device("cpu"), type_, backend)
        # Groups that are made later meet here, too.
        groups[group] = (kind, PrefixStore(f"store/{group.group_name}", store))
