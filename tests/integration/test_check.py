"""``autobatch check`` as CI meets it: real processes, and what they leave behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from fixtures.commands import STRICT, press_ctrl_c, run_autobatch, start_autobatch, wait_for

from autobatch.cli import run

# Steps that take their time, so that no requirement here is close to what is measured, and a
# little memory of their own.
TARGET = """
import os, time, torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 64
batch_size = 8
held = torch.ones(2**18 * int(os.environ.get("HELD_MIB", "0")))
def training_step(model, batch):
    time.sleep(0.002)
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
"""
autobatch = partial(run_autobatch, "check", flags=STRICT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a target, the code before a change to it, and a baseline."""
    folder = tmp_path_factory.mktemp("check")
    for name in ("model.py", "before.py"):
        (folder / name).write_text(TARGET)
    done = autobatch(
        "model.py", "--reference", "before.py", "--save-baseline", "base.json", "--device", "cpu",
        "--time-limit", "1s", "-q", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    for path in made.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def statuses(done: Any) -> dict[str, str]:
    return {each["name"]: each["status"] for each in json.loads(done.stdout)["requirements"]}


class Done:
    """What a run in this process came to, with the names of a finished process."""

    def __init__(self, returncode: int, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


@pytest.fixture
def here(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run the command in this process, which has PyTorch loaded: for what starts no other."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments: str) -> Done:
        status = run(["check", *arguments])
        return Done(status, *capsys.readouterr())

    return call


EASY = ("--max-memory", "1TiB", "--min-headroom", "1%", "--min-throughput", "0.1",
        "--max-step-time", "1h", "--min-cores", "0.01", "--min-capacity", "1MiB",
        "--min-free", "1MiB", "--min-devices", "1", "--require", "fp32")  # fmt: skip


def test_every_requirement_met_is_status_0(folder: Path) -> None:
    done = autobatch(
        "model.py", "--device", "cpu", *EASY, "--baseline", "base.json", "--tolerance", "99%",
        "--memory-tolerance", "10%", "--json", "--junit", "junit.xml", "--time-limit", "5s",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = statuses(done)
    open_ones = {name for name, status in found.items() if status == "inconclusive"}
    assert open_ones <= {"baseline-step-time"}, "on a machine this noisy it may stay open"
    assert "not_met" not in found.values()
    assert "baseline-step-time" in found
    measured = json.loads(done.stdout)["measurement"]
    assert measured["reference"] == "before.py"
    assert measured["reference_batch_size"] == 8
    assert all(each["reference_times_s"] for each in measured["rounds"])
    cases = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
    assert [case.get("name") for case in cases] == list(found)


def change(folder: Path, **changes: Any) -> None:
    path = folder / "base.json"
    document = json.loads(path.read_text())
    for key, value in changes.items():
        if key in document["environment"]:
            document["environment"][key] = value
        else:
            document[key] = value
    path.write_text(json.dumps(document))


OF_TARGET = {
    "max-memory": ("--max-memory", "10MiB"),
    "min-headroom": ("--min-headroom", "99.99%"),
    "min-throughput": ("--min-throughput", "1000000"),
    "max-step-time": ("--max-step-time", "0.001ms"),
}
OF_HARDWARE = {
    "min-cores": ("--min-cores", "10000"),
    "min-capacity": ("--min-capacity", "1000TiB"),
    "min-free": ("--min-free", "1000TiB"),
    "min-devices": ("--min-devices", "99"),
    "require-tf32": ("--require", "tf32"),
}


def not_met(done: Any) -> list[str]:
    return [name for name, status in statuses(done).items() if status == "not_met"]


@pytest.mark.parametrize("name", OF_TARGET)
def test_a_target_that_violates_a_requirement_is_status_1_and_it_alone_fails(
    here: Callable[..., Done], name: str
) -> None:
    # Of an option that is given twice the last counts.
    done = here("model.py", "--device", "cpu", *EASY[:8], *OF_TARGET[name], "--json", "-q")
    assert done.returncode == 1, done.stderr
    assert not_met(done) == [name]


@pytest.mark.parametrize("name", OF_HARDWARE)
def test_hardware_that_violates_a_requirement_is_status_1_and_it_alone_fails(
    here: Callable[..., Done], name: str
) -> None:
    done = here("--device", "cpu", *EASY[8:], *OF_HARDWARE[name], "--json")
    assert done.returncode == 1, done.stderr
    assert not_met(done) == [name]


def test_more_memory_than_in_the_baseline_is_status_1(folder: Path) -> None:
    # What changes for the target does not change for the reference.
    mark = "import os\nassert 'HELD_MIB' not in os.environ\n"
    (folder / "before.py").write_text(mark + TARGET)
    done = autobatch(
        "model.py", "--device", "cpu", "--baseline", "base.json", "--tolerance", "99%",
        "--time-limit", "5s", "--env", "HELD_MIB=40", "--json", "--save-baseline", "new.json",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert statuses(done)["baseline-memory"] == "not_met"
    assert "No baseline saved" in done.stderr
    assert not (folder / "new.json").exists()
    assert "--env none then, HELD_MIB=40 now" in json.loads(done.stdout)["notes"][0]


def test_a_longer_step_than_in_the_baseline_is_status_1_and_it_alone_fails(folder: Path) -> None:
    slower = (folder / "model.py").read_text().replace("sleep(0.002)", "sleep(0.02)")
    (folder / "model.py").write_text(slower)
    done = autobatch(
        "model.py", "--device", "cpu", "--baseline", "base.json", "--memory-tolerance", "10%",
        "--time-limit", "30s", "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert not_met(done) == ["baseline-step-time"]


def test_a_size_that_does_not_fit_is_status_1_and_the_rest_stays_open(
    folder: Path, here: Callable[..., Done]
) -> None:
    hungry = "    batch[0].new_empty(2**50 if len(batch[0]) > 4 else 1)\n    time.sleep"
    (folder / "model.py").write_text(TARGET.replace("    time.sleep", hungry))
    keep = ("--save-baseline", "new.json")
    done = here("model.py", "--device", "cpu", *EASY[:8], *keep, "--json", "-q")
    assert done.returncode == 1, done.stderr
    assert "No baseline saved to new.json" in done.stderr
    assert not (folder / "new.json").exists()
    found = statuses(done)
    assert found.pop("fits") == "not_met"
    assert set(found.values()) == {"inconclusive"}


REFUSED: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "missing baseline": (None, ("model.py", "--baseline", "no.json"), "no such file"),
    "truncated baseline": (
        lambda folder: os.truncate(folder / "base.json", 500),
        ("model.py", "--baseline", "base.json"),
        "not JSON",
    ),
    "wrong version": (
        lambda folder: change(folder, schema_version=99),
        ("model.py", "--baseline", "base.json"),
        "schema_version 99",
    ),
    "older version": (
        lambda folder: change(folder, schema_version=1, reference="builtin:linear"),
        ("model.py", "--baseline", "base.json"),
        "schema_version 1 is older than 2",
    ),
    "unknown key": (
        lambda folder: change(folder, colour="red"),
        ("model.py", "--baseline", "base.json"),
        "colour: unknown key",
    ),
    "other hardware": (
        lambda folder: change(folder, device_name="Abacus"),
        ("model.py", "--baseline", "base.json"),
        "hardware Abacus then",
    ),
    "other reference": (
        None,
        ("model.py", "--baseline", "base.json", "--reference", "none"),
        "--reference before.py, not none",
    ),
    "reference that there is not": (
        None,
        ("model.py", "--save-baseline", "new.json", "--reference", "no.py"),
        "no.py does not exist",
    ),
    "unknown key in TOML": (
        lambda folder: (folder / "r.toml").write_text('max-memry = "1GiB"\n'),
        ("model.py", "--requirements", "r.toml"),
        "unknown key 'max-memry'",
    ),
    "broken TOML": (
        lambda folder: (folder / "r.toml").write_text("= 3"),
        ("model.py", "--requirements", "r.toml"),
        "not TOML",
    ),
    "bad value in TOML": (
        lambda folder: (folder / "r.toml").write_text('max-memory = "lots"\n'),
        ("model.py", "--requirements", "r.toml"),
        "--max-memory must be a memory size with its unit, got 'lots'",
    ),
    "list in TOML": (
        lambda folder: (folder / "r.toml").write_text("max-memory = [1]\n"),
        ("model.py", "--requirements", "r.toml"),
        "max-memory = [1] cannot be used",
    ),
    "no TOML": (None, ("model.py", "--requirements", "no.toml"), "no such file"),
    "nothing to check": (None, (), "nothing to check"),
    "no target": (None, ("--max-memory", "1GiB"), "--max-memory needs a target"),
    "missing target": (None, ("no.py",), "no.py does not exist"),
    "missing device": (None, ("--device", "cuda:77", "--min-free", "1GiB"), "'cuda:77'"),
    "unknown device": (None, ("--device", "tpu", "--min-free", "1GiB"), "'tpu'"),
    "batch beyond the data": (None, ("model.py", "--batch-size", "65"), "64 samples"),
    "baseline in the way": (None, ("model.py", "--save-baseline", "base.json"), "--force"),
    "no folder": (None, ("model.py", "--junit", "no/j.xml"), "no folder"),
    "junit over baseline": (
        None,
        ("model.py", "--baseline", "base.json", "--junit", "./base.json"),
        "is the baseline",
    ),
    "a size without end": (None, ("model.py", "--max-memory", "9" * 400), "must be a memory size"),
    "a reference for nothing": (
        None,
        ("model.py", "--reference", "before.py", "--junit", "j.xml"),
        "for comparing with a baseline",
    ),
    "bad driver": (None, ("--min-driver", "new"), "must be a version, got 'new'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_input_is_status_2_and_nothing_is_written(folder: Path, name: str) -> None:
    spoil, arguments, words = REFUSED[name]
    if spoil is not None:
        spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    outputs = () if "--junit" in arguments else ("--junit", "new.xml")
    keeps = {"--save-baseline", "--reference"} & {*arguments} or "model.py" not in arguments
    outputs += () if keeps else ("--save-baseline", "new.json")
    done = autobatch(*arguments, *outputs, "-q", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert words in " ".join(done.stderr.split())
    assert done.stderr.count("Error: ") == done.stderr.count("Hint: ") == 1
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_requirement_not_met_if_one_is_required(
    here: Callable[..., Done],
) -> None:
    arguments = ("model.py", "--device", "cuda", "--max-memory", "1GiB", "--json")
    done = here(*arguments, "--min-devices", "1")
    assert done.returncode == 1, done.stderr
    found = statuses(done)
    assert found.pop("min-devices") == "not_met"
    assert set(found.values()) == {"inconclusive"}
    assert here(*arguments, "--min-free", "1GiB").returncode == 2


def test_what_is_not_told_is_inconclusive_and_fails_with_strict(
    here: Callable[..., Done],
) -> None:
    arguments = ("--device", "cpu", "--min-driver", "550", "--no-throttling")
    done = here(*arguments)
    assert done.returncode == 0, done.stderr
    assert "a CPU has no driver" in done.stdout
    assert "--strict" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert here(*arguments, "--strict").returncode == 1


def test_a_file_of_requirements_is_read_and_the_command_line_wins(folder: Path) -> None:
    (folder / "r.toml").write_text(
        'target = "model.py"\nbatch-size = 4\nmax-memory = "10MiB"\nmin_headroom = 0.9999\n'
        'strict = true\nrequire = ["fp32"]\ndevice = "cpu"\ntolerance = 0.2\n'
    )
    more = ("--max-memory", "1TiB", "--batch-size", "2", "--json")
    done = autobatch("--requirements", "r.toml", *more, cwd=folder)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["strict"]
    assert document["target"] == "model.py"
    assert document["measurement"]["batch_size"] == 2
    assert statuses(done) == {
        "require-fp32": "met",
        "fits": "met",
        "max-memory": "met",
        "min-headroom": "not_met",
    }


def test_a_project_file_is_read_without_being_named(
    folder: Path, here: Callable[..., Done]
) -> None:
    table = "[tool.autobatch.check]\ndevice = 'cpu'\nmin-cores = 10000\n"
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n" + table)
    done = here("--json")
    assert (done.returncode, statuses(done)) == (1, {"min-cores": "not_met"})
    (folder / "pyproject.toml").write_text(table + "min_coers = 1\n")
    done = here()
    assert done.returncode == 2
    assert "pyproject.toml, tool.autobatch.check: unknown key 'min_coers'" in done.stderr
    assert "did you mean min-cores?" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_is_no_pass() -> None:
    with open("/dev/full", "w") as full:
        done = run_autobatch("check", "--device", "cpu", "--min-cores", "1", stdout=full)
    assert done.returncode == 2
    assert "no space left" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_tells_what_was_decided_and_leaves_no_child(folder: Path) -> None:
    process = start_autobatch(
        "check", "model.py", "--max-step-time", "1h", "--min-throughput", "0.1",
        "--save-baseline", "new.json", "--junit", "new.xml", "--device", "cpu",
        "--time-limit", "1h",
        cwd=folder,
    )  # fmt: skip
    wait_for(process, "^round ")
    stdout, stderr = press_ctrl_c(process)
    assert stdout == ""
    assert "what was decided so far" in stderr
    assert "max-step-time" in stderr
    assert not (folder / "new.json").exists()
    assert not (folder / "new.xml").exists()


def test_a_change_that_raises_predicted_memory_fails_and_names_the_module(
    here: Callable[..., Done], folder: Path
) -> None:
    (folder / "net.py").write_text(
        """
import os, torch
width = int(os.environ.get("NET_WIDTH", "256"))
model = torch.nn.Sequential()
model.add_module("stem", torch.nn.Linear(256, 256))
model.add_module("body", torch.nn.Sequential(torch.nn.Linear(256, width), torch.nn.GELU()))
model.add_module("head", torch.nn.Linear(width, 10))
batch = lambda size: (torch.randn(size, 256), torch.randint(10, (size,)))
loss = torch.nn.functional.cross_entropy
"""
    )
    asked = ("net.py", "--gpu", "a100-40gb", "--batch-size", "500000", "--max-memory", "5GiB", "-q")
    made = here(*asked, "--save-baseline", "memory.json")
    assert made.returncode == 0, made.stderr
    assert "on a100-40gb, predicted" in made.stdout
    assert "Predicted; nothing was run on a GPU" in made.stdout
    wider = here(*asked, "--baseline", "memory.json", "--env", "NET_WIDTH=1024", "--json")
    assert wider.returncode == 1
    assert statuses(wider) == {"fits": "met", "max-memory": "not_met", "baseline-memory": "not_met"}
    (reason,) = (each["reason"] for each in json.loads(wider.stdout)["requirements"][2:])
    assert reason.startswith("most of it in module body")
    measured = here("net.py", "--batch-size", "8", "--baseline", "memory.json", "-q")
    assert measured.returncode == 2
    assert "memory.json" in measured.stderr


ON_RANKS = ("model.py", "--nproc-per-node", "2", "--device", "cpu", "--time-limit", "1s",
            "-q", "--json")  # fmt: skip
forks = pytest.mark.skipif(sys.platform != "linux", reason="trials of several processes fork")


@forks
def test_processes_that_train_together_are_held_against_requirements(folder: Path) -> None:
    done = autobatch(
        *ON_RANKS, "--max-memory", "1MiB", "--all-reduce-min", "1KiB/s", "--junit", "check.xml",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert statuses(done) == {"all-reduce-min": "met", "fits": "met", "max-memory": "not_met"}
    measured = json.loads(done.stdout)["measurement"]
    assert (measured["num_ranks"], measured["parallel"], measured["batch_size"]) == (2, "DDP", 8)
    cases = {
        each.get("name"): each.find("failure") is not None
        for each in ElementTree.parse(folder / "check.xml").iter("testcase")
    }
    assert cases == {"all-reduce-min": False, "fits": False, "max-memory": True}


@forks
@pytest.mark.slow
def test_processes_that_train_together_are_held_against_a_baseline_of_as_many(
    folder: Path,
) -> None:
    made = autobatch(*ON_RANKS, "--save-baseline", "two.json", cwd=folder)
    assert made.returncode == 0, made.stderr
    again = autobatch(*ON_RANKS, "--baseline", "two.json", "--tolerance", "90%", cwd=folder)
    assert "baseline-step-time" in statuses(again)
    alone = autobatch("model.py", "--device", "cpu", "--baseline", "two.json", cwd=folder)
    assert alone.returncode == 2
    assert "processes 2 DDP then, 1 now" in " ".join(alone.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min-cores", "1"), "--nproc-per-node 2 needs a target, or --all-reduce-min"),
        (("--", "python", "train.py"), "--nproc-per-node 2 is for a target"),
    ],
)
def test_processes_are_started_for_a_target_alone(
    here: Callable[..., Done], arguments: tuple[str, ...], message: str
) -> None:
    done = here("--nproc-per-node", "2", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
