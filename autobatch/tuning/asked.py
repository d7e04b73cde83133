"""What is asked of a tuning."""

# ruff: noqa: RUF009 - each call makes a field

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autobatch.errors import SettingsError
from autobatch.ranks.settings import RanksSettings
from autobatch.records.kinds import SECONDS, TIME_LIMIT, Kind
from autobatch.records.options import check_options, option

PRECISION = "precision"
#: Levers by name, in the order in which they are tried.
LEVER_NAMES = (
    "loader", "allocator", "channels_last", "optimizer", "threads", "precision",
    "optimizer_state", "checkpointing", "compile",
)  # fmt: skip
#: Settings that a tuning has in common with a search.
SHARED_NAMES = (
    "device", "memory_limit_bytes", "headroom_fraction", "tolerance_fraction", "min_batch_size",
    "max_batch_size", "precision", "dataset_size", "variables", "seed", "base_batch_size",
    "global_batch_size", "num_devices", "trial_timeout_s",
)  # fmt: skip
#: Where a command takes the value of a lever, and what it is at the start.
PLACEHOLDER = re.compile(r"\{(\w+)(?:=([^{}]*))?\}")
_PLACEHOLDERS = ("batch_size", "accumulation")


def _parse_lever(value: Any) -> Any:
    if not isinstance(value, str):
        return dict(value)
    name, equals, values = value.partition("=")
    listed = tuple(each.strip() for each in values.split(","))
    if not equals or not name.isidentifier() or name in _PLACEHOLDERS or len(listed) < 2:
        raise ValueError
    return {name: listed}


def _one_of(known: Iterable[str]) -> Any:
    def parse(value: Any) -> tuple[str, ...]:
        names = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if not set(names) <= set(known):
            raise ValueError
        return names

    return parse


def _names(known: tuple[str, ...]) -> Kind:
    return Kind(
        _one_of(known),
        f"one or more of {', '.join(map(repr, known))}",
        f"{known[0]!r}, for example",
        "NAME",
        show=",".join,
        join=lambda values: tuple(name for each in values for name in each),
    )


_LEVERS = Kind(
    _parse_lever,
    "NAME=VALUE,VALUE",
    "num_workers=0,2,4 or compile=--compile, for example",
    "NAME=VALUES",
    show=lambda levers: " ".join(f"{name}={','.join(each)}" for name, each in levers.items()),
    join=lambda values: {name: each[name] for each in values for name in each},
)
_tuning = partial(option, group="What to tune")
_time = partial(option, group="Time")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSettings:
    """What may be tuned, and for how long. Each field is an option.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    allowed: tuple[str, ...] = _tuning(
        (), _names((PRECISION,)), "Also try what changes the arithmetic: TF32, bf16, fp16, 8-bit "
        "optimizer state.", name="allow", metavar="[precision]")
    skipped: tuple[str, ...] = _tuning(
        (), _names(LEVER_NAMES), "A lever not to try. May be repeated.", name="skip",
        metavar="LEVER")
    placeholders: dict[str, tuple[str, ...]] = _tuning(
        {}, _LEVERS, "Values to try of {NAME} in a command: num_workers=0,2,4, or "
        "compile=--compile, with an empty value for leaving it out. May be repeated.",
        name="lever", in_code=False)
    time_limit_s: float | None = _time(
        900.0, TIME_LIMIT, "Stop after this time with the best settings so far; none lifts the "
        "limit.")
    lever_time_limit_s: float = _time(
        90.0, SECONDS, "Give each setting of a lever this long; compiling has three times as long.")
    # fmt: on
    ranks: RanksSettings = field(default_factory=RanksSettings)

    def __post_init__(self) -> None:
        check_options(self)
        for name, values in self.placeholders.items():
            if len(set(values)) < len(values):
                raise SettingsError(
                    f"`lever={name}={','.join(values)}` names a value twice",
                    hint="name each value once",
                )
