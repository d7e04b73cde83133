"""Parts of a batch, however it is nested."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch

from autobatch.workload.tensors import map_parts

Pair = namedtuple("Pair", "left right")


@dataclass
class Batch:
    inputs: torch.Tensor
    name: str


def test_parts_are_changed_in_whatever_holds_them_and_the_rest_is_as_it_was() -> None:
    one = torch.ones(2)
    nested = OrderedDict(pair=Pair(one, [one, "text"]), batch=Batch(one, "b"), number=3)
    doubled = map_parts(nested, lambda part: 2 * part if isinstance(part, torch.Tensor) else None)
    assert isinstance(doubled["pair"], Pair)
    assert doubled["pair"].left.tolist() == doubled["pair"].right[0].tolist() == [2, 2]
    assert doubled["batch"].inputs.tolist() == [2, 2]
    assert (doubled["pair"].right[1], doubled["batch"].name, doubled["number"]) == ("text", "b", 3)
    assert one.tolist() == [1, 1]
