"""``autobatch compare``: train at several batch sizes and choose one."""

from __future__ import annotations

import os
from typing import Any

import click

from autobatch.compare.records import CompareSettings, Comparison
from autobatch.errors import ComparisonInterrupted
from autobatch.ranks.launcher import refuse_launcher
from autobatch.records import Settings
from autobatch.shell.options import OUTPUT, GroupedCommand, output_options, settings_options
from autobatch.shell.streams import (
    ignore,
    print_result,
    print_unfinished,
    say,
    show_activity,
    uninterrupted,
)

_EXIT_NOTHING_TRAINED = 1
_EXIT_INTERRUPTED = 130
#: Settings that a comparison has in common with a search.
SHARED_NAMES = (
    "device",
    "memory_limit_bytes",
    "headroom_fraction",
    "precision",
    "learning_rate",
    "base_batch_size",
    "learning_rate_rule",
    "seed",
    "variables",
)


@click.command(
    cls=GroupedCommand,
    short_help="Train at several batch sizes and choose one.",
    help="""Train TARGET at several batch sizes, from the same weights, and choose one.

    The learning rate of each size follows the file's (or --lr) by --lr-rule. Some of the samples
    are held out, and the sizes are compared by the loss on them.

    \b
    Examples:
      autobatch compare examples/regression_mlp.py --batch-sizes 1,32,full --epochs 20
      autobatch compare model.py --batch-sizes 16,64,256 --target-loss 0.35 --plot loss.png
    """,
)
@click.argument("target")
@settings_options(CompareSettings)
@settings_options(Settings, only=SHARED_NAMES)
@output_options(
    "comparison",
    OUTPUT("--resume", metavar="FILE", help="Go on with a comparison that -o FILE saved."),
    saved_for="for --resume",
)
def compare(
    target: str,
    resume: str | None,
    as_json: bool,
    output: str | None,
    plot_path: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> int:
    """Parse, train, report."""
    from autobatch.compare.report import COMPARISON, render_comparison
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_outputs

    settings = Settings(**{name: values.pop(name) for name in SHARED_NAMES})
    asked = CompareSettings(**values)
    check_device_name(settings.device)
    previous = None if resume is None else COMPARISON.load(resume)
    # The file that is resumed is replaced by the result, unless another one is named.
    output = output or resume
    force = force or output == resume
    check_outputs(output, plot_path=plot_path, overwrite=force)
    status = 0
    try:
        comparison = _train(target, settings, asked, previous, quiet=quiet, verbose=verbose)
    except ComparisonInterrupted as interrupt:
        comparison = interrupt.comparison
        status = _EXIT_INTERRUPTED
    try:
        with uninterrupted():
            _keep(comparison, output, plot_path, force)
    finally:  # show what took long to train, even if it cannot be saved
        if status == _EXIT_INTERRUPTED:
            print_unfinished(comparison, render_comparison)
        else:
            print_result(comparison, COMPARISON.dumps if as_json else None, render_comparison)
    if status == 0 and comparison.batch_size is None:
        status = _EXIT_NOTHING_TRAINED
    return status


def _train(
    target: str,
    settings: Settings,
    asked: CompareSettings,
    previous: Comparison | None,
    *,
    quiet: bool,
    verbose: bool,
) -> Comparison:
    from autobatch.compare.report import CompareLines
    from autobatch.probe.client import TargetProber
    from autobatch.workload.files import parse_target

    refuse_launcher(os.environ, "compares sizes")
    parse_target(target)
    with show_activity(quiet=quiet) as activity:
        observer = CompareLines(activity)
        observer.loading(target)
        prober = TargetProber(
            target, settings, on_output=say if verbose else ignore, on_stage=observer.doing
        )
        with prober:
            from autobatch.compare.session import compare as run

            return run(prober, settings, asked, target=target, observer=observer, previous=previous)


def _keep(comparison: Comparison, output: str | None, plot_path: str | None, force: bool) -> None:
    from autobatch.compare.report import COMPARISON, save_comparison_plot

    if output is not None:
        COMPARISON.save(comparison, output, force)
    if plot_path is not None:
        save_comparison_plot(comparison, plot_path)
