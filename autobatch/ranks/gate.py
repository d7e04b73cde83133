"""A gate before every collective: no rank enters one that another will not come to.

A rank counts itself in and waits until all ranks of the group have, or one has failed. The first
verdict holds for all: a rank that has passed must not be left alone inside. A rank that sees
another one's failure after that one had counted itself in would do so otherwise, and gloo ends a
process whose partner in a collective goes on to the next one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from autobatch.ranks.control import Control, PeerFailed, explain
from autobatch.records import Exchange
from autobatch.workload.tensors import find_tensors

_NAMESPACES = ("c10d", "_c10d_functional")
# Point to point, between two ranks alone; and what only waits for what was begun.
_UNGATED = frozenset({"send", "recv_", "recv_any_source_", "wait_tensor"})
_KINDS = {
    "allreduce": "all-reduce", "allgather": "all-gather", "reducescatter": "reduce-scatter",
    "alltoall": "all-to-all", "broadcast": "broadcast",
}  # fmt: skip
_OPEN, _CLOSED = "open", "closed"
_SHORTEST_NAP_S, _LONGEST_NAP_S = 2e-5, 2e-3


@dataclass
class Exchanged:
    """What a rank gave to others and took from them.

    Attributes:
        num_calls: Collectives, by kind.
        num_bytes: Of their tensors, by kind.
        wait_s: Seconds before them, for ranks that came later.
    """

    num_calls: Counter[str] = field(default_factory=Counter)
    num_bytes: Counter[str] = field(default_factory=Counter)
    wait_s: float = 0.0

    def add(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Count an operation.

        Args:
            name: As PyTorch's dispatcher calls it.
            arguments: Tensors in and out among them: the larger counts.
        """
        plain = name.replace("_", "")
        kind = next((kind for start, kind in _KINDS.items() if plain.startswith(start)), name)
        self.num_calls[kind] += 1
        self.num_bytes[kind] += max(
            sum(each.nbytes for each in find_tensors(argument)) for argument in arguments
        )

    def by_kind(self) -> tuple[Exchange, ...]:
        """What was counted, most bytes first."""
        return tuple(
            Exchange(collective=kind, num_calls=self.num_calls[kind], num_bytes=num_bytes)
            for kind, num_bytes in self.num_bytes.most_common()
        )


class Gate(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Holds this rank before each collective until all have come to it.

    Args:
        control: Tells of failures.
        part: Names work whose failure does not end the trial.
        clock: Returns seconds from any origin.

    Attributes:
        exchanged: Since it was last set.
    """

    def __init__(
        self, control: Control, part: str = "", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._control, self._part, self._clock = control, part, clock
        self._counts: Counter[str] = Counter()
        self.exchanged = Exchanged()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, behind the gate if it is a collective."""
        if func.namespace in _NAMESPACES:
            name = func._schema.name.partition("::")[2]
            if name not in _UNGATED:
                self.exchanged.add(name, args)
                group = _find_group(args)
                self.pass_through(group.group_name, group.size(), name)
        return func(*args, **(kwargs or {}))

    def pass_through(self, group: str, num_ranks: int, what: str) -> None:
        """Wait until all ranks of a group have come, or one has failed.

        Args:
            group: Its name.
            num_ranks: How many there are in it.
            what: The collective.

        Raises:
            PeerFailed: If one has failed before all had come.
        """
        store, begin = self._control.store, self._clock()
        self._counts[group] += 1
        key = f"{self._part}gate/{group}/{self._counts[group]}"
        nap_s, num_here = _SHORTEST_NAP_S, store.add(key, 1)
        while True:
            if num_here == num_ranks:
                verdict = _OPEN
            elif self._control.find_failure(self._part) is not None:
                verdict = _CLOSED
            else:
                time.sleep(nap_s)
                nap_s, num_here = min(1.5 * nap_s, _LONGEST_NAP_S), store.add(key, 0)
                continue
            break
        verdict = store.compare_set(f"{key}/verdict", "", verdict).decode()
        self.exchanged.wait_s += self._clock() - begin
        if verdict != _OPEN:
            cause = self._control.find_failure(self._part)
            raise PeerFailed(f"{explain(cause)}; before {what}")


def _find_group(args: Any) -> dist.ProcessGroup:
    for each in _flat(args):
        if isinstance(each, dist.ProcessGroup):
            return each
        if isinstance(each, torch.ScriptObject):
            try:
                return dist.ProcessGroup.unbox(each)
            except RuntimeError:  # such as the operation of a reduction
                continue
    names = [each for each in _flat(args) if isinstance(each, str)]
    resolve: Any = dist.distributed_c10d._resolve_process_group  # type: ignore[attr-defined]
    group: dist.ProcessGroup | None = resolve(names[-1]) if names else dist.group.WORLD
    assert group is not None
    return group


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    else:
        yield value
