"""What an answer rests on, in words that can be compared, for ``--reuse``.

Nothing is run and PyTorch is not loaded, so that it takes a fraction of a second. Data is not
looked at: files of code are, and files that the command names.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from autobatch import units
from autobatch._version import __version__
from autobatch.errors import SettingsError
from autobatch.ranks.launcher import find_place
from autobatch.records import Finding, Unknown
from autobatch.records.options import options_of

#: Variables whose values change what a step takes.
_VARIABLES = (
    "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "PYTORCH_", "TORCH_", "OMP_", "MKL_", "KMP_", "GOMP_",
    "OPENBLAS_", "MALLOC_", "LD_PRELOAD",
)  # fmt: skip
_DIGITS = 16


def describe_basis(
    target: str | None, arguments: tuple[str, ...], *settings: Any
) -> dict[str, str]:
    """What the answer to a search rests on, one entry for each thing.

    Args:
        target: As the user wrote it; ``None`` for a command.
        arguments: The command.
        settings: Records of settings; what is at its default is left out.
    """
    return {
        "target": target if target is not None else " ".join(arguments),
        **_changed_options(*settings),
        **dict(_versions()),
        **dict(_machine()),
        **{name: os.environ[name] for name in sorted(os.environ) if name.startswith(_VARIABLES)},
        **(_files_of_target(target) if target is not None else _files_of_command(arguments)),
    }


def find_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, in words.

    Args:
        before: What an answer rests on.
        now: What it would rest on now.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} ({before.get(name, 'none')}, now {now.get(name, 'none')})" for name in names]


def find_reusable(
    path: str, basis: Mapping[str, str], say: Callable[[str], None]
) -> Finding | None:
    """The finding in a file, if it rests on what a search would rest on now.

    Args:
        path: The file; there may be none yet.
        basis: What a search would rest on now.
        say: Is told whether the finding is reused, and if not, why.

    Raises:
        ResultFormatError: If there is a file, and it holds something else.
        SettingsError: If a launcher started several processes, which might decide differently.
    """
    from autobatch.reporting import load

    if find_place(os.environ) is not None:
        raise SettingsError(
            f"`reuse={path}` is decided by one process, and a launcher started several",
            hint="let autobatch start them, with `nproc_per_node`",
        )
    if not os.path.exists(path):
        return None
    finding = load(path)
    differences = find_differences(finding.basis, basis)
    if not finding.basis:
        say(f"{path} is not reused: it does not say what it rests on")
    elif differences:
        say(f"{path} is not reused; changed since: {'; '.join(differences)}")
    else:
        say(f"{path} is reused: nothing that it rests on has changed")
        return finding
    return None


def _changed_options(*settings: Any) -> dict[str, str]:
    return {
        each.flag: each.kind.show(getattr(record, each.field))
        for record in settings
        for each in options_of(record.__class__).values()
        if getattr(record, each.field) != each.default
    }


def _versions() -> Iterator[tuple[str, str]]:
    yield "autobatch", __version__
    yield "Python", platform.python_version()
    with suppress(importlib.metadata.PackageNotFoundError):
        yield "PyTorch", importlib.metadata.version("torch")
    folders = [Path(entry) for entry in sys.path if Path(entry).is_dir()]
    names = {each.name for folder in folders for each in folder.glob("*.dist-info")}
    yield "installed packages", _digest("\n".join(sorted(names)).encode())


def _machine() -> Iterator[tuple[str, str]]:
    from autobatch.devices.cpu import CpuDevice, count_usable_cores
    from autobatch.devices.nvml import list_gpus, open_nvml

    cpu = CpuDevice()
    yield "CPU", f"{cpu.hardware_name()}, {count_usable_cores()} cores"
    capacity_bytes = min(bound.capacity_bytes for bound in cpu.bounds(None))
    yield "memory", units.format_bytes(capacity_bytes)
    nvml = open_nvml()
    for index, gpu in enumerate(() if isinstance(nvml, Unknown) else list_gpus(nvml)):
        memory = gpu.ask("nvmlDeviceGetMemoryInfo")
        size = "" if isinstance(memory, Unknown) else f", {units.format_bytes(memory.total)}"
        yield f"GPU {index}", f"{gpu.ask('nvmlDeviceGetName')}{size}"


def _files_of_target(text: str) -> dict[str, str]:
    from autobatch.workload.files import parse_target

    target = parse_target(text)
    if target.catalogue:
        return {}
    if target.is_file:
        return _code_from([Path(target.location)])
    return _code_from(_modules(Path(), target.location.split(".")))


def _files_of_command(arguments: tuple[str, ...]) -> dict[str, str]:
    names = [name for before, name in pairwise(arguments) if before == "-m"]
    sources = [path for name in names for path in _modules(Path(), name.split("."))]
    others = {}
    for word in arguments[1:]:
        path = Path(word.rpartition("=")[2])
        if path.suffix == ".py" and path.is_file():
            sources.append(path)
        elif path.is_file():  # a configuration, or data of any size
            status = path.stat()
            others[str(path)] = f"{status.st_size} bytes of {status.st_mtime_ns}"
    return {**_code_from(sources), **others}


def _code_from(paths: list[Path]) -> dict[str, str]:
    """Digests of files, and of what they import that lies beside them, by path."""
    found: dict[str, str] = {}
    waiting = [(path, path.parent) for path in paths]
    while waiting:
        path, root = waiting.pop()
        if str(path) not in found:
            code = path.read_bytes()
            found[str(path)] = _digest(code)
            waiting += [(each, root) for each in _imported(code, path, root)]
    return dict(sorted(found.items()))


def _imported(code: bytes, path: Path, root: Path) -> Iterator[Path]:
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError):  # which the search will tell of
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            above = path.parents[: node.level][-1] if node.level else root
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _modules(above, [*parts, alias.name])


def _modules(folder: Path, parts: list[str]) -> list[Path]:
    """The files that are run to import a module, those of its packages among them."""
    stems = [folder.joinpath(*parts[: end + 1]) for end in range(len(parts))]
    files = [each for stem in stems for each in (stem / "__init__.py", stem.with_suffix(".py"))]
    return [each for each in files if each.is_file()]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
