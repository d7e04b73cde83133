"""``autobatch show``: show a saved finding again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from autobatch.errors import SettingsError
from autobatch.shell.streams import print_finding, print_result

if TYPE_CHECKING:
    from autobatch.reporting.codec import Codec


@click.command(
    short_help="Show a saved finding, comparison, plan or tuning again.",
    help="""Show what `autobatch probe`, `compare`, `plan` or `tune` saved with -o FILE.

    \b
    Examples:
      autobatch show finding.json
      autobatch show finding.json --plot finding.png
    """,
)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--plot", "plot_path", metavar="FILE", help="Draw it as png, svg or pdf.")
@click.option("--html", "html_path", metavar="FILE", help="Save a finding as a web page.")
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
def show(
    file: str, as_json: bool, plot_path: str | None, html_path: str | None, force: bool
) -> None:
    """Read, report."""
    from autobatch.compare.report import COMPARISON, render_comparison, save_comparison_plot
    from autobatch.planning.report import (
        PLAN,
        SNAPSHOT_PLAN,
        render_plan,
        render_snapshot_plan,
        save_plan_plot,
    )
    from autobatch.reporting import check_outputs, load, save_html, save_plot
    from autobatch.tuning.report import TUNING, render_tuning, save_tuning_plot

    check_outputs(html_path, plot_path=plot_path, overwrite=force)
    others: tuple[tuple[Codec[Any], Callable[..., None], Callable[..., None] | None], ...] = (
        (COMPARISON, render_comparison, save_comparison_plot),
        (PLAN, render_plan, save_plan_plot),
        (SNAPSHOT_PLAN, render_snapshot_plan, None),
        (TUNING, render_tuning, save_tuning_plot),
    )
    for codec, render, draw in others:
        if codec.is_in(file):
            _refuse_forms(file, codec.what, html_path, plot_path if draw is None else None)
            made = codec.load(file)
            if plot_path is not None and draw is not None:
                draw(made, plot_path)
            print_result(made, codec.dumps if as_json else None, render)
            return

    finding = load(file)
    if plot_path is not None:
        save_plot(finding, plot_path)
    if html_path is not None:
        save_html(finding, html_path)
    print_finding(finding, as_json=as_json)


def _refuse_forms(file: str, what: str, html_path: str | None, plot_path: str | None) -> None:
    """Refuse a web page or a picture of what has none."""
    if html_path is not None:
        raise SettingsError(
            f"{file} is {what}, and `html` is for findings", hint="draw it with --plot"
        )
    if plot_path is not None:
        raise SettingsError(f"{file} is {what}, which is not drawn", hint="leave `plot` out")
