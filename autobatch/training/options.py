"""The options of ``find_batch_size``: those of the command line, by name."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from autobatch.records import Goal, LearningRateRule, Precision, Settings
from autobatch.records.options import options_of

_F = TypeVar("_F", bound=Callable[..., Any])
_WIDTH = 100
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_MARK = "    **options:"


class SearchOptions(TypedDict, total=False):
    """What type checkers know of the options that ``Settings`` describes."""

    device: Any
    memory_limit: int | str | None
    headroom: float | str
    memory_breakdown: bool
    rehearse: bool
    goal: Goal | str
    tolerance: float | str
    min_batch_size: int
    max_batch_size: int | None
    grid: str
    eval: bool
    by_length: bool
    gradient_noise: bool
    precision: Precision | str
    dataset_size: int | None
    drop_last: bool
    price_per_hour: float | None
    seed: int
    lr: float | None
    base_batch_size: int | None
    lr_rule: LearningRateRule | str
    global_batch_size: int | None
    gradient_accumulation_steps: int
    num_devices: int
    time_limit: float | str | None
    trial_timeout: float | str


def shows_options(function: _F) -> _F:
    """Show each option in what ``help(function)`` prints, in the place of ``**options``."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    lines = []
    for said in options_of(Settings).values():
        if said.in_code:
            is_plain = isinstance(said.default, int)
            default = said.default if is_plain else said.default_text or None
            own.append(inspect.Parameter(said.name, _KEYWORD, default=default))
            lines += textwrap.wrap(
                f"{said.name}: {said.help}", _WIDTH, initial_indent=" " * 4,
                subsequent_indent=" " * 8,
            )  # fmt: skip
    # From Python 3.13 on the compiler has removed the indentation already; with -OO all of it.
    before, mark, after = inspect.cleandoc(function.__doc__ or "").partition(_MARK)
    if mark:
        function.__doc__ = before + "\n".join(lines) + after[after.index("\n") :]
    function.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return function
