"""Scripts that a reader of the README runs first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_validation_without_a_gpu_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    output = tmp_path / "validation.json"
    done = subprocess.run(
        [sys.executable, "-m", "scripts.gpu.validate", "-o", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("no GPU: PyTorch")
    assert not output.exists()
