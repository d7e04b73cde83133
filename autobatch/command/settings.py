"""What can be asked of the trials of a command, beside what any search takes."""

# ruff: noqa: RUF009 - each call makes a field

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial

from autobatch.command.template import ConfigKey, parse_config_key
from autobatch.errors import SettingsError
from autobatch.records.kinds import FLAG, SECONDS, Kind, choice_of
from autobatch.records.options import check_options, option

_command = partial(option, group="A command")
CONFIG_KEYS = Kind(
    lambda value: (parse_config_key(value),) if isinstance(value, str) else tuple(value),
    "FILE:KEY",
    "config.yaml:data.batch_size, for example",
    "FILE:KEY",
    show=lambda keys: " ".join(map(str, keys)),
    join=lambda values: tuple(key for each in values for key in each),
)


class FileProtection(str, Enum):
    """What becomes of the files that a trial writes."""

    AUTO = "auto"
    OVERLAY = "overlay"
    GUARD = "guard"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """How a command is run in trials. Each field is an option.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    files: FileProtection = _command(
        FileProtection.AUTO, choice_of(FileProtection), "Files that a trial writes: thrown away "
        "(overlay), no file that exists is overwritten or removed (guard), or unprotected (none).")
    fresh: bool = _command(
        False, FLAG, "Start the command anew for every size; never resize its batches in place.")
    resize: bool = _command(
        False, FLAG, "Resize the batches of its loader, whatever its arguments say.")
    config_keys: tuple[ConfigKey, ...] = _command(
        (), CONFIG_KEYS, "A key of a configuration file that holds the batch size. May be "
        "repeated.", name="in")
    first_step_timeout_s: float = _command(
        300.0, SECONDS, "Give up if no step has ended after this time.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if self.fresh and self.resize:
            raise SettingsError(
                "`fresh` and `resize` exclude each other", hint="give only one of them"
            )
