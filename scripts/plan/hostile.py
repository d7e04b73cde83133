"""Models that no trace can follow: refused by name, or right; and the parent lives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from autobatch.errors import AutobatchError
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import PlainFacts
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.records import Settings
from scripts.plan.verdict import Row

_CARD = PlainFacts(compute_capability=(8, 0), num_sms=108)
_FRAME = """
import ctypes
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {constructor}
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        {forward}
        return x

model = Model
batch = lambda size: (torch.randn(size, 256), torch.randint(256, (size,)))
"""
_DEPTH = "depth = 3"


class Hostile(NamedTuple):
    """A model that a trace may not follow.

    Attributes:
        name: What it does.
        constructor: A line of its constructor.
        forward: A line of its forward pass.
        names: What the error must name; empty if the prediction must be that of the plain model.
        before: Lines before the model.
    """

    name: str
    constructor: str
    forward: str
    names: str
    before: str = ""


CASES = (
    Hostile("branch on a value", _DEPTH, "x = x * 2 if x.sum() > 0 else x", "value of a tensor"),
    Hostile("branch on .item()", _DEPTH, "x = x * 2 if x.sum().item() > 0 else x", ".item()"),
    Hostile("size from values", _DEPTH, "x = x[x.sum(1) > 0]", "aten.nonzero"),
    Hostile(
        "operator of its own",
        _DEPTH,
        "x = torch.ops.hostile.double(x)",
        "hostile.double",
        "import torch; library = torch.library.Library('hostile', 'DEF')\n"
        "library.define('double(Tensor x) -> Tensor')\n"
        "library.impl('double', lambda x: x * 2, 'CPU')",
    ),
    Hostile(".item() in the constructor", "depth = int(torch.tensor(3).item())", "pass", ""),
    Hostile(
        "unique in the constructor",
        "depth = len(torch.tensor([1, 2, 2, 3]).unique())",
        "pass",
        "",
    ),
    Hostile("crash in a step", _DEPTH, "ctypes.string_at(0)", "SIGSEGV"),
    Hostile("crash in the constructor", "ctypes.string_at(0); depth = 3", "pass", "-11"),
    Hostile("values as an array", _DEPTH, "x.detach().cpu().numpy()", "numpy"),
)
_PLAIN = Hostile("plain", _DEPTH, "pass", "")


def check_hostile(folder: Path) -> Iterator[Row]:
    """Trace each, and look at what it says."""
    plain_bytes = _predict(_PLAIN)
    wrong = []
    for case in CASES:
        try:
            num_bytes = _predict(case)
        except AutobatchError as error:
            if not case.names or case.names not in str(error) or not error.hint:
                wrong.append(f"{case.name}: {error}")
        else:
            if case.names or num_bytes != plain_bytes:
                wrong.append(f"{case.name}: predicted {num_bytes}, plain {plain_bytes}")
    yield Row(
        name="hostile models",
        must="refused by name, or right; the parent lives",
        found=f"{len(CASES) - len(wrong)} of {len(CASES)}",
        is_met=not wrong,
        details=tuple(wrong),
    )


def _predict(case: Hostile) -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hostile_model.py")
        body = _FRAME.format(constructor=case.constructor, forward=case.forward)
        file.write_text(f"{case.before}\n{body}")
        with Tracer(str(file), Settings(), timeout_s=120.0) as tracer:
            trace = tracer.at(16, _CARD.compute_capability)
            return predict(trace, _CARD).peak_requested_bytes
