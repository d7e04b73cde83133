"""What can be put on a training from outside and taken off again; PyTorch is loaded when used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from autobatch.records.loading import LoaderSettings
from autobatch.tuning.asked import LEVER_NAMES, PRECISION, TuneSettings
from autobatch.tuning.records import Changes, Facts

if TYPE_CHECKING:
    import torch
    from torch import nn

EVERY_BLOCK, EVERY_SECOND_BLOCK = "every_block", "every_second_block"
SWITCHES = {
    "gradient_checkpointing_enable": ("gradient_checkpointing_enable", ()),
    "set_grad_checkpointing": ("set_grad_checkpointing", (True,)),
}
#: Above any allocation: glibc keeps what it has instead of giving it back after each step.
KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


@dataclass(slots=True, kw_only=True)
class Parts:
    """What levers are put on.

    Attributes:
        model: The module.
        optimizer: Its optimizer, ``None`` if it is not to be touched.
        loader: Options of the ``DataLoader`` to change.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | None = None
    loader: dict[str, Any] = field(default_factory=dict)


class Lever:
    """One thing that may make a training faster; this one is never offered and does nothing."""

    name: ClassVar[str]
    touches_step: ClassVar[bool] = False
    """Whether loss, gradients and buffers have to be compared with those without it."""
    redraws: ClassVar[bool] = False
    """Whether dropout draws as many numbers, but in another order."""
    in_code: ClassVar[bool] = True
    """Whether it can be put on in a process that has started."""

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """Values to try, or why there is none.

        Args:
            facts: Of the workload.
            device: Where it is trained.
        """
        return "not for this workload"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Change parts in place; returns what takes it off again."""
        return lambda: None

    def variables(self, value: str) -> Mapping[str, str]:
        """Environment variables of the training."""
        return {}


class Loader(Lever):
    """Workers, prefetching and pinning of the ``DataLoader``; the value is found by a search."""

    name = "loader"

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """None: the session offers it where waiting for data is the bound."""
        return "loading does not bound the throughput"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Note the options."""
        parts.loader.update(loader_options(value))
        return lambda: None


class Allocator(Lever):
    """Keep memory between steps on a CPU; segments that can grow on a GPU."""

    name = "allocator"
    in_code = False

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """One value on Linux CPUs and on CUDA."""
        if device.startswith("cuda"):
            return ("expandable_segments",)
        return ("keep",) if device == "cpu" and sys.platform == "linux" else "no setting is known"

    def variables(self, value: str) -> Mapping[str, str]:
        """Read when a process starts."""
        return EXPANDABLE if value == "expandable_segments" else KEEPS_MEMORY


class ChannelsLast(Lever):
    """Memory of images by pixel, not by channel."""

    name = "channels_last"
    touches_step = redraws = True

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """For convolutions."""
        return ("on",) if facts.has_convolutions else "the model has no 2-D convolution"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Convert the weights; activations follow them."""
        import torch

        model: Any = parts.model
        model.to(memory_format=torch.channels_last)
        return lambda: model.to(memory_format=torch.contiguous_format) and None


class OptimizerForm(Lever):
    """Another implementation of the same update."""

    name = "optimizer"

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """What its class takes."""
        if facts.optimizer_has_state:
            return "the optimizer has made steps already"
        return facts.optimizer_forms or "the optimizer has no other implementation"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Set it in every parameter group."""
        groups = (
            [*parts.optimizer.param_groups, parts.optimizer.defaults] if parts.optimizer else []
        )
        before = [{name: group.get(name) for name in ("fused", "foreach")} for group in groups]
        for group in groups:
            group.update({"fused": None, "foreach": None, value: True})

        def take_off() -> None:
            for group, values in zip(groups, before, strict=True):
                group.update(values)

        return take_off


class Threads(Lever):
    """Fewer CPU threads: one for each physical core, and half as many."""

    name = "threads"

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """Where a step has several."""
        import psutil

        most = facts.num_threads
        if device != "cpu" or most < 2:
            return "a step has a single thread" if device == "cpu" else "the steps are not on a CPU"
        found = {psutil.cpu_count(logical=False) or most, most // 2}
        return tuple(str(each) for each in sorted(found, reverse=True) if 0 < each < most)

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Set them for the process."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(int(value))
        return lambda: torch.set_num_threads(before)

    def variables(self, value: str) -> Mapping[str, str]:
        """For a command."""
        return {"OMP_NUM_THREADS": value}


class PrecisionLever(Lever):
    """Other arithmetic; the settings of the search have it."""

    name = PRECISION

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """What the device has."""
        return facts.precisions or "the device offers no other"


class OptimizerState(Lever):
    """Optimizer state in 8 bits, by bitsandbytes."""

    name = "optimizer_state"

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """Where the library is installed."""
        if not device.startswith("cuda") or facts.optimizer_has_state:
            return "it is for a new optimizer on CUDA"
        return ("8bit",) if facts.has_8bit_optimizer else "bitsandbytes has no such optimizer here"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Replace the optimizer by one over the same groups."""
        import importlib

        before = parts.optimizer
        assert before is not None
        library = importlib.import_module("bitsandbytes").optim
        make = getattr(library, f"{type(before).__name__}8bit")
        known = {"lr", "betas", "eps", "weight_decay", "momentum"}
        groups = [
            {"params": group["params"], **{key: group[key] for key in known & group.keys()}}
            for group in before.param_groups
        ]
        parts.optimizer = make(groups)

        def take_off() -> None:
            parts.optimizer = before

        return take_off


class Checkpointing(Lever):
    """Compute activations again in the backward pass instead of keeping them."""

    name = "checkpointing"
    touches_step = True

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """By the model's own switch, and on its repeated blocks."""
        every = (EVERY_BLOCK,) if facts.checkpoint_switch or facts.blocks else ()
        second = (EVERY_SECOND_BLOCK,) if len(facts.blocks) > 2 else ()
        return (*every, *second) or "the model has no repeated blocks and no switch of its own"

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Switch it on, or wrap the blocks."""
        from autobatch.tuning.blocks import find_switch, wrap_blocks

        switch = find_switch(parts.model)
        if value == EVERY_BLOCK and switch:
            name, arguments = SWITCHES[switch]
            getattr(parts.model, name)(*arguments)
            if arguments:
                return lambda: getattr(parts.model, name)(False)
            return lambda: parts.model.gradient_checkpointing_disable()  # type: ignore[operator]
        return wrap_blocks(parts.model, every=1 if value == EVERY_BLOCK else 2)


class Compile(Lever):
    """``torch.compile``, in place."""

    name = "compile"
    touches_step = True

    def offer(self, facts: Facts, device: str) -> tuple[str, ...] | str:
        """Unless it is compiled already."""
        return "the model is compiled already" if facts.is_compiled else ("inductor",)

    def put_on(self, parts: Parts, value: str) -> Callable[[], None]:
        """Compile at the first call."""
        model: Any = parts.model
        model.compile(backend=value)

        def take_off() -> None:
            model._compiled_call_impl = None

        return take_off


LEVERS: dict[str, Lever] = {
    each.name: each
    for each in (
        Loader(), Allocator(), ChannelsLast(), OptimizerForm(), Threads(), PrecisionLever(),
        OptimizerState(), Checkpointing(), Compile(),
    )
}  # fmt: skip
_NEED_LEAVE = ("precision", "optimizer_state")


def offer_levers(
    facts: Facts,
    device: str,
    asked: TuneSettings,
    refuses: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The levers that there are for a workload, and why there are no others.

    Args:
        facts: Of the workload.
        device: Where it is trained.
        asked: What may be tuned.
        refuses: Levers that cannot be put on there, and why.
    """
    offers, refused = {}, {}
    for name in LEVER_NAMES:
        lever = LEVERS[name]
        found = lever.offer(facts, device)
        if name in asked.skipped:
            refused[name] = "left out, as asked"
        elif name in refuses:
            refused[name] = refuses[name]
        elif name in _NEED_LEAVE and PRECISION not in asked.allowed:
            if not isinstance(found, str):
                refused[name] = "it changes the arithmetic: `allow=precision` tries it"
        elif isinstance(found, str):
            refused[name] = found
        elif found:
            offers[name] = found
    return offers, refused


def put_on_all(parts: Parts, changes: Changes) -> Callable[[], None]:
    """Put levers on in the order in which they are applied; returns what takes all off."""
    undo = [lever.put_on(parts, changes[name]) for name, lever in LEVERS.items() if name in changes]

    def take_off() -> None:
        for each in reversed(undo):
            each()

    return take_off


def touches_step(changes: Changes) -> bool:
    """Whether any of the levers has to be proved true."""
    return any(LEVERS[name].touches_step for name in changes if name in LEVERS)


def loader_options(value: str) -> dict[str, Any]:
    """The options of a ``DataLoader`` in the value of its lever."""
    pairs = (each.split("=") for each in value.split(","))
    return {
        name: text == "True" if text in ("True", "False") else int(text) for name, text in pairs
    }


def loader_value(settings: LoaderSettings) -> str:
    """Options of a ``DataLoader`` as the value of its lever."""
    return ",".join(f"{name}={value}" for name, value in settings.as_options().items())
