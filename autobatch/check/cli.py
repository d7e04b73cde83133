"""``autobatch check``: hold a target and the hardware against requirements."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

import click

from autobatch.check.records import (
    TRIAL_HEADROOM_FRACTION,
    CheckReport,
    CheckSettings,
    HardwareLimits,
    Measurement,
    TargetLimits,
)
from autobatch.check.requirements_file import read_requirements
from autobatch.errors import CheckInterrupted, SettingsError
from autobatch.ranks.launcher import refuse_launcher
from autobatch.ranks.settings import RanksSettings, refuse_for_command
from autobatch.records import Settings, Status
from autobatch.records.options import options_of
from autobatch.shell.options import (
    OUTPUT,
    TakesCommand,
    command_behind_dashes,
    in_group,
    settings_options,
    values_of,
)
from autobatch.shell.streams import (
    ignore,
    print_result,
    say,
    show_activity,
    uninterrupted,
)

_OF_TRAINING = ("device", "precision", "trial_timeout_s", "seed", "variables")
_OF_RANKS = ("nproc_per_node", "parallel")
_BASELINE = in_group("Comparison with a baseline")


@click.command(
    cls=TakesCommand,
    short_help="Check a model, a command or the hardware against requirements.",
    help="""Check TARGET or COMMAND at one batch size, the hardware, or both, against requirements.

    COMMAND is an unedited training script, as for `autobatch probe`.

    The exit status is 0 if nothing is known to be violated, 1 if a requirement is not met, and 2
    if it could not be measured.

    \b
    Examples:
      autobatch check model.py --batch-size 64 --max-memory 10GiB --baseline speed.json
      autobatch check --max-step-time 200ms -- python train.py --batch-size {batch_size=64}
      autobatch check model.py --gpu a100-40gb --max-memory 36GiB --baseline memory.json
      autobatch check --device cuda --min-devices 2 --min-free 30GiB --require bf16
      autobatch check model.py --nproc-per-node 2 --batch-size 64 --baseline two.json
    """,
)
@click.argument("target", required=False)
@settings_options(TargetLimits)
@_BASELINE("--baseline", metavar="FILE", help="Compare with what --save-baseline wrote.")
@_BASELINE(
    "--save-baseline",
    metavar="FILE",
    help="Keep what is measured as a baseline, unless a requirement is not met.",
)
@settings_options(CheckSettings)
@settings_options(HardwareLimits)
@settings_options(RanksSettings, only=_OF_RANKS)
@settings_options(Settings, only=_OF_TRAINING)
@in_group("Requirements in a file")(
    "--requirements",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=read_requirements,
    help='TOML file of options by name, such as max-memory = "10GiB".  '
    "[default: the table tool.autobatch.check of ./pyproject.toml]",
)
@OUTPUT("--junit", metavar="FILE", help="Write a JUnit file for CI systems.")
@OUTPUT("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@OUTPUT("--force", is_flag=True, help="Overwrite a baseline that exists.")
@OUTPUT("-q", "--quiet", is_flag=True, help="No progress.")
@OUTPUT("-v", "--verbose", is_flag=True, help="Show what the target prints.")
def check(
    junit: str | None, as_json: bool, force: bool, quiet: bool, verbose: bool, **values: Any
) -> int:
    """Parse, check, report."""
    # What takes long to import is not needed for --help.
    from autobatch.check.report import BASELINE
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_writable

    command = command_behind_dashes()
    if command is not None:
        if values["target"] is not None:
            raise SettingsError(
                f"there is a target, {values['target']}, and a command behind `--`",
                hint="give only one of them",
            )
        values["target"] = shlex.join(command)
    settings = to_check_settings(values)
    baseline, save_baseline = values["baseline"], values["save_baseline"]
    check_device_name(settings.training.device)
    known = None if baseline is None or settings.gpu else BASELINE.load(baseline)
    if save_baseline is not None:
        check_writable(save_baseline, force)
    if junit is not None:
        _refuse_same_file(junit, save_baseline, baseline)
        check_writable(junit, overwrite=True)
    if settings.gpu is not None:
        from autobatch.check.predicted import refuse_what_is_not_predicted

        refuse_what_is_not_predicted(settings, is_command=command is not None)
        report = _predict(values["target"], settings, baseline, quiet=quiet, verbose=verbose)
    else:
        report = _run(values["target"], settings, known, command, quiet=quiet, verbose=verbose)
    try:
        with uninterrupted():
            if junit is not None:
                _write_junit(report, junit)
            if save_baseline is not None:
                _keep(report, save_baseline, force=force, quiet=quiet)
    finally:  # a report that cannot be saved is shown all the same
        _show(report, as_json=as_json)
    return 0 if report.is_met else 1


def to_check_settings(values: Mapping[str, Any]) -> CheckSettings:
    """Settings from what was typed.

    Raises:
        SettingsError: If options do not go together, or nothing is required.
    """
    has_baseline = values["baseline"] is not None or values["save_baseline"] is not None
    if values["reference"] is not None and not has_baseline:
        raise SettingsError(
            f"`reference={values['reference']}` is for comparing with a baseline",
            hint="add `baseline` or `save_baseline`",
        )
    settings = CheckSettings(
        training=Settings(
            headroom_fraction=TRIAL_HEADROOM_FRACTION,
            **{name: values[name] for name in _OF_TRAINING},
        ),
        limits=TargetLimits(**values_of(TargetLimits, values)),
        hardware=HardwareLimits(**values_of(HardwareLimits, values)),
        ranks=RanksSettings(**{name: values[name] for name in _OF_RANKS}),
        keeps_baseline=values["save_baseline"] is not None,
        **values_of(CheckSettings, values),
    )
    if values["target"] is None:
        _refuse_without_target(values, settings)
    return settings


def _refuse_without_target(values: Mapping[str, Any], settings: CheckSettings) -> None:
    of_check = options_of(CheckSettings)
    of_target = [*options_of(TargetLimits).values(), of_check["batch_size"], of_check["gpu"]]
    given = [each.name for each in of_target if values[each.field] != each.default]
    given += [name for name in ("baseline", "save_baseline") if values[name] is not None]
    if given:
        raise SettingsError(
            f"`{given[0]}` needs a target to measure",
            hint=f"give one, such as autobatch check model.py `{given[0]}` ...",
        )
    if settings.ranks != RanksSettings() and settings.hardware.all_reduce_min_bytes_per_s is None:
        raise SettingsError(
            f"`nproc_per_node={settings.ranks.nproc_per_node}` needs a target, or `all_reduce_min`",
            hint="give one, such as autobatch check model.py `nproc_per_node=2`",
        )
    if settings.hardware.is_empty:
        raise SettingsError(
            "nothing to check: there is neither a target nor a requirement on the hardware",
            hint="autobatch check --help lists what can be required",
        )


def _predict(
    target: str, settings: CheckSettings, baseline: str | None, *, quiet: bool, verbose: bool
) -> CheckReport:
    from autobatch.check.predicted import check_predicted
    from autobatch.check.report import PREDICTED_BASELINE
    from autobatch.workload.files import parse_target

    parse_target(target)
    with show_activity(quiet=quiet) as activity:
        return check_predicted(
            target,
            settings,
            baseline=None if baseline is None else PREDICTED_BASELINE.load(baseline),
            on_output=say if verbose else ignore,
            on_stage=activity.begin,
        )


def _run(
    target: str | None,
    settings: CheckSettings,
    baseline: Measurement | None,
    command: tuple[str, ...] | None,
    *,
    quiet: bool,
    verbose: bool,
) -> CheckReport:
    from autobatch.check.report import CheckLines

    with show_activity(quiet=quiet) as activity:
        observer = CheckLines(activity)
        if target is None:
            from autobatch.check.hardware import check_hardware

            observer.loading("PyTorch, to look at the devices")
            return check_hardware(settings)
        from autobatch.check.start import check_target
        from autobatch.workload.files import parse_target

        refuse_launcher(os.environ, "checks a target")
        prober = None
        if command is None:
            parse_target(target)
        else:
            from autobatch.command.prober import CommandProber
            from autobatch.command.settings import CommandSettings

            refuse_for_command(settings.ranks)
            prober = CommandProber(command, settings.training, CommandSettings())
            prober.starts.on_output = say if verbose else ignore
        return check_target(
            target,
            settings,
            baseline=baseline,
            observer=observer,
            on_output=say if verbose else ignore,
            prober=prober,
        )


def _write_junit(report: CheckReport, path: str) -> None:
    from autobatch.check.report import dumps_junit
    from autobatch.reporting import write_atomically

    write_atomically(path, dumps_junit(report))


def _keep(report: CheckReport, path: str, *, force: bool, quiet: bool) -> None:
    from autobatch.check.report import BASELINE, PREDICTED_BASELINE

    is_met = not report.count(Status.NOT_MET)
    if report.prediction is not None and is_met:
        PREDICTED_BASELINE.save(report.prediction, path, force)
    elif report.measurement is not None and is_met:
        BASELINE.save(report.measurement, path, force)
    else:
        say(f"No baseline saved to {path}: a requirement is not met")
        return
    if not quiet:
        say(f"Baseline saved to {path}")


def _show(report: CheckReport, *, as_json: bool) -> None:
    try:
        from autobatch.check.report import CHECK, render_check

        print_result(report, CHECK.dumps if as_json else None, render_check)
    except KeyboardInterrupt:
        raise CheckInterrupted(report) from None


def _refuse_same_file(junit: str, *others: str | None) -> None:
    for other in others:
        if other is not None and os.path.realpath(other) == os.path.realpath(junit):
            raise SettingsError(f"`junit={junit}` is the baseline", hint="give another name")
