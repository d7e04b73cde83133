"""The proof loses nothing: a stage that hangs is killed, and every stage leaves its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.gpu import prove
from scripts.gpu.prove import (
    FIRST_CALL,
    LIMITS_S,
    ROOT,
    Stage,
    judge,
    make_environ,
    pack,
    read_stages,
    run_all,
    run_stage,
)

WRITE = "from scripts.gpu.prove import write; from pathlib import Path; "
FIGURES = WRITE + "write(Path({out!r}) / 'a.figures.json', {{'peak_bytes': 5}}); "


def stage(code: str, name: str = "a", limit_s: float = 30.0) -> Stage:
    return Stage(name=name, command=[sys.executable, "-c", code], limit_s=limit_s)


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_a_stage_that_ends_has_its_figures_its_output_and_its_time(tmp_path: Path) -> None:
    code = FIGURES.format(out=str(tmp_path)) + "print('measured')"
    run_stage(stage(code), tmp_path, limit_s=60.0)
    document = load(tmp_path / "a.json")
    assert document["status"] == "done"
    assert document["figures"] == {"peak_bytes": 5}
    assert document["output"] == "measured\n"
    assert 0 < document["time_s"] < 60


def test_a_stage_that_raises_has_failed_and_keeps_what_it_had(tmp_path: Path) -> None:
    code = FIGURES.format(out=str(tmp_path)) + "raise LookupError('no GPU')"
    run_stage(stage(code), tmp_path, limit_s=60.0)
    document = load(tmp_path / "a.json")
    assert (document["status"], document["exit_status"]) == ("failed", 1)
    assert document["figures"] == {"peak_bytes": 5}
    assert "LookupError: no GPU" in document["output"]


def test_a_stage_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    hang = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = (
        FIGURES.format(out=str(tmp_path))
        + f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {hang!r}]); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); {hang}"
    )
    begin = time.monotonic()
    document = run_stage(stage(code), tmp_path, limit_s=8.0)
    assert time.monotonic() - begin < 30
    assert (document["status"], document["exit_status"]) == ("killed", None)
    assert document["figures"] == {"peak_bytes": 5}
    assert load(tmp_path / "a.json")["status"] == "killed"
    pid, deadline = int(note.read_text()), time.monotonic() + 20.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it was killed, and goes on"
        time.sleep(0.05)


def test_a_stage_that_kills_itself_has_failed(tmp_path: Path) -> None:
    run_stage(stage("import os; os.kill(os.getpid(), 9)"), tmp_path, limit_s=60.0)
    document = load(tmp_path / "a.json")
    assert (document["status"], document["exit_status"]) == ("failed", -9)


def test_all_end_in_time_and_those_that_were_not_reached_say_so(tmp_path: Path) -> None:
    hang = "import time; time.sleep(600)"
    stages = [stage("pass", "first"), stage(hang, "second"), stage("pass", "third")]
    begin = time.monotonic()
    run_all(stages, tmp_path, until_s=8.0)
    assert time.monotonic() - begin < 20
    statuses = {each.name: load(tmp_path / f"{each.name}.json")["status"] for each in stages}
    assert statuses == {"first": "done", "second": "killed", "third": "not reached"}


def test_no_verdict_holds_for_a_stage_that_did_not_end(tmp_path: Path) -> None:
    done = {"status": "done", "figures": {"claims": {"fits": [True, "8 GiB"]}}}
    killed = {"status": "killed", "figures": {"claims": {"is fast": [True, "3 s"]}}}
    verdicts = judge({"a": done, "b": killed, "c": {"status": "not reached"}})
    assert {name: each["holds"] for name, each in verdicts.items()} == {
        "a: fits": True,
        "b: is fast": True,
        "b": False,
        "c": False,
    }


def test_a_stage_that_left_nothing_is_none_that_holds(tmp_path: Path) -> None:
    assert not judge(read_stages(tmp_path, ["machine"]))["machine"]["holds"]


def test_wheels_stand_in_for_what_is_missing_alone(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("not_there_at_all", "torch"):
        with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/__init__.py", "VERSION = 'carried'")
    environ = make_environ(wheels, tmp_path)
    code = "import not_there_at_all, torch; print(not_there_at_all.VERSION, hasattr(torch, 'nn'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "carried True\n", done.stderr


def test_both_calls_fit_into_a_quarter_of_an_hour_with_two_starts() -> None:
    assert sum(LIMITS_S[name] for name in FIRST_CALL) <= 430 - len(FIRST_CALL)
    assert sum(LIMITS_S.values()) <= 900 - 2 * 90


def test_a_stage_may_take_what_those_before_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: dict[str, float] = {}

    def run(stage: Stage, out: Path, *, limit_s: float, environ: object) -> dict[str, Any]:
        limits[stage.name] = limit_s
        return {"status": "done", "time_s": 0.0}

    monkeypatch.setattr(prove, "run_stage", run)
    stages = [stage("", name, limit_s=limit_s) for name, limit_s in LIMITS.items()]
    run_all(stages, tmp_path, until_s=60.0)
    assert limits == {name: pytest.approx(limit_s, abs=1) for name, limit_s in ALLOWED_S.items()}


# One second goes to what is between two stages.
LIMITS = {"first": 10.0, "second": 30.0, "third": 20.0}
ALLOWED_S = {"first": 10.0, "second": 59.0 - 21.0, "third": 59.0}


def test_the_archive_has_all_files_of_the_folder_and_is_replaced_in_one_go(tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "results" / "proof.zip"
    (out / "folder").mkdir(parents=True)
    for name in ("a.json", "b.log"):
        (out / name).write_text(name)
        pack(out, file)
    with zipfile.ZipFile(file) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            "a.json": "a.json",
            "b.log": "b.log",
        }
    assert [each.name for each in file.parent.iterdir()] == ["proof.zip"]


def test_an_archive_in_the_folder_itself_is_not_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    for _ in range(2):
        pack(tmp_path, tmp_path / "proof.zip")
    with zipfile.ZipFile(tmp_path / "proof.zip") as archive:
        assert archive.namelist() == ["a.json"]


@pytest.mark.parametrize(
    "spelling", [["scripts/gpu/prove.py"], ["-m", "scripts.gpu.prove"]], ids=["file", "module"]
)
def test_both_spellings_run_and_end_in_time(spelling: list[str], tmp_path: Path) -> None:
    file = tmp_path / "proof.zip"
    command = [sys.executable, *spelling, "--device", "cpu", "--out", str(tmp_path / "out")]
    command += ["--pack", str(file)]
    done = subprocess.run(
        [*command, "--until", "7"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    for name in FIRST_CALL:
        status = load(tmp_path / "out" / f"{name}.json")["status"]
        assert status in ({"killed", "done"} if name == "machine" else {"not reached"})
    assert "FAILS" in done.stdout
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
    assert names == {each.name for each in (tmp_path / "out").iterdir()}
    assert {"summary.json", *(f"{name}.json" for name in FIRST_CALL)} <= names
