"""The cases of each framework, in a process of their own.

Frameworks bring hundreds of MiB of libraries along. In the processes that run all other tests they
would change what those measure.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.commands import ENVIRONMENT

HERE = Path(__file__).resolve().parent
CASES = {
    "cases_lightning.py": "lightning",
    "cases_transformers.py": "transformers",
    "cases_accelerate.py": "accelerate",
    "cases_catalogues.py": "transformers",
}


def test_every_file_of_cases_is_run() -> None:
    assert {path.name for path in HERE.glob("cases_*.py")} == set(CASES)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", CASES)
def test_all_cases_pass(file: str) -> None:
    library = CASES[file]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "--tb=short", "-p", "no:cacheprovider",
         str(HERE / file)],
        cwd=HERE.parents[2],
        env={**ENVIRONMENT, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
