"""Live objects become a target that another process can load."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from autobatch import SettingsError, Workload, WorkloadError
from autobatch.check.live import as_target


def make_workload(**fields):
    return Workload(model=torch.nn.Linear(2, 1), batch=lambda n: torch.ones(n, 2), **fields)


def load_in_another_process(target: str) -> str:
    code = (
        "import sys; from autobatch.workload.task import load_task; "
        "from autobatch.records import Settings; task = load_task(sys.argv[1], Settings()); "
        "print(type(task.model).__name__, next(task.source.batches(3)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("make", [make_workload, lambda: make_workload], ids=["object", "function"])
def test_a_workload_with_lambdas_is_loaded_elsewhere_and_its_files_are_gone_afterwards(
    make,
) -> None:
    with as_target(make(), by_value=sys.modules[__name__]) as target:
        assert load_in_another_process(target) == "Linear torch.Size([3, 2])"
    assert not Path(target).parent.exists()


def test_a_name_is_passed_through() -> None:
    with as_target("model.py:Net") as target:
        assert target == "model.py:Net"


def test_what_cannot_be_handed_over_is_a_clear_error() -> None:
    workload = make_workload(sample=threading.Lock())
    with pytest.raises(WorkloadError, match="cannot be handed") as caught, as_target(workload):
        pass
    assert "functions" in caught.value.hint


def test_without_cloudpickle_the_hint_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(SettingsError, match="cloudpickle") as caught, as_target(make_workload()):
        pass
    assert "torch-autobatch[pytest]" in caught.value.hint
