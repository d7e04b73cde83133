"""``autobatch tune``: the settings that train fastest, each with its own batch size."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from autobatch.command.settings import CommandSettings
from autobatch.errors import SettingsError, TuningInterrupted
from autobatch.ranks.launcher import refuse_launcher
from autobatch.ranks.settings import RanksSettings, for_ranks, refuse_for_command
from autobatch.records import Settings
from autobatch.shell.options import (
    OUTPUT,
    TakesCommand,
    choose_target_or_command,
    output_options,
    settings_options,
    values_of,
)
from autobatch.shell.streams import (
    ignore,
    print_result,
    print_unfinished,
    say,
    show_activity,
    uninterrupted,
)
from autobatch.tuning.asked import SHARED_NAMES, TuneSettings

if TYPE_CHECKING:
    from autobatch.tuning.probers import Opener

_EXIT_INTERRUPTED = 130
_OF_RANKS = ("nproc_per_node", "parallel")


@click.command(
    cls=TakesCommand,
    short_help="Find the settings beside the batch size that train fastest.",
    help="""Find the settings that train TARGET, or COMMAND, fastest in this memory.

    Checkpointing, torch.compile, channels_last, another form of the optimizer, loader workers, the
    allocator and threads are put on in turn, each with a batch size of its own, and what gains is
    put together. What is exact for your model is proved by its loss and gradients, and else left
    out. The fastest is held against your settings in turn, in fresh processes.

    With --global-batch-size the samples of an optimizer step stay fixed, and accumulation fills up.

    \b
    Examples:
      autobatch tune examples/image_cnn.py --skip compile
      autobatch tune model.py --memory-limit 8GiB --global-batch-size 256 --allow precision
      autobatch tune model.py --nproc-per-node 2 --parallel fsdp2 --skip compile
      autobatch tune --lever num_workers=0,2,4 -- python train.py -b {batch_size} -j {num_workers}
    """,
)
@click.argument("target", required=False)
@settings_options(TuneSettings)
@settings_options(Settings, only=SHARED_NAMES)
@settings_options(RanksSettings, only=_OF_RANKS)
@settings_options(CommandSettings)
@output_options(
    "tuning",
    OUTPUT("--resume", metavar="FILE", help="Go on with a tuning that -o FILE saved."),
    saved_for="for --resume",
)
def tune(
    target: str | None,
    resume: str | None,
    as_json: bool,
    output: str | None,
    plot_path: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> int:
    """Parse, tune, report."""
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_outputs
    from autobatch.tuning.report import TUNING, render_tuning, save_tuning_plot

    settings = Settings(**{name: values[name] for name in SHARED_NAMES})
    ranks = RanksSettings(**{name: values[name] for name in _OF_RANKS})
    asked = TuneSettings(**values_of(TuneSettings, values), ranks=ranks)
    if ranks.nproc_per_node > 1:
        settings = for_ranks(settings, ranks.nproc_per_node)
    command = CommandSettings(**values_of(CommandSettings, values))
    check_device_name(settings.device)
    previous = None if resume is None else TUNING.load(resume)
    # The file that is resumed is replaced by the result, unless another one is named.
    output = output or resume
    force = force or output == resume
    check_outputs(output, plot_path=plot_path, overwrite=force)
    status, on_output = 0, say if verbose else ignore
    try:
        with show_activity(quiet=quiet) as activity:
            from autobatch.tuning.session import tune as run

            opener = _open(target, settings, asked, command, on_output, activity.detail)
            tuning = run(opener, settings, asked, activity, previous=previous)
    except TuningInterrupted as interrupt:
        tuning, status = interrupt.tuning, _EXIT_INTERRUPTED
    try:
        with uninterrupted():
            if output is not None:
                TUNING.save(tuning, output, force)
            if plot_path is not None:
                save_tuning_plot(tuning, plot_path)
    finally:  # show what took long to measure, even if it cannot be saved
        if status == _EXIT_INTERRUPTED:
            print_unfinished(tuning, render_tuning)
        else:
            print_result(tuning, TUNING.dumps if as_json else None, render_tuning)
    return status


def _open(
    target: str | None,
    settings: Settings,
    asked: TuneSettings,
    command: CommandSettings,
    on_output: Callable[[str], None],
    on_stage: Callable[[str], None],
) -> Opener:
    """What opens probers of a target, or of a command.

    Raises:
        SettingsError: If there is neither or both.
    """
    from autobatch.tuning.probers import CommandOpener, TargetOpener

    refuse_launcher(os.environ, "tunes")
    arguments = choose_target_or_command(target, "tune")
    if target is None:
        refuse_for_command(asked.ranks)
        return CommandOpener(arguments or (), settings, command, asked.placeholders, on_output)
    if asked.placeholders:
        name = next(iter(asked.placeholders))
        raise SettingsError(
            f"`lever={name}={','.join(asked.placeholders[name])}` is for a command",
            hint="leave `lever` out: a target has levers of its own",
        )
    return TargetOpener(target, settings, on_output, on_stage, asked.ranks)
