"""``autobatch check``: hold a target and the hardware against requirements."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from autobatch.check.options import check_options, to_check_settings
from autobatch.check.records import (
    CheckObserver,
    CheckReport,
    CheckSettings,
    Measurement,
    SilentCheckObserver,
)
from autobatch.errors import AutobatchError, CheckInterrupted, SettingsError
from autobatch.records import Status
from autobatch.shell.streams import ignore, print_result, say, uninterrupted

_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


@click.command(
    help="""Check TARGET at one batch size, the hardware, or both, against requirements.

    The exit status is 0 if nothing is known to be violated, 1 if a requirement is not met, and 2
    if it could not be measured.

    \b
    Examples:
      autobatch check model.py --batch-size 64 --max-memory 10GiB --baseline speed.json
      autobatch check --device cuda --min-devices 2 --min-free 30GiB --require bf16
    """
)
@click.argument("target", required=False)
@check_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--force", is_flag=True, help="Overwrite a baseline that exists.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the target prints.")
def check(
    target: str | None,
    baseline: str | None,
    save_baseline: str | None,
    junit: str | None,
    as_json: bool,
    force: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> int:
    """Parse, check, report."""
    # What takes long to import is not needed for --help.
    from autobatch.check.report import BASELINE
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import check_writable

    named = {**values, "baseline": baseline, "save_baseline": save_baseline}
    settings = to_check_settings(named, has_target=target is not None)
    check_device_name(settings.training.device)
    known = None if baseline is None else BASELINE.load(baseline)
    if save_baseline is not None:
        check_writable(save_baseline, force)
    if junit is not None:
        _refuse_same_file(junit, save_baseline, baseline)
        check_writable(junit, overwrite=True)
    report = _run(target, settings, known, quiet=quiet, verbose=verbose)
    try:
        with uninterrupted():
            _write_files(report, junit=junit)
            if save_baseline is not None:
                _keep(report, save_baseline, force=force, quiet=quiet)
    finally:  # a report that cannot be saved is shown all the same
        _show(report, as_json=as_json)
    return 0 if report.is_met else 1


def _run(
    target: str | None,
    settings: CheckSettings,
    baseline: Measurement | None,
    *,
    quiet: bool,
    verbose: bool,
) -> CheckReport:
    if target is None:
        from autobatch.check.hardware import check_hardware

        return check_hardware(settings)
    from autobatch.check.start import check_target
    from autobatch.workload.files import parse_target

    parse_target(target)
    return check_target(
        target,
        settings,
        baseline=baseline,
        observer=_watch(quiet=quiet),
        on_output=say if verbose else ignore,
    )


def _watch(*, quiet: bool) -> CheckObserver:
    from autobatch.check.report import CheckLines

    return SilentCheckObserver() if quiet else CheckLines(sys.stderr)


def _write_files(report: CheckReport, *, junit: str | None) -> None:
    from autobatch.check.report import append_markdown, dumps_junit
    from autobatch.reporting import write_atomically

    summary = os.environ.get(_SUMMARY_VARIABLE)
    if summary:
        try:
            append_markdown(report, summary)
        except AutobatchError as error:  # it is CI's file, and the check does not depend on it
            say(f"No summary written: {error}")
    if junit is not None:
        write_atomically(junit, dumps_junit(report))


def _keep(report: CheckReport, path: str, *, force: bool, quiet: bool) -> None:
    from autobatch.check.report import BASELINE

    if report.measurement is None or report.count(Status.NOT_MET):
        say(f"No baseline saved to {path}: a requirement is not met")
        return
    BASELINE.save(report.measurement, path, force)
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
            raise SettingsError(f"--junit {junit} is the baseline", hint="give another name")
