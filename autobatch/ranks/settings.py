"""What can be asked of processes that train together."""

# ruff: noqa: RUF009 - each call makes a field

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from autobatch.errors import SettingsError
from autobatch.records import Goal, Settings
from autobatch.records.kinds import COUNT, FLAG, choice_of
from autobatch.records.options import check_options, option, options_of

_ranks = partial(option, group="Several processes")


class Parallel(str, Enum):
    """How a model is wrapped for several processes."""

    DDP = "ddp"
    FSDP2 = "fsdp2"


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksSettings:
    """How many processes train together, and how. Each field is an option.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    nproc_per_node: int = _ranks(
        1, COUNT, "Processes that train the target together on this machine, as of torchrun.")
    parallel: Parallel = _ranks(
        Parallel.DDP, choice_of(Parallel), "How they do, where the target defines no "
        "parallelize(model): DDP, or FSDP2 over its repeated blocks.")
    per_rank: bool = _ranks(
        False, FLAG, "Also run each rank at a size in proportion to its speed, and say how its "
        "loss is weighted then.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


def refuse_for_command(asked: RanksSettings) -> None:
    """Refuse options that a command takes the place of: it starts its processes itself.

    Args:
        asked: What was given beside the command.

    Raises:
        SettingsError: If any was.
    """
    for each in options_of(RanksSettings).values():
        value = getattr(asked, each.field)
        if value != each.default:
            given = each.name if each.kind.is_flag else f"{each.name}={each.kind.show(value)}"
            raise SettingsError(
                f"`{given}` is for a target",
                hint="start the processes in the command: -- torchrun --nproc-per-node 2 train.py",
            )


def for_ranks(settings: Settings, num_ranks: int) -> Settings:
    """The settings of a search in which several processes train together.

    Args:
        settings: As the user gave them.
        num_ranks: How many processes.

    Raises:
        SettingsError: If they ask for what one process alone can measure.
    """
    asked = {
        "goal=efficiency": settings.goal is Goal.EFFICIENCY,
        "gradient_noise": settings.gradient_noise,
        "rehearse": settings.rehearse,
        "memory_breakdown": settings.memory_breakdown,
    }
    refused = next((name for name, is_asked in asked.items() if is_asked), None)
    if refused is not None:
        raise SettingsError(
            f"`{refused}` is measured in one process, and {num_ranks} train together",
            hint=f"ask for it in one process, with `num_devices={num_ranks}`",
        )
    if settings.num_devices not in (1, num_ranks):
        raise SettingsError(
            f"`num_devices={settings.num_devices}` is given, and {num_ranks} processes train "
            "together",
            hint="leave `num_devices` out",
        )
    return replace(settings, num_devices=num_ranks)
