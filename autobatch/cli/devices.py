"""``autobatch devices``: the devices that can train."""

from __future__ import annotations

import sys

import click

from autobatch.shell.streams import print_result, show_activity


@click.command(
    short_help="Show every device, its memory and what it can do.",
    help="""Show every device: memory and what bounds it, precisions, who else uses it.

    What a device cannot tell is listed with the reason.

    \b
    Examples:
      autobatch devices
      autobatch devices --device cuda:0 --json
    """,
)
@click.option("--device", "name", metavar="NAME",
              help="Only this one: auto, cpu, cuda, cuda:1, xpu, xpu:1 or mps.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def devices(name: str | None, as_json: bool) -> None:
    """Ask, report."""
    from autobatch.devices.select import check_device_name
    from autobatch.reporting import DEVICES, render_devices

    if name is not None:
        check_device_name(name)
    with show_activity(quiet=not sys.stderr.isatty()) as activity:
        activity.begin("importing PyTorch")
        # Not worth it for a name that no device can have.
        from autobatch.devices.machine import report_machine

        activity.begin("looking at the devices")
        machine = report_machine(name)
    print_result(machine, DEVICES.dumps if as_json else None, render_devices)
