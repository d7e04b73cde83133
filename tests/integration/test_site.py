"""The documentation: it builds without a warning, and the tutorial does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.pages import ROOT, find_blocks, find_files, run_in_shell

TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.mark.timeout(120)
def test_the_site_builds_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / "reference" / "json" / "index.html").read_text()
    assert "learning_rate_multiplier" in keys
    assert "others_busy_cores" in keys
    assert "--headroom" in (tmp_path / "reference" / "commands" / "index.html").read_text()
    assert (tmp_path / "llms.txt").exists()


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_the_commands_of_the_tutorial_run_in_order(tmp_path: Path) -> None:
    text = TUTORIAL.read_text()
    for name, body in find_files(text).items():
        (tmp_path / name).write_text(body)
    # Installing is what has been done to run the tests.
    commands = [each for each in find_blocks(text) if not each.startswith("pip ")]
    assert len(commands) >= 5
    for command in commands:
        done = run_in_shell(command, tmp_path)
        assert done.returncode == 0, command + done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "curve.png").stat().st_size > 10_000
