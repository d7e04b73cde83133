"""Options on the command line, made from the records of settings that they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from autobatch.errors import SettingsError
from autobatch.records.kinds import Kind
from autobatch.records.options import Option, options_of
from autobatch.shell.flags import to_flags

_F = TypeVar("_F", bound=Callable[..., Any])
_OTHER = "Other options"
_BEHIND_DASHES = "autobatch.behind_dashes"

HELP_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

# Generic for type checkers, and in recent versions of click only at run time.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class Reads(_ParamType):
    """A value that a kind of option reads."""

    def __init__(self, kind: Kind) -> None:
        self.name = kind.metavar.lower()
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; name the option if that fails."""
        if not isinstance(value, str):
            return value
        flag = max(param.opts, key=len) if param is not None else self.name
        return self._kind.read(flag.lstrip("-").replace("-", "_"), value)


class GroupedOption(click.Option):
    """An option that stands under a heading in the help of its command.

    Args:
        *arguments: As of ``click.Option``.
        group: The heading.
        **values: As of ``click.Option``.
    """

    def __init__(self, *arguments: Any, group: str, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def __init__(self, name: str | None, **values: Any) -> None:
        super().__init__(name, context_settings=HELP_SETTINGS, **values)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those without a heading of their own last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", _OTHER), []).append(record)
        others = groups.pop(_OTHER, [])
        for heading, records in (*groups.items(), (_OTHER, others)):
            with formatter.section(heading):
                formatter.write_dl(records)


class TakesCommand(GroupedCommand):
    """A command that takes another one behind ``--``, which is not parsed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set what stands behind ``--`` aside."""
        if "--" in args:
            index = args.index("--")
            ctx.meta[_BEHIND_DASHES] = tuple(args[index + 1 :])
            args = args[:index]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The line of usage, with the command."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def command_behind_dashes() -> tuple[str, ...] | None:
    """What stands behind ``--`` of the command that runs; ``None`` without ``--``."""
    found: tuple[str, ...] | None = click.get_current_context().meta.get(_BEHIND_DASHES)
    return found


def choose_target_or_command(target: str | None, command_name: str) -> tuple[str, ...] | None:
    """The command behind ``--``; ``None`` if there is a target instead.

    Args:
        target: The target, if one was given.
        command_name: What autobatch was asked to do, such as ``probe``.

    Raises:
        SettingsError: If there is neither or both.
    """
    arguments = command_behind_dashes()
    if (target is None) == (arguments is None):
        raise SettingsError(
            "there is neither a target nor a command"
            if target is None
            else f"there is a target, {target}, and a command behind `--`",
            hint=f"give one, such as autobatch {command_name} model.py "
            f"or autobatch {command_name} -- python train.py",
        )
    return arguments


def values_of(record: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the values of a command those that a record of settings has options for."""
    return {each.field: values[each.field] for each in options_of(record).values()}


def settings_options(record: type, *, only: Iterable[str] = ()) -> Callable[[_F], _F]:
    """Give a command the options of a record of settings, as values by the names of its fields.

    Args:
        record: The record.
        only: The names of the fields that are wanted; all if left out.
    """

    def decorate(command: _F) -> _F:
        for each in reversed(options_of(record).values()):
            if not only or each.field in only:
                command = _make_option(each)(command)
        return command

    return decorate


def _make_option(said: Option) -> Callable[[_F], _F]:
    make = partial(
        click.option,
        said.flag,
        said.field,
        cls=GroupedOption,
        group=said.group,
        help=to_flags(said.help),
    )
    if said.kind.is_flag:
        return make(is_flag=True, default=said.default)
    kind = Reads(said.kind)
    join = said.kind.join
    if join is not None:
        joined = lambda context, option, values: join(values)  # noqa: E731
        return make(type=kind, metavar=said.metavar, multiple=True, callback=joined)
    return make(
        type=kind, metavar=said.metavar, default=said.default_text or None, show_default=True
    )


def in_group(heading: str) -> Callable[..., Callable[[_F], _F]]:
    """``click.option`` for options under a heading."""
    return partial(click.option, cls=GroupedOption, group=heading)


OUTPUT = in_group("Output")


def output_options(
    result: str,
    *others: Callable[[Any], Any],
    saved_for: str = "",
    drawn: str = "it",
) -> Callable[[_F], _F]:
    """Give a command the options of what it prints, saves and draws.

    Args:
        result: What it prints, such as ``finding``.
        *others: Options of its own, which stand before ``--force``.
        saved_for: What the saved file is for, such as ``for --resume``.
        drawn: What ``--plot`` draws.
    """
    saves = f"Save it as JSON, {saved_for}." if saved_for else "Save it as JSON."
    options = (
        OUTPUT("--json", "as_json", is_flag=True, help=f"Print the whole {result} as JSON."),
        OUTPUT("-o", "--output", metavar="FILE", help=saves),
        OUTPUT("--plot", "plot_path", metavar="FILE", help=f"Draw {drawn} as png, svg or pdf."),
        *others,
        OUTPUT("--force", is_flag=True, help="Overwrite files that exist."),
        OUTPUT("-q", "--quiet", is_flag=True, help="Show no progress."),
        OUTPUT("-v", "--verbose", is_flag=True, help="Show what the target prints."),
    )

    def decorate(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
