"""``autobatch probe``: find the batch size for a target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from autobatch.cli.search import CommandSearch, Search, TargetSearch
from autobatch.command.settings import CommandSettings
from autobatch.errors import AutobatchError, SearchInterrupted, SettingsError, WorkerError
from autobatch.ranks.launcher import refuse_launcher
from autobatch.ranks.settings import RanksSettings, refuse_for_command
from autobatch.records import Finding, Settings
from autobatch.shell.options import (
    OUTPUT,
    TakesCommand,
    choose_target_or_command,
    output_options,
    settings_options,
    values_of,
)
from autobatch.shell.streams import ignore, print_finding, say, uninterrupted, watch


@click.command(
    cls=TakesCommand,
    short_help="Find the batch size for a model or a command by running it.",
    help="""Find the batch size for TARGET, or for COMMAND, by running it.

    TARGET is model.py, model.py:name or package.module:name. It defines `model` and, for
    example, `dataset`, `loss` and `optimizer`; the documentation has the whole contract. Or it is a
    model of a catalogue: hf:gpt2, timm:resnet50, torchvision:resnet50. What it takes as input can
    follow behind commas: model.py,input=3x224x224,classes=1000 (or vocabulary=50257, for tokens)
    for a file without data, sequence_length=256 and any key of its configuration for a model of a
    catalogue.

    COMMAND is any training script as you start it, unedited, with {batch_size} in the place of the
    size, or {batch_size=64} if you train with 64 now. Without a place, an argument whose name says
    batch size is taken, or else the batches of its DataLoader are resized.

    \b
    Examples:
      autobatch probe examples/digits_cnn.py
      autobatch probe -- python train.py --batch-size {batch_size=64} --lr 0.1
      autobatch probe net.py:Net,input=3x224x224,classes=1000 --memory-limit 8GiB
      autobatch probe hf:gpt2,n_layer=6,sequence_length=256
    """,
)
@click.argument("target", required=False)
@settings_options(Settings)
@settings_options(RanksSettings)
@settings_options(CommandSettings)
@output_options(
    "finding",
    OUTPUT("--html", "html_path", metavar="FILE", help="Save the report as a web page."),
    OUTPUT(
        "--reuse",
        metavar="FILE",
        help="Answer from FILE if target, code, options, versions and hardware are as they were. "
        "Else say what has changed, search, and save there.",
    ),
    saved_for="for `autobatch show`",
)
def probe(
    target: str | None,
    as_json: bool,
    output: str | None,
    plot_path: str | None,
    html_path: str | None,
    reuse: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Parse, search, report."""
    # What takes long to import is not needed for --help.
    from autobatch.cli.basis import describe_basis, find_reusable
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_outputs, save, save_html, save_plot

    settings = Settings(**values_of(Settings, values))
    asked = CommandSettings(**values_of(CommandSettings, values))
    ranks = RanksSettings(**values_of(RanksSettings, values))
    check_device_name(settings.device)
    arguments = choose_target_or_command(target, "probe")
    search = _choose(target, arguments, settings, asked, ranks)
    check_outputs(output, html_path, plot_path=plot_path, overwrite=force)
    check_outputs(reuse, overwrite=True)
    basis: dict[str, str] = {}
    finding: Finding | None = None
    if output is not None or reuse is not None:
        basis = describe_basis(target, arguments or (), settings, asked, ranks)
    if reuse is not None:
        finding = find_reusable(reuse, basis, ignore if quiet else say)
    if finding is None:
        finding = _run(search, settings, output, force, quiet=quiet, verbose=verbose)
        if finding is None:  # another process tells what came of it
            return
        finding = replace(finding, basis=basis)
    else:
        reuse = None  # it holds what would be saved
    try:
        with uninterrupted():
            if output is not None:
                save(finding, output, force)
            if reuse is not None:
                save(finding, reuse, True)
            if plot_path is not None:
                save_plot(finding, plot_path)
            if html_path is not None:
                save_html(finding, html_path)
    finally:  # an answer that cannot be saved is shown all the same
        _show(finding, as_json=as_json)


def _run(
    search: Search,
    settings: Settings,
    output: str | None,
    force: bool,
    *,
    quiet: bool,
    verbose: bool,
) -> Finding | None:
    """Search, and save what an end before the answer leaves; ``None`` where another process tells.

    Raises:
        AutobatchError: What ended the search.
    """
    from autobatch.reporting import save, save_partial

    on_output = say if verbose else ignore
    if not search.leads:
        try:
            with watch(quiet=True) as observer:
                search.run(observer, on_output)
        except WorkerError:  # of a process that is gone, which may be the one that tells
            raise
        except AutobatchError:
            pass
        return None
    try:
        with watch(quiet=quiet) as observer:
            return search.run(observer, on_output)
    except SearchInterrupted as interrupt:
        with _saving_in_passing():
            if output is not None:
                save(interrupt.finding, output, force)
        raise
    except AutobatchError as error:
        with _saving_in_passing():
            if output is not None and error.trials:
                save_partial(error, output, force, target=search.name, settings=settings)
        raise


def _choose(
    target: str | None,
    arguments: tuple[str, ...] | None,
    settings: Settings,
    command: CommandSettings,
    ranks: RanksSettings,
) -> Search:
    """What searches for a target, or for a command.

    Raises:
        SettingsError: If there is an option of the other.
    """
    if arguments is not None:
        refuse_for_command(ranks)
        refuse_launcher(os.environ, "searches a command")
        return CommandSearch(arguments, settings, command)
    if command != CommandSettings():
        raise SettingsError(
            "`files`, `fresh`, `resize`, `in` and `first_step_timeout` are for a command",
            hint="leave them out, or give a command behind --",
        )
    return TargetSearch(target or "", settings, ranks)


def _show(finding: Finding, *, as_json: bool) -> None:
    try:
        print_finding(finding, as_json=as_json)
    except KeyboardInterrupt:
        raise SearchInterrupted(finding) from None


@contextmanager
def _saving_in_passing() -> Iterator[None]:
    """What hinders the saving is told, and does not hide what comes after it."""
    try:
        with uninterrupted():
            yield
    except AutobatchError as error:
        say(f"Not saved: {error}")
