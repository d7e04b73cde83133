"""``--reuse``: an answer is reused while nothing that it rests on has changed, and not after."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.cli import basis
from autobatch.cli.basis import describe_basis, find_differences, find_reusable
from autobatch.command.settings import CommandSettings
from autobatch.devices.cpu import CpuDevice
from autobatch.errors import ResultFormatError, SettingsError
from autobatch.ranks.settings import RanksSettings
from autobatch.records import MemoryBound, Settings, Unknown
from autobatch.reporting import save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target that imports two files beside it, one of them from a package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "model.py").write_text("import torch, layers\nfrom parts.head import Head\n")
    (tmp_path / "layers.py").write_text("WIDTH = 8\n")
    (tmp_path / "unused.py").write_text("x = 1\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "head.py").write_text("from . import tail\nclass Head: pass\n")
    (tmp_path / "parts" / "tail.py").write_text("")
    (tmp_path / "config.yaml").write_text("depth: 3\n")
    return tmp_path


def describe(
    settings: Settings | None = None, ranks: RanksSettings | None = None, target: str = "model.py"
) -> dict[str, str]:
    return describe_basis(target, (), settings or Settings(), ranks or RanksSettings())


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    return [each.partition(" (")[0] for each in find_differences(before, now)]


def test_nothing_differs_where_nothing_changed(folder: Path) -> None:
    before = describe()
    (folder / "unused.py").write_text("x = 2\n")
    assert find_differences(before, describe()) == []


@pytest.mark.parametrize(
    "name", ["model.py", "layers.py", "parts/__init__.py", "parts/head.py", "parts/tail.py"]
)
def test_code_that_the_target_imports_from_beside_it_differs(folder: Path, name: str) -> None:
    before = describe()
    with (folder / name).open("a") as file:
        file.write("# changed\n")
    assert changed(before, describe()) == [name]


def test_a_module_is_found_as_its_file_is(folder: Path) -> None:
    files = {"parts/__init__.py", "parts/head.py"}
    # The package of a module is the root of what it imports by name.
    assert files <= set(describe(target="parts.head:Head"))
    assert describe(target="hf:gpt2").keys().isdisjoint(os.listdir(folder))


@pytest.mark.parametrize(
    ("settings", "ranks", "name"),
    [
        (Settings(memory_limit_bytes=2**30), RanksSettings(), "--memory-limit"),
        (Settings(device="cuda:1"), RanksSettings(), "--device"),
        (Settings(variables={"A": "1"}), RanksSettings(), "--env"),
        (Settings(), RanksSettings(nproc_per_node=2), "--nproc-per-node"),
    ],
)
def test_an_option_differs_whichever_way_it_changed(
    folder: Path, settings: Settings, ranks: RanksSettings, name: str
) -> None:
    assert changed(describe(), describe(settings, ranks)) == [name]
    assert changed(describe(settings, ranks), describe()) == [name]


def in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")


def in_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    (Path() / "new" / "added-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend("new")


def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = (MemoryBound.of("cgroup", 2**33, 2**33),)
    monkeypatch.setattr(CpuDevice, "bounds", lambda self, limit: bounds)


def in_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatch.devices.cpu.count_usable_cores", lambda: 77)


def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basis.platform, "python_version", lambda: "3.99.0")


def in_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gpu:
        def ask(self, function: str) -> object:
            return "A100" if function == "nvmlDeviceGetName" else Unknown(reason="not told")

    monkeypatch.setattr("autobatch.devices.nvml.open_nvml", object)
    monkeypatch.setattr("autobatch.devices.nvml.list_gpus", lambda nvml: (Gpu(),))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (in_environment, "OMP_NUM_THREADS"),
        (in_pytorch, "PyTorch"),
        (in_packages, "installed packages"),
        (in_memory, "memory"),
        (in_cores, "CPU"),
        (in_python, "Python"),
        (in_gpus, "GPU 0"),
    ],
)
def test_versions_and_hardware_differ(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    name: str,
) -> None:
    before = describe()
    change(monkeypatch)
    assert changed(before, describe()) == [name]


def test_a_command_differs_with_its_words_its_code_and_the_files_that_it_names(
    folder: Path,
) -> None:
    words = ("python", "model.py", "--config=config.yaml", "--lr", "0.1")
    before = describe_basis(None, words, CommandSettings())
    assert changed(before, describe_basis(None, (*words, "--amp"), CommandSettings())) == ["target"]
    (folder / "layers.py").write_text("WIDTH = 9\n")
    (folder / "config.yaml").write_text("depth: 30\n")
    now = describe_basis(None, words, CommandSettings(fresh=True))
    assert sorted(changed(before, now)) == ["--fresh", "config.yaml", "layers.py"]
    of_module = describe_basis(None, ("python", "-m", "parts.head"), CommandSettings())
    assert "parts/head.py" in of_module


def test_a_difference_is_told_with_both_values() -> None:
    assert find_differences({"PyTorch": "2.13", "m.py": "ab"}, {"PyTorch": "2.14"}) == [
        "PyTorch (2.13, now 2.14)",
        "m.py (ab, now none)",
    ]


def test_a_finding_is_reused_only_where_it_rests_on_the_same(make_finding, tmp_path: Path) -> None:
    said: list[str] = []
    path = str(tmp_path / "finding.json")
    assert find_reusable(path, {"PyTorch": "2.13"}, said.append) is None
    finding = replace(make_finding(), basis={"PyTorch": "2.13"})
    save(finding, path, True)
    assert find_reusable(path, {"PyTorch": "2.13"}, said.append) == finding
    assert find_reusable(path, {"PyTorch": "2.14"}, said.append) is None
    save(make_finding(), path, True)
    assert find_reusable(path, {"PyTorch": "2.14"}, said.append) is None
    assert said == [
        f"{path} is reused: nothing that it rests on has changed",
        f"{path} is not reused; changed since: PyTorch (2.13, now 2.14)",
        f"{path} is not reused: it does not say what it rests on",
    ]


def test_another_file_is_not_taken_for_a_finding(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ResultFormatError, match="schema_version"):
        find_reusable(str(tmp_path / "notes.json"), {}, print)


def test_processes_of_a_launcher_do_not_decide_each_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"`reuse=f\.json`"):
        find_reusable("f.json", {}, print)


def test_pytorch_is_not_loaded_to_decide(folder: Path) -> None:
    code = (
        "import sys; from autobatch.cli.basis import describe_basis, find_reusable\n"
        "from autobatch.records import Settings\n"
        "find_reusable('f.json', describe_basis('model.py', (), Settings()), print)\n"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
