"""Scripts that a reader of the README runs first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.claims.newcomer import meet
from scripts.claims.newcomer_files import NEWCOMER_FILES

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


@pytest.mark.parametrize("name", ["script", "tensors", "gan"])
def test_files_as_people_have_them_get_an_answer_or_the_line_to_change(name: str) -> None:
    met, fault = meet(name, NEWCOMER_FILES[name], time_limit_s=120)
    assert fault == ""
    assert (met.batch_size is None) == bool(NEWCOMER_FILES[name].hint)
