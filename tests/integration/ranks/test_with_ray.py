"""Two workers of Ray Train, whose ranks search together: the example, with the real library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_both_workers_train_at_the_size_that_they_found_together() -> None:
    pytest.importorskip("ray.train.torch")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "with_ray.py"],
        env={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    trained = dict(re.findall(r"rank (\d) trained at batch size (\d+)", output))
    assert set(trained) == {"0", "1"}
    assert len(set(trained.values())) == 1
    assert f"recommended batch size 32 -> {trained['0']}" in output
