"""What was asked for when memory ran out, what was held, and which limit bound."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from autobatch.devices.select import select_device
from autobatch.errors import AutobatchError, message_of
from autobatch.guard.scene import Scene, describe
from autobatch.records import MemoryBound
from autobatch.units import parse_bytes

if sys.platform == "linux":
    from autobatch.devices import linux

_ASKED = re.compile(
    r"(?:tried|unable) to (?:allocate|mmap) (\d+(?:\.\d+)?)\.? ?(bytes|[KMGT]i?B)", re.I
)
_GPU = re.compile(r"\bGPU (\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was held when memory ran out.

    Attributes:
        weight_bytes: Parameters and buffers.
        gradient_bytes: Gradients.
        optimizer_bytes: State of the optimizer.
        fixed_bytes: These, the gradients that are still to come, and what takes memory at any
            batch size: libraries, the context of a GPU.
        own_bytes: All that the process holds; ``None`` if that cannot be told.
        bound: The tightest limit, if there is one that can be read.
    """

    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    fixed_bytes: int
    own_bytes: int | None
    bound: MemoryBound | None


def read_asked_bytes(error: BaseException) -> int | None:
    """The size of the allocation that failed, as the message says it."""
    found = _ASKED.search(message_of(error))
    if found is None:
        return None
    return parse_bytes(found[1] + ("B" if found[2] == "bytes" else found[2]))


def read_device_name(error: BaseException, model: torch.nn.Module | None) -> str:
    """Whose memory ran out: what the message says, else where the model is."""
    text = message_of(error)
    is_of_host = isinstance(error, (MemoryError, OSError)) or "DefaultCPUAllocator" in text
    if is_of_host:
        return "cpu"
    if isinstance(error, torch.OutOfMemoryError) or re.search(r"CUDA|HIP|XPU", text):
        kind = "xpu" if "XPU" in text else "cuda"
        number = _GPU.search(text)
        return f"{kind}:{number[1] if number else 0}"
    first = None if model is None else next(model.parameters(), None)
    return "cpu" if first is None else str(first.device)


def read_held(scene: Scene, device_name: str) -> Held:
    """Add up what a training holds on a device.

    Args:
        scene: Its model and optimizer.
        device_name: As PyTorch writes it: ``cpu``, ``cuda:0``.
    """
    parameters = [] if scene.model is None else list(scene.model.parameters())
    buffers = [] if scene.model is None else list(scene.model.buffers())
    state = [] if scene.optimizer is None else list(scene.optimizer.state.values())
    there = torch.device(device_name)
    weight_bytes = _sum_storages([*parameters, *buffers], there)
    gradient_bytes = _sum_storages((each.grad for each in parameters), there)
    optimizer_bytes = _sum_storages((each for one in state for each in one.values()), there)
    without = (each for each in parameters if each.requires_grad and each.grad is None)
    to_come_bytes = _sum_storages(without, there)
    own_bytes, beside_bytes, bound = _read_device(device_name)
    told_bytes = weight_bytes + gradient_bytes + optimizer_bytes
    return Held(
        weight_bytes=weight_bytes,
        gradient_bytes=gradient_bytes,
        optimizer_bytes=optimizer_bytes,
        fixed_bytes=told_bytes + to_come_bytes + beside_bytes,
        own_bytes=own_bytes,
        bound=bound,
    )


def find_tensors_of_process(device_name: str) -> tuple[int, torch.Tensor | None]:
    """Bytes of all tensors that Python holds on a device, and the largest of them."""
    there = torch.device(device_name)
    alive = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
    alive = [each for each in alive if _is_on(there, each)]
    return _sum_storages(alive, there), max(alive, key=lambda each: each.nbytes, default=None)


def describe_output(scene: Scene, num_bytes: int) -> str | None:
    """Shape of what PyTorch's own module was about to return, if it has that many bytes.

    The module runs again on the ``meta`` device, where tensors have a shape and no memory.

    Args:
        scene: What was running.
        num_bytes: Size of the allocation that failed.
    """
    module = scene.running
    if module is None or not type(module).__module__.startswith("torch.nn.modules."):
        return None
    if module._forward_hooks or module._forward_pre_hooks:  # the user's code, which would run again
        return None
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    arguments, by_name = torch.utils._pytree.tree_map(_to_meta, scene.arguments)
    # What has no counterpart on that device has no shape here.
    with torch.no_grad(), suppress(Exception):
        output = torch.func.functional_call(module, _to_meta_all(tensors), arguments, by_name)
        if isinstance(output, torch.Tensor) and output.nbytes == num_bytes:
            return describe(output)
    return None


def _to_meta_all(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each.to("meta") for name, each in tensors.items()}


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _is_on(device: torch.device, tensor: torch.Tensor) -> bool:
    """Whether a tensor takes memory there; one that is sparse has no storage of its own."""
    own = tensor.device
    is_there = (own.type, own.index or 0) == (device.type, device.index or 0)
    return is_there and tensor.layout == torch.strided


def _sum_storages(tensors: Iterable[Any], device: torch.device) -> int:
    """Bytes of the storages of tensors on a device, each counted once."""
    sizes = {}
    for each in tensors:
        if isinstance(each, torch.Tensor) and _is_on(device, each):
            storage = each.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def _read_device(name: str) -> tuple[int | None, int, MemoryBound | None]:
    """What the process holds there, what of it is no tensor, and the limit that binds."""
    kind, _, index = name.partition(":")
    try:
        if kind in ("cuda", "xpu"):
            api: Any = torch.get_device_module(kind)
            with api.device(api.current_device()):  # opening a device makes it the current one
                device = select_device(name)
            reading = device.read_peak()
            beside_bytes = (reading.peak_bytes or 0) - (reading.reserved_bytes or 0)
            own_bytes = int(api.memory_allocated(int(index or 0))) + beside_bytes
        else:
            device = select_device(name)
            own_bytes = device.read_peak().peak_bytes or 0
            beside_bytes = 0
            if kind == "cpu" and sys.platform == "linux":
                beside_bytes = linux.read_status_bytes().get("RssFile", 0)
    except (AutobatchError, RuntimeError, AssertionError):  # no such device, or it is lost
        return None, 0, None
    bound = min(device.bounds(None), key=lambda each: each.available_bytes)
    return own_bytes, beside_bytes, bound
