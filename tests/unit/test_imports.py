"""``import autobatch`` and ``autobatch --help`` load nothing heavy, and what is named exists."""

from __future__ import annotations

import subprocess
import sys

import pytest

import autobatch

HEAVY = ("torch", "scipy", "numpy", "matplotlib", "rich")


def loaded_modules(code: str) -> set[str]:
    """Top-level modules that are loaded after running ``code`` in a fresh interpreter."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import autobatch",
        "import autobatch; autobatch.Goal, autobatch.Workload, autobatch.WorkloadError",
        "from autobatch.cli import run; run(['--help'])",
        "from autobatch.cli import run; run(['probe', '--help'])",
        "from autobatch.cli import run; run(['devices', '--help'])",
        "from autobatch.cli import run; run(['check', '--help'])",
        "from autobatch.cli import run; run(['plan', '--help'])",
        "import autobatch.pytest_plugin",
        "from autobatch.cli import run; run(['--version'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_modules(code).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "room", ["probe.client", "finder", "compare", "reporting", "check.start", "planning.call"]
)
def test_whoever_only_decides_waits_for_no_torch(room: str) -> None:
    assert "torch" not in loaded_modules(f"import autobatch.{room}")


def test_a_worker_loads_nothing_that_training_would_not() -> None:
    loaded = loaded_modules("import autobatch.probe.worker.worker")
    assert loaded.isdisjoint({"scipy", "rich", "matplotlib", "click"})


def test_the_proof_above_can_fail() -> None:
    assert "torch" in loaded_modules("import autobatch, torch")


def test_loading_a_target_does_load_torch() -> None:
    assert "torch" in loaded_modules("import autobatch.workload.task")


def test_every_public_name_exists_and_is_listed() -> None:
    for name in autobatch.__all__:
        assert getattr(autobatch, name) is not None
    assert set(autobatch.__all__) <= set(dir(autobatch))
    assert sorted(autobatch.__all__) == list(autobatch.__all__)
    assert len([name for name in autobatch.__all__ if not name.startswith("_")]) == 19


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="find_batch_sise"):
        _ = autobatch.find_batch_sise
