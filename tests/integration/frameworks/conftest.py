"""What the tests of all frameworks share: digits to train on, and the quickest of searches."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import TensorDataset

# No timing in turn: what is tested is who is told what, not which size is fastest.
QUICK = {"goal": "memory", "min_batch_size": 8, "max_batch_size": 16, "trial_timeout": 60}


@pytest.fixture
def quick() -> dict[str, Any]:
    """Options of a search that takes a second."""
    return dict(QUICK)


@pytest.fixture(params=["process", "shared"])
def isolation(request: pytest.FixtureRequest) -> str:
    """Trials in forks, as on CPUs, and in this process, as on GPUs."""
    return str(request.param)


@pytest.fixture
def make_data() -> Callable[[int], TensorDataset]:
    """So many samples of 8 features in 3 classes, the same each time."""

    def make(num_samples: int = 48) -> TensorDataset:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(num_samples, 8, generator=generator)
        return TensorDataset(inputs, torch.arange(num_samples) % 3)

    return make


@pytest.fixture
def random_state() -> Callable[[], tuple[Any, ...]]:
    """Where all random generators stand, in a form that can be compared."""

    def read() -> tuple[Any, ...]:
        state = numpy.random.get_state(legacy=True)
        return (
            random.getstate(),
            (state[0], state[1].tolist(), *state[2:]),
            torch.get_rng_state().tolist(),
        )

    return read


@pytest.fixture
def in_two_processes(tmp_path: Path) -> Callable[[str], tuple[list[Any], str]]:
    """Runs code in two processes that train together.

    Returns what each told by calling ``tell``, and what they wrote to standard error.
    """

    def run(code: str) -> tuple[list[Any], str]:
        script = tmp_path / "train.py"
        script.write_text(
            "import json, os, sys\n"
            "def tell(**told):\n"
            f"    path = {str(tmp_path)!r} + '/' + os.environ['RANK'] + '.json'\n"
            "    open(path, 'w').write(json.dumps(told))\n" + code
        )
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
             "2", str(script)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)], done.stderr

    return run
