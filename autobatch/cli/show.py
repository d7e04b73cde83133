"""``autobatch show``: show a saved finding again."""

from __future__ import annotations

import click

from autobatch.errors import SettingsError
from autobatch.shell.streams import print_finding, print_result


@click.command(
    short_help="Show a saved finding or comparison again.",
    help="""Show a finding that `autobatch probe -o FILE` saved, or a comparison of `compare`.

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
    from autobatch.compare.report import (
        COMPARISON,
        render_comparison,
        save_comparison_plot,
    )
    from autobatch.reporting import check_plot_path, check_writable, load, save_html, save_plot

    if COMPARISON.is_in(file):
        if html_path is not None:
            raise SettingsError(
                f"{file} is a comparison, and `html` is for findings", hint="draw it with --plot"
            )
        comparison = COMPARISON.load(file)
        if plot_path is not None:
            check_plot_path(plot_path)
            check_writable(plot_path, force)
            save_comparison_plot(comparison, plot_path)
        print_result(comparison, COMPARISON.dumps if as_json else None, render_comparison)
        return

    finding = load(file)
    if plot_path is not None:
        check_plot_path(plot_path)
        check_writable(plot_path, force)
        save_plot(finding, plot_path)
    if html_path is not None:
        check_writable(html_path, force)
        save_html(finding, html_path)
    print_finding(finding, as_json=as_json)
