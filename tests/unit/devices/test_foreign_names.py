"""Modules for GPUs on a machine without one: all that they call is there to be called so."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
import torch

import autobatch.devices

FOLDER = Path(autobatch.devices.__file__).parent
# What a name in our code stands for.
ROOTS = {
    "torch": torch,
    "self._mps": torch.mps,
    "self._backend": torch.backends.mps,
    "self._xpu": torch.xpu,
    "self._api": torch.cuda,
    "xpu": torch.xpu,
}


def _chain(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _chain(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def _resolve(name: str) -> Any:
    root = max((each for each in ROOTS if f"{name}.".startswith(f"{each}.")), key=len)
    value: Any = ROOTS[root]
    for part in name.removeprefix(root).split(".")[1:]:
        value = getattr(value, part)
    return value


def _is_foreign(name: str) -> bool:
    return any(name.startswith(f"{root}.") for root in ROOTS)


def torch_names(source: str) -> set[str]:
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    return {name for name in map(_chain, nodes) if _is_foreign(name)}


def torch_calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_foreign(_chain(node.func)):
            yield _chain(node.func), node


def nvml_calls(source: str) -> Iterator[tuple[str, int]]:
    """Functions of NVML that are asked for by name, with the number of arguments."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        num_handles = {"call": 0, "ask": 1, "ask_first": 1}.get(node.func.attr)
        if num_handles is None or not node.args:
            continue
        for constant in ast.walk(node.args[0]):
            if isinstance(constant, ast.Constant) and str(constant.value).startswith("nvml"):
                yield constant.value, len(node.args) - 1 + num_handles


def _bind(function: Any, num_arguments: int, keywords: dict[str, None]) -> None:
    inspect.signature(function).bind(*[None] * num_arguments, **keywords)


SOURCES = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.py")}
NAMES = sorted({name for source in SOURCES.values() for name in torch_names(source)})
CALLS = sorted({call for source in SOURCES.values() for call in nvml_calls(source)})
CONSTANTS = sorted(
    {
        text.value
        for source in SOURCES.values()
        for text in ast.walk(ast.parse(source))
        if isinstance(text, ast.Constant)
        and str(text.value).startswith(("NVML_", "nvmlMemory_", "nvmlDevice", "nvmlSystem"))
    }
)


def test_the_modules_talk_to_both_libraries() -> None:
    assert "torch.cuda.mem_get_info" in NAMES
    assert "self._mps.driver_allocated_memory" in NAMES
    assert "self._xpu.memory_reserved" in NAMES
    assert ("nvmlDeviceGetMemoryInfo", 1) in CALLS
    assert ("nvmlDeviceGetTotalEccErrors", 3) in CALLS
    assert len(CALLS) > 15


@pytest.mark.parametrize("name", NAMES)
def test_each_name_of_pytorch_exists(name: str) -> None:
    _resolve(name)


def test_what_all_caching_gpus_are_asked_intel_s_are_asked_too() -> None:
    shared = [name.removeprefix("self._api.") for name in NAMES if name.startswith("self._api.")]
    assert len(shared) > 5
    for name in shared:
        assert hasattr(torch.xpu, name), name


@pytest.mark.parametrize(("name", "num_arguments"), CALLS)
def test_each_function_of_nvml_takes_what_it_is_given(name: str, num_arguments: int) -> None:
    _bind(getattr(pynvml, name), num_arguments, {})


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_name_of_nvml_in_a_text_exists(name: str) -> None:
    assert hasattr(pynvml, name)


def test_each_call_of_pytorch_passes_what_the_function_takes() -> None:
    calls = [call for source in SOURCES.values() for call in torch_calls(source)]
    assert len(calls) > 30
    for name, node in calls:
        function = _resolve(name)
        if inspect.isfunction(function):
            _bind(function, len(node.args), {str(each.arg): None for each in node.keywords})


def test_names_and_arities_that_are_wrong_would_be_noticed() -> None:
    with pytest.raises(AttributeError):
        _resolve("torch.cuda.memory_preserved")
    with pytest.raises(AttributeError):
        _resolve("self._xpu.mem_get_information")
    ((name, num_arguments),) = nvml_calls('gpu.ask("nvmlDeviceGetClockInfo")')
    with pytest.raises(TypeError):
        _bind(getattr(pynvml, name), num_arguments, {})
