"""Keyword arguments, named and written as on the command line, to settings."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypedDict, TypeVar

from autobatch.errors import SettingsError
from autobatch.records import Goal, LearningRateRule, Precision, Settings
from autobatch.units import parse_bytes, parse_fraction, parse_grid, parse_seconds, parse_shape

_E = TypeVar("_E", bound=Enum)


class SearchOptions(TypedDict, total=False):
    """The options of ``autobatch probe``, for code.

    Attributes:
        device: ``auto``: where the model is. Another one is an error.
        memory_limit: Memory that training may hold in all: bytes, or text such as ``8GiB``.
        headroom: Share of the memory to keep free: 0.1 (the default) or ``10%``.
        min_batch_size: Smallest size to try.
        max_batch_size: Largest size to try.
        grid: ``powers`` of two, or ``multiple:8`` to refine at the memory limit.
        goal: ``throughput``: the smallest size that is as fast as any; ``memory``: the largest
            that fits; ``efficiency``: the one whose samples teach most per second, by the gradient
            noise scale of the data at the model's weights; where the optimizer holds no state
            yet, after some steps from them, which are undone.
        noise: Whether to measure the gradient noise scale for another goal too.
        tolerance: How far below the best throughput the answer may lie: 0.05 or ``5%``.
        precision: ``fp32``, ``tf32``, ``bf16`` or ``fp16`` (autocast).
        dataset_size: Samples in an epoch, where the data does not tell.
        drop_last: Whether a last, smaller batch is left out.
        lr: Learning rate trained with now; the optimizer's, if left out.
        base_batch_size: Global batch size that the rate goes with; the loader's, or 32.
        lr_rule: ``auto``, ``linear``, ``sqrt`` or ``none``.
        global_batch_size: Samples per optimizer step to reach by gradient accumulation.
        num_devices: Devices that will train together.
        time_limit: Stop with the best answer so far: seconds, or text such as ``90s``.
        trial_timeout: Give a size up after this time.
        seed: Seed of every random generator in a trial.
        eval: Whether to look for the largest size for evaluation too; without it
            ``eval_batch_size`` is the training's, with which evaluation has run.
        max_tokens: Whether to find a batch size for each range of lengths too, where samples
            differ, for ``finding.batch_sampler``.
        input: In place of ``data``: random inputs of this shape, such as ``3x224x224``.
        classes: With ``input``: class targets below this.
        vocabulary: With ``input``: token ids below this instead of floats.
    """

    device: Any
    memory_limit: int | str | None
    headroom: float | str
    min_batch_size: int
    max_batch_size: int | None
    grid: str
    goal: Goal | str
    noise: bool
    tolerance: float | str
    precision: Precision | str
    dataset_size: int | None
    drop_last: bool
    lr: float | None
    base_batch_size: int | None
    lr_rule: LearningRateRule | str
    global_batch_size: int | None
    num_devices: int
    time_limit: float | str | None
    trial_timeout: float | str
    seed: int
    eval: bool
    max_tokens: bool
    input: str | Sequence[int] | None
    classes: int | None
    vocabulary: int | None


def to_settings(options: Mapping[str, Any]) -> Settings:
    """The settings that options stand for.

    Args:
        options: Values by the names of ``SearchOptions``.

    Raises:
        TypeError: If there is no such option.
        SettingsError: If a value cannot be used; the message repeats it.
    """
    values = {}
    for name, value in options.items():
        if name not in _READERS:
            close = difflib.get_close_matches(name, _READERS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"find_batch_size() has no option {name!r}{hint}")
        field, read = _READERS[name]
        if value is not None:  # None stands for the default
            values[field] = read(name, value)
    return Settings(**values)


def _text(name: str, value: Any) -> str:
    return str(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{name}={value!r} is neither True nor False", hint="write it so")
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise SettingsError(f"{name}={value!r} is not a whole number", hint="write it like 64")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingsError(f"{name}={value!r} is not a number", hint="write it like 0.1")
    return float(value)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        return parse_shape(value)
    return tuple(_count(name, size) for size in value)


def _grid(name: str, value: Any) -> int | None:
    return parse_grid(str(value))


def _or_text(
    parse: Callable[[str], Any], read: Callable[[str, Any], Any]
) -> Callable[[str, Any], Any]:
    def read_either(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return read(name, value)
        try:
            return parse(value)
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}", hint=error.hint) from None

    return read_either


def _member(kind: type[_E]) -> Callable[[str, Any], _E]:
    def read(name: str, value: Any) -> _E:
        try:
            return kind(value)
        except ValueError:
            choices = ", ".join(repr(member.value) for member in kind)
            raise SettingsError(
                f"{name}={value!r} is no choice", hint=f"take one of {choices}"
            ) from None

    return read


_seconds = _or_text(parse_seconds, _number)
_fraction = _or_text(parse_fraction, _number)
_READERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "device": ("device", _text),
    "memory_limit": ("memory_limit_bytes", _or_text(parse_bytes, _count)),
    "headroom": ("headroom_fraction", _fraction),
    "min_batch_size": ("min_batch_size", _count),
    "max_batch_size": ("max_batch_size", _count),
    "grid": ("grid_multiple", _grid),
    "goal": ("goal", _member(Goal)),
    "noise": ("measure_noise", _flag),
    "tolerance": ("tolerance_fraction", _fraction),
    "precision": ("precision", _member(Precision)),
    "dataset_size": ("dataset_size", _count),
    "drop_last": ("drop_last", _flag),
    "lr": ("learning_rate", _number),
    "base_batch_size": ("base_batch_size", _count),
    "lr_rule": ("learning_rate_rule", _member(LearningRateRule)),
    "global_batch_size": ("global_batch_size", _count),
    "num_devices": ("num_devices", _count),
    "time_limit": ("time_limit_s", _seconds),
    "trial_timeout": ("trial_timeout_s", _seconds),
    "seed": ("seed", _count),
    "eval": ("evaluation", _flag),
    "max_tokens": ("max_tokens", _flag),
    "input": ("input_shape", _shape),
    "classes": ("num_classes", _count),
    "vocabulary": ("vocabulary_size", _count),
}
