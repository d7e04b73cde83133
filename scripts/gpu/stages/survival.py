"""Trainings that go wrong on a GPU: each must end in an outcome, or an error with one hint."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Precision
from scripts.gpu.stages.bench import Bench

_PLAN = TimingPlan(min_steps=1, max_time_s=0.1)
_FAR_TOO_LARGE = 2**24
# Most of a case is the start of its worker, and each may hold a few gigabytes alone.
_NUM_AT_ONCE = min(8, os.cpu_count() or 1)
_HEAD = "import torch\nfrom torch import nn\nN = nn.functional\n"
_DATA = "dataset = [(torch.randn(64), index % 3) for index in range(256)]\n"
# Each with the sizes to run in turn.
CASES: dict[str, tuple[str, tuple[int, ...]]] = {
    "out of memory, again and again": (
        "model = nn.Linear(64, 2**14)\n"
        "batch = lambda size: (torch.zeros(size, 64), torch.zeros(size, dtype=torch.long))\n"
        "loss = N.cross_entropy\n",
        (_FAR_TOO_LARGE, 4) * 3,
    ),
    "device assert": (
        "model = nn.Linear(64, 3)\n"
        "batch = lambda size: (torch.randn(size, 64), torch.full((size,), 2 if size < 8 else 7))\n"
        "loss = N.cross_entropy\n",
        (4, 8, 4),
    ),
    "attention beyond 65,535": (
        "class Model(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(8, 8)\n"
        "    def forward(self, x):\n"
        "        y = self.layer(x)\n"
        "        return N.scaled_dot_product_attention(y, y, y).mean()\n"
        "model = Model()\n"
        "batch = lambda size: torch.randn(size, 1, 4, 8)\n",
        (1024, 2**16, 1024),
    ),
    "a loss with weights": (
        f"model = nn.Linear(64, 3)\n{_DATA}loss = nn.CrossEntropyLoss(weight=torch.ones(3))\n",
        (8,),
    ),
    "an optimizer that makes its state at once": (
        f"model = nn.Linear(64, 3)\n{_DATA}loss = N.cross_entropy\n"
        "optimizer = torch.optim.Adagrad\n",
        (8,),
    ),
    "a dataset on the GPU": (
        "D = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
        "model = nn.Linear(64, 3)\n"
        "dataset = torch.utils.data.TensorDataset(torch.randn(256, 64, device=D), "
        "torch.zeros(256, dtype=torch.long, device=D))\n"
        "loss = N.cross_entropy\n",
        (8,),
    ),
}


def run_survival(bench: Bench) -> None:
    """Run all, each in a worker of its own, several at a time."""
    with ThreadPoolExecutor(_NUM_AT_ONCE) as pool:
        runs = [pool.submit(run_case, bench, name, *case) for name, case in CASES.items()]
        if bench.is_gpu:
            code = f"model = nn.Linear(64, 3)\n{_DATA}loss = N.cross_entropy\n"
            runs.append(pool.submit(run_case, bench, "fp16", code, (8,), precision=Precision.FP16))
        for run in runs:
            run.result()


def run_case(bench: Bench, name: str, code: str, sizes: tuple[int, ...], **settings: Any) -> None:
    """Run a target at sizes in turn.

    Args:
        bench: Says where, and keeps the outcomes.
        name: What goes wrong.
        code: The target, after the usual imports.
        sizes: The sizes.
        **settings: Beside the device.
    """
    file = bench.out / f"case-{name.replace(' ', '-').replace(',', '')}.py"
    file.write_text(_HEAD + code)
    outcomes: list[tuple[int, str, str]] = []
    try:
        chosen = bench.settings(memory_limit_bytes=8 * 2**30, **settings)
        with TargetProber(str(file), chosen) as prober:
            prober.load(timeout_s=60)
            for size in sizes:
                trial = prober.measure(size, _PLAN, timeout_s=30)
                outcomes.append((size, trial.outcome.value, trial.message))
                bench.save(**{name: outcomes})
        holds, why = outcomes[-1][1] == "fits", f"{outcomes}"
    except Exception as error:
        holds, why = False, f"{type(error).__name__}: {error}"
    bench.claim(f"{name}: the next trial runs", holds, why)
