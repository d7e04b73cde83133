"""The options of a check, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from autobatch.check.records import CheckSettings, HardwareLimits, TargetLimits
from autobatch.check.requirements_file import read_requirements
from autobatch.errors import SettingsError
from autobatch.records import Settings
from autobatch.shell import types
from autobatch.shell.options import settings_options

_F = TypeVar("_F", bound=Callable[..., Any])

# Trials use what there is: how much has to stay free is a requirement.
_HEADROOM_FRACTION = 0.02
_FORMATS = ("fp32", "tf32", "bf16", "fp16", "fp8")
_FROM_SEARCH = (
    "device",
    "precision",
    "trial_timeout_s",
    "seed",
    "variables",
)
_NEED_TARGET = {
    "max_memory_bytes": "--max-memory",
    "min_headroom_fraction": "--min-headroom",
    "min_samples_per_s": "--min-throughput",
    "max_step_time_s": "--max-step-time",
    "baseline": "--baseline",
    "save_baseline": "--save-baseline",
    "batch_size": "--batch-size",
}

_CHECK_OPTIONS = (
    click.option("--requirements", metavar="FILE", is_eager=True, expose_value=False,
                 callback=read_requirements,
                 help="TOML file of options by name, such as max-memory = \"10GiB\".  "
                 "[default: the table tool.autobatch.check of ./pyproject.toml]"),
    click.option("--batch-size", type=types.COUNT, metavar="N",
                 help="Size to check.  [default: the target's]"),
    click.option("--max-memory", "max_memory_bytes", type=types.BYTES, metavar="SIZE",
                 help="Most memory at the peak."),
    click.option("--min-headroom", "min_headroom_fraction", type=types.FRACTION,
                 metavar="SHARE", help="Least share of the memory that stays free at the peak."),
    click.option("--min-throughput", "min_samples_per_s", type=types.RATE, metavar="RATE",
                 help="Fewest samples per second."),
    click.option("--max-step-time", "max_step_time_s", type=types.SECONDS, metavar="TIME",
                 help="Longest step, such as 50ms."),
    click.option("--baseline", metavar="FILE",
                 help="Compare with what --save-baseline wrote."),
    click.option("--tolerance", "tolerance_fraction", type=types.FRACTION, default="10%",
                 show_default=True, metavar="SHARE",
                 help="How much longer than in the baseline a step may take."),
    click.option("--memory-tolerance", "memory_tolerance_fraction", type=types.FRACTION,
                 default="2%", show_default=True, metavar="SHARE",
                 help="How much more memory than in the baseline it may take."),
    click.option("--any-hardware", is_flag=True,
                 help="Compare with a baseline of other hardware, memory alone."),
    click.option("--save-baseline", metavar="FILE",
                 help="Keep what is measured as a baseline, unless a requirement is not met."),
    click.option("--reference", metavar="TARGET",
                 help="What to time in turn with the target, so that what the machine does can be "
                 "taken off: the code that a change is made to, or none.  "
                 "[default: the baseline's, or none]"),
    click.option("--time-limit", "time_limit_s", type=types.SECONDS, default="90s",
                 show_default=True, metavar="TIME", help="Time to decide in."),
    click.option("--min-devices", type=types.COUNT, metavar="N",
                 help="Fewest devices of the kind."),
    click.option("--min-capacity", "min_capacity_bytes", type=types.BYTES, metavar="SIZE",
                 help="Least memory of each device, under the limit that binds."),
    click.option("--min-free", "min_free_bytes", type=types.BYTES, metavar="SIZE",
                 help="Least free memory of each device."),
    click.option("--min-cores", type=types.RATE, metavar="N",
                 help="Fewest cores of the CPU that can really be used."),
    click.option("--min-driver", type=types.VERSION, metavar="VERSION",
                 help="Oldest driver, such as 550.54."),
    click.option("--require", "precisions", type=click.Choice(_FORMATS), multiple=True,
                 help="A number format that each device must have; may be repeated."),
    click.option("--no-throttling", is_flag=True,
                 help="Nothing may hold the clocks down, now or while the target runs."),
    click.option("--max-ecc-errors", type=types.WHOLE, metavar="N",
                 help="Most memory errors since the driver was loaded."),
    click.option("--min-pcie-width", type=types.COUNT, metavar="LANES",
                 help="Fewest PCIe lanes in use."),
    click.option("--max-other-processes", type=types.WHOLE, metavar="N",
                 help="Most other processes that hold memory of a device."),
    click.option("--strict", is_flag=True, help="What is inconclusive counts as not met."),
    click.option("--junit", metavar="FILE", help="Write a JUnit file for CI systems."),
)  # fmt: skip


def check_options(command: _F) -> _F:
    """Give a command all options of a check."""
    for option in reversed(_CHECK_OPTIONS):
        command = option(command)
    return settings_options(Settings, only=_FROM_SEARCH)(command)


def to_check_settings(values: Mapping[str, Any], *, has_target: bool) -> CheckSettings:
    """Settings from the values of ``check_options``.

    Raises:
        SettingsError: If they do not go together, or nothing is required.
    """
    hardware = HardwareLimits(
        **{name: values[name] for name in HardwareLimits.__dataclass_fields__}
    )
    limits = TargetLimits(**{name: values[name] for name in TargetLimits.__dataclass_fields__})
    has_baseline = values["baseline"] is not None or values["save_baseline"] is not None
    if values["reference"] is not None and not has_baseline:
        raise SettingsError(
            f"--reference {values['reference']} is for comparing with a baseline",
            hint="add --baseline or --save-baseline",
        )
    if not has_target:
        _refuse_without_target(values, hardware)
    training = {name: values[name] for name in _FROM_SEARCH}
    return CheckSettings(
        training=Settings(**training, headroom_fraction=_HEADROOM_FRACTION),
        batch_size=values["batch_size"],
        limits=limits,
        hardware=hardware,
        reference=values["reference"],
        any_hardware=values["any_hardware"],
        keeps_baseline=values["save_baseline"] is not None,
        time_limit_s=values["time_limit_s"],
        strict=values["strict"],
    )


def _refuse_without_target(values: Mapping[str, Any], hardware: HardwareLimits) -> None:
    given = [option for name, option in _NEED_TARGET.items() if values[name] is not None]
    if given:
        raise SettingsError(
            f"{given[0]} needs a target to measure",
            hint=f"give one, such as autobatch check model.py {given[0]} ...",
        )
    if hardware.is_empty:
        raise SettingsError(
            "nothing to check: there is neither a target nor a requirement on the hardware",
            hint="autobatch check --help lists what can be required",
        )
