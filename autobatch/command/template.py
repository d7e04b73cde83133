"""A command with placeholders for the batch size.

python train.py --batch-size {batch_size}          the size goes there
python train.py --batch-size {batch_size=64}       and 64 is what it is trained with now
python train.py --batch-size 64                    an argument whose name says batch size is taken
python train.py                                    none: the batches of its loader are resized
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from autobatch.errors import SettingsError

_SIZE = re.compile(r"\{batch_size(?:=([^{}]*))?\}")
_ACCUMULATION = "{accumulation}"
_NAMES = frozenset(
    (
        *("batchsize", "batch", "b", "bs", "trainbatchsize", "minibatchsize", "microbatchsize"),
        *("devicebatchsize", "perdevicebatchsize", "perdevicetrainbatchsize", "bsz", "trainbs"),
        *(
            "batchsizeperdevice",
            "batchsizepergpu",
            "localbatchsize",
            "batchsizetrain",
            "trainbatch",
        ),
        *("samplespergpu", "imsperbatch"),
    )
)
#: Too short to be trusted after a dot or without a dash.
_SHORT = frozenset(("b", "bs", "batch"))
_WITH_VALUE = re.compile(r"([-+]{0,2}[A-Za-z_][\w.-]*)=(\d+)")
_ATTACHED = re.compile(r"(-b)(\d+)")


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """A key of a configuration file.

    Attributes:
        path: The file.
        key: Names, joined by dots.
    """

    path: str
    key: str

    def __str__(self) -> str:
        return f"{self.path}:{self.key}"


def parse_config_key(text: str) -> ConfigKey:
    """Read ``FILE:KEY``.

    Raises:
        ValueError: If it is not that.
    """
    path, colon, key = text.rpartition(":")
    if not (path and colon and key):
        raise ValueError(text)
    return ConfigKey(path, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A command that can be run at any batch size.

    Attributes:
        arguments: Its arguments, with ``{batch_size}`` and ``{accumulation}`` where those go.
        variables: Environment variables of the same kind.
        config_keys: Where the size stands in configuration files.
        base_batch_size: The size that it is trained with now, if that was said.
        place: Where the size goes, in a user's words; empty if nowhere.
        guess: How the place was found, one sentence; empty if it was given.
    """

    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    config_keys: tuple[ConfigKey, ...] = ()
    base_batch_size: int | None = None
    place: str = ""
    guess: str = ""

    @property
    def has_size(self) -> bool:
        """Whether the size can be passed from outside."""
        return bool(self.place)

    def fill(self, batch_size: int, accumulation_steps: int = 1) -> tuple[str, ...]:
        """The arguments of a run.

        Args:
            batch_size: The size.
            accumulation_steps: Passes per optimizer step.
        """
        return tuple(_fill(each, batch_size, accumulation_steps) for each in self.arguments)

    def fill_variables(self, batch_size: int, accumulation_steps: int = 1) -> dict[str, str]:
        """The environment variables of a run; arguments as of ``fill``."""
        return {
            name: _fill(each, batch_size, accumulation_steps)
            for name, each in self.variables.items()
        }

    def __str__(self) -> str:
        # Braces need no quotes in a shell.
        return " ".join(
            each if re.fullmatch(r"[\w@%+=:,./{}-]+", each) else shlex.quote(each)
            for each in self.arguments
        )


def parse_command(
    arguments: tuple[str, ...],
    variables: Mapping[str, str] | None = None,
    config_keys: tuple[ConfigKey, ...] = (),
) -> Template:
    """Find the placeholders for the batch size in a command.

    Args:
        arguments: As the user typed them behind ``--``.
        variables: Environment variables to set, which may have placeholders too.
        config_keys: Keys of configuration files that hold the size.

    Raises:
        SettingsError: If there is no command, or what it says cannot be used.
    """
    if not arguments:
        raise SettingsError(
            "there is no command after `--`",
            hint="give one, such as autobatch probe -- python train.py --batch-size {batch_size}",
        )
    notebook = next((each for each in arguments if each.endswith(".ipynb")), None)
    if notebook is not None:
        raise SettingsError(
            f"{notebook} is a notebook, and only scripts can be measured",
            hint=f"turn it into one first: jupyter nbconvert --to script {notebook}",
        )
    variables = dict(variables or {})
    found = [match for each in (*arguments, *variables.values()) for match in _SIZE.finditer(each)]
    bases = {match[1] for match in found if match[1] is not None}
    if len(bases) > 1:
        raise SettingsError(
            f"the command has several base sizes: {', '.join(sorted(bases))}",
            hint="write {batch_size=64} once, with the size that you train with now",
        )
    if found or config_keys:
        return Template(
            arguments=tuple(_SIZE.sub("{batch_size}", each) for each in arguments),
            variables={name: _SIZE.sub("{batch_size}", each) for name, each in variables.items()},
            config_keys=config_keys,
            base_batch_size=_parse_base(bases.pop()) if bases else None,
            place=_name_place(arguments, variables) if found else str(config_keys[0]),
        )
    return _guess(arguments, variables)


def _parse_base(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(
            f"the base of {{batch_size={text}}} must be a whole number above 0, got {text!r}",
            hint="write {batch_size=64}, for example",
        )
    return int(text)


def _fill(text: str, batch_size: int, accumulation_steps: int) -> str:
    text = _SIZE.sub(str(batch_size), text)
    return text.replace(_ACCUMULATION, str(accumulation_steps))


def _name_place(arguments: tuple[str, ...], variables: Mapping[str, str]) -> str:
    for before, each in zip(("", *arguments), arguments, strict=False):
        if match := _SIZE.search(each):
            own = each[: match.start()].rstrip("= ")
            return own or (before if before.startswith("-") else "{batch_size}")
    return next((name for name, each in variables.items() if _SIZE.search(each)), "{batch_size}")


def _guess(arguments: tuple[str, ...], variables: Mapping[str, str]) -> Template:
    """Take the argument whose name says batch size, if there is exactly one."""
    found: dict[int, tuple[str, str, str]] = {}
    for index, each in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if match := _WITH_VALUE.fullmatch(each) or _ATTACHED.fullmatch(each):
            if _says_batch_size(match[1]):
                found[index] = (match[1], match[2], each[: -len(match[2])] + "{batch_size}")
        elif not following.isdecimal():
            continue
        elif (each.startswith("-") or "." in each) and _says_batch_size(each):
            found[index + 1] = (each, following, "{batch_size}")
    if len(found) > 1:
        names = " and ".join(name for name, _, _ in found.values())
        raise SettingsError(
            f"both {names} could be the batch size",
            hint="write {batch_size} in the place of its value",
        )
    if not found:
        return Template(arguments=arguments, variables=variables)
    ((index, (name, value, filled)),) = found.items()
    return Template(
        arguments=(*arguments[:index], filled, *arguments[index + 1 :]),
        variables=variables,
        base_batch_size=_parse_base(value),
        place=name,
        guess=f"{name} is the batch size, by its name",
    )


def _says_batch_size(name: str) -> bool:
    last = name.rpartition(".")[2]
    plain = re.sub(r"[-_+]", "", last).lower()
    if plain in _SHORT and not (last == name and name.startswith("-")) and plain != "batch":
        return False
    return plain in _NAMES
