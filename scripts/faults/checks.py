"""What must hold after a run of the fault campaign, whatever struck it."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.faults.scene import Scene
from scripts.workbench import ROOT

_PACKAGE = str(ROOT / "autobatch")
# Before this, Python itself has hardly started, and a signal ends it without a word.
_STARTED_AFTER_S = 0.6


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a run.

    Attributes:
        exit_code: Negative, the signal that ended it.
        stdout: What it printed.
        stderr: What it said.
        was_late: Whether it had to be ended.
        orphans: Command lines of processes that it left behind.
        elapsed_s: How long it took.
    """

    exit_code: int
    stdout: str
    stderr: str
    was_late: bool
    orphans: tuple[str, ...]
    elapsed_s: float

    @property
    def is_answer(self) -> bool:
        """Whether it claims to have an answer."""
        return self.exit_code == 0

    @property
    def trials_ran(self) -> bool:
        """Whether it told of a trial."""
        return re.search(r"^batch [\d,]+: ", self.stderr, re.MULTILINE) is not None

    @property
    def trials_fitted(self) -> bool:
        """Whether it told of a trial that fits."""
        return re.search(r"^batch [\d,]+: fits", self.stderr, re.MULTILINE) is not None


def find_losses(scene: Scene, done: Done) -> list[str]:
    """Everything that a run lost or left behind; empty if all is well."""
    losses = [f"left a process behind: {orphan}" for orphan in done.orphans]
    losses += [f"left a file behind: {path}" for path in _find_leftovers(scene)]
    if done.was_late:
        return [*losses, "did not end in time"]
    if f'File "{_PACKAGE}' in done.stderr or "Exception ignored in" in done.stderr:
        losses.append("shows a traceback of ours")
    if done.exit_code == 0:
        losses += _check_answer(scene, done)
    elif done.exit_code == 130:
        losses += _check_interruption(scene, done)
    elif done.exit_code in (1, 2):
        losses += _check_error(scene, done)
    elif not _had_not_begun(scene, done):
        losses.append(f"exit status {done.exit_code}")
    return losses


def _find_leftovers(scene: Scene) -> list[str]:
    given = {"target.py", "results", "disk"}
    if scene.arguments[0] == "show":
        given.add("finding.json")
    if scene.output is not None:
        given.add(str(scene.output.relative_to(scene.folder)))
    found = [path.relative_to(scene.folder) for path in scene.folder.rglob("*")]
    return sorted(
        str(path)
        for path in found
        if str(path) not in given and not any(map(_is_usual, path.parts))
    )


def _is_usual(name: str) -> bool:
    # Python keeps the compiled target beside it, as for every import, and PyTorch makes its
    # compiler's folder whether or not anything is compiled: any training leaves these.
    return name == "__pycache__" or name.startswith("torchinductor_")


def _check_answer(scene: Scene, done: Done) -> list[str]:
    if scene.stdout_is_full:
        return ["exit status 0 without an answer on standard output"]
    if scene.arguments[0] == "show" and "--json" not in scene.arguments:
        return [] if "Recommendation" in done.stdout else ["nothing on standard output"]
    finding = _read(done.stdout)
    if finding is None:
        return ["standard output is no JSON"]
    losses = []
    if not _answer_ran(finding):
        losses.append(f"the answer {finding.get('batch_size')} did not run")
    if scene.output is not None and _read_file(scene.output) != finding:
        losses.append("the file that was asked for does not hold the answer")
    return losses


def _check_interruption(scene: Scene, done: Done) -> list[str]:
    if not re.search(r"^Interrupted", done.stderr, re.MULTILINE):
        return ["exit status 130 without a word"]
    if not done.trials_fitted:
        return []
    losses = []
    if "best answer so far" not in done.stderr or "Recommendation" not in done.stderr:
        losses.append("the best answer so far is not on standard error")
    if scene.output is not None and _read_file(scene.output) is None:
        losses.append("the best answer so far is not in the file that was asked for")
    return losses


def _check_error(scene: Scene, done: Done) -> list[str]:
    losses = []
    if len(re.findall(r"^Error: ", done.stderr, re.MULTILINE)) != 1:
        losses.append("not one line that begins with 'Error: '")
    if "Traceback" in done.stderr and 'target.py", line' not in done.stderr:
        losses.append("shows a traceback that is not the target's")
    if not done.trials_ran:
        return losses
    if scene.cannot_save:
        finding = _read(done.stdout)
        if done.trials_fitted and (finding is None or not _answer_ran(finding)):
            losses.append("the answer could not be saved and was not printed")
    elif scene.output is not None:
        kept = _read_file(scene.output)
        if kept is None or not kept.get("trials"):
            losses.append("the trials so far are not in the file that was asked for")
    return losses


def _had_not_begun(scene: Scene, done: Done) -> bool:
    is_by_signal = -done.exit_code in (signal.SIGINT, signal.SIGTERM)
    return is_by_signal and scene.delay_s < _STARTED_AFTER_S and not done.trials_ran


def _answer_ran(finding: dict[str, Any]) -> bool:
    trials = finding.get("trials", [])
    fitted = [trial["batch_size"] for trial in trials if trial["outcome"] == "fits"]
    return finding.get("batch_size") in fitted


def _read_file(path: Path) -> dict[str, Any] | None:
    try:
        return _read(path.read_text())
    except OSError:
        return None


def _read(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
