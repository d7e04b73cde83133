"""``autobatch plan``: what fits on GPUs that are not here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from autobatch.errors import SettingsError
from autobatch.planning.records import Plan, PlanSettings
from autobatch.records import Settings
from autobatch.records.options import options_of
from autobatch.shell.options import GroupedCommand, in_group, output_options, settings_options
from autobatch.shell.streams import ignore, print_result, say, show_activity

if TYPE_CHECKING:
    from rich.console import Console

    from autobatch.reporting.codec import Codec

T = TypeVar("T")
_EXIT_FITS_NOWHERE = 1
_OF_SNAPSHOTS = ("gpus", "gpu_memory")
#: Settings that a plan has in common with a search.
SHARED_NAMES = ("precision", "gradient_accumulation_steps", "num_devices", "variables")


@click.command(
    cls=GroupedCommand,
    short_help="Predict what fits on GPUs that are not here.",
    help="""Predict, without a GPU, which batch sizes of TARGET fit on which GPU.

    Two training steps are traced on this machine's CPU, without their arithmetic, and their
    allocations replayed as PyTorch's allocator would serve them. Nothing is run on a GPU.

    The exit status is 0 if it fits on one of the GPUs, 1 if on none, and 2 if TARGET cannot be
    traced.

    \b
    Examples:
      autobatch plan model.py --gpu rtx-4090,a100-40gb,h100-80gb --precision bf16
      autobatch plan hf:bert --batch-size 64 --price a100-40gb=1.29 --price l40s=0.86
      autobatch plan --replay snapshot.pickle --gpu rtx-4090
    """,
)
@click.argument("target", required=False)
@settings_options(PlanSettings)
@settings_options(Settings, only=SHARED_NAMES)
@in_group("A recorded training")(
    "--replay",
    metavar="FILE",
    help="In place of TARGET, replay what torch.cuda.memory._dump_snapshot wrote, under other "
    "settings of the allocator and in the memory of the GPUs named.",
)
@output_options("plan", drawn="a step's memory")
def plan(
    target: str | None,
    replay: str | None,
    as_json: bool,
    output: str | None,
    plot_path: str | None,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> int:
    """Parse, plan, report."""
    from autobatch.planning.report import (
        PLAN,
        SNAPSHOT_PLAN,
        render_plan,
        render_snapshot_plan,
        save_plan_plot,
    )
    from autobatch.reporting import check_outputs

    _check_inputs(target, replay, plot_path, values)
    settings = Settings(**{name: values.pop(name) for name in SHARED_NAMES})
    asked = PlanSettings(**values)
    check_outputs(output, plot_path=plot_path, overwrite=force)
    with show_activity(quiet=quiet) as activity:
        if replay is not None:
            from autobatch.planning.snapshots import plan_snapshot

            replayed = plan_snapshot(replay, asked, on_stage=activity.begin)
        else:
            on_output = say if verbose else ignore
            made = _make(target or "", settings, asked, activity.begin, on_output)
    if replay is not None:
        _report(replayed, SNAPSHOT_PLAN, render_snapshot_plan, output, force, as_json=as_json)
        return 0 if replayed.fits else _EXIT_FITS_NOWHERE
    if plot_path is not None:
        save_plan_plot(made, plot_path)
    _report(made, PLAN, render_plan, output, force, as_json=as_json)
    return 0 if made.fits else _EXIT_FITS_NOWHERE


def _check_inputs(
    target: str | None, replay: str | None, plot_path: str | None, values: Mapping[str, Any]
) -> None:
    """Refuse what does not go together.

    Raises:
        SettingsError: If there is not one thing to plan for, or an option is for another.
        WorkloadError: If the target is not there.
    """
    if (target is None) == (replay is None):
        given = "neither a target nor" if target is None else "both a target and"
        raise SettingsError(
            f"there is {given} a snapshot to replay",
            hint="give a target, or a snapshot with `replay`",
        )
    if target is not None:
        from autobatch.workload.files import parse_target

        parse_target(target)
        return
    known = {**options_of(PlanSettings), **options_of(Settings)}
    unused = [
        name
        for name, each in known.items()
        if each.field in values
        and each.field not in _OF_SNAPSHOTS
        and values[each.field] != each.default
    ]
    unused += [] if plot_path is None else ["plot"]
    if unused:
        raise SettingsError(
            f"`{unused[0]}` is for a target, and `replay={replay}` is a recording",
            hint=f"leave `{unused[0]}` out",
        )


def _make(
    target: str,
    settings: Settings,
    asked: PlanSettings,
    on_stage: Callable[[str], None],
    on_output: Callable[[str], None],
) -> Plan:
    from autobatch.planning.session import plan_target
    from autobatch.reporting import load

    finding = None if asked.calibration is None else load(asked.calibration)
    return plan_target(
        target, settings, asked, finding=finding, on_stage=on_stage, on_output=on_output
    )


def _report(
    made: T,
    codec: Codec[T],
    render: Callable[[T, Console], None],
    output: str | None,
    force: bool,
    *,
    as_json: bool,
) -> None:
    try:
        if output is not None:
            codec.save(made, output, force)
    finally:  # show what was made, even if it cannot be saved
        print_result(made, codec.dumps if as_json else None, render)
