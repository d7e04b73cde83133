"""``autobatch probe``: find the batch size for a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from autobatch.errors import AutobatchError, SearchInterrupted
from autobatch.records import Finding, Settings
from autobatch.shell.options import OUTPUT, GroupedCommand, settings_options
from autobatch.shell.streams import ignore, print_finding, say, uninterrupted, watch


@click.command(
    cls=GroupedCommand,
    help="""Find the batch size for TARGET by running it.

    TARGET is model.py, model.py:name or package.module:name. It defines `model` and, for
    example, `dataset`, `loss` and `optimizer`; the README has the whole contract. Or it is a
    model of a catalogue: hf:gpt2, timm:resnet50, torchvision:resnet50. What it takes as input can
    follow behind commas: model.py,input=3x224x224,classes=1000 (or vocabulary=50257, for tokens)
    for a file without data, sequence_length=256 and any key of its configuration for a model of a
    catalogue.

    \b
    Examples:
      autobatch probe examples/digits_cnn.py
      autobatch probe net.py:Net,input=3x224x224,classes=1000 --memory-limit 8GiB
      autobatch probe hf:gpt2,n_layer=6,sequence_length=256
    """,
)
@click.argument("target")
@settings_options(Settings)
@OUTPUT("--json", "as_json", is_flag=True, help="Print the whole finding as JSON.")
@OUTPUT("-o", "--output", metavar="FILE", help="Save the finding, for `autobatch show`.")
@OUTPUT("--plot", "plot_path", metavar="FILE", help="Draw it as png, svg or pdf.")
@OUTPUT("--force", is_flag=True, help="Overwrite files that exist.")
@OUTPUT("-q", "--quiet", is_flag=True, help="Show no progress.")
@OUTPUT("-v", "--verbose", is_flag=True, help="Show what the target prints.")
def probe(
    target: str,
    as_json: bool,
    output: str | None,
    plot_path: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> None:
    """Parse, search, report."""
    # What takes long to import is not needed for --help.
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_plot_path, check_writable, save, save_partial, save_plot

    settings = Settings(**values)
    check_device_name(settings.device)
    if output is not None:
        check_writable(output, force)
    if plot_path is not None:
        check_plot_path(plot_path)
        check_writable(plot_path, force)
    try:
        finding = _search(target, settings, quiet=quiet, verbose=verbose)
    except SearchInterrupted as interrupt:
        with _saving_in_passing():
            if output is not None:
                save(interrupt.finding, output, force)
        raise
    except AutobatchError as error:
        with _saving_in_passing():
            if output is not None and error.trials:
                save_partial(error, output, force, target=target, settings=settings)
        raise
    try:
        with uninterrupted():
            if output is not None:
                save(finding, output, force)
            if plot_path is not None:
                save_plot(finding, plot_path)
    finally:  # an answer that cannot be saved is shown all the same
        _show(finding, as_json=as_json)


def _search(target: str, settings: Settings, *, quiet: bool, verbose: bool) -> Finding:
    from autobatch.probe.client import TargetProber
    from autobatch.workload.catalogues.require import require_usable
    from autobatch.workload.files import parse_target

    require_usable(parse_target(target))
    finding = None
    try:
        with (
            watch(quiet=quiet) as observer,
            TargetProber(
                target,
                settings,
                on_output=say if verbose else ignore,
                on_stage=observer.doing,
            ) as prober,
        ):
            observer.loading(target)
            # Imported while the worker, started above, loads PyTorch.
            from autobatch.finder import find
            from autobatch.noise.worth import worth_of
            from autobatch.training.examinations import examine

            worth = worth_of(settings)
            finding = find(prober, settings, target=target, observer=observer, worth=worth)
            finding = examine(prober, finding)
    except KeyboardInterrupt:
        if finding is None:
            raise
        raise SearchInterrupted(finding) from None  # it came while the worker was being ended
    return finding


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
