"""``autobatch devices``: the devices that can train."""

from __future__ import annotations

import sys

import click

from autobatch.shell.streams import make_console


@click.command(
    help="""Show every device: memory and what bounds it, precisions, who else uses it.

    What a device cannot tell is listed with the reason.

    \b
    Examples:
      autobatch devices
      autobatch devices --device cuda:0 --json
    """
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
    # Loads PyTorch: not worth it for a name that no device can have.
    from autobatch.devices.machine import report_machine

    machine = report_machine(name)
    if as_json:
        sys.stdout.write(DEVICES.dumps(machine))
    else:
        render_devices(machine, make_console(to_stderr=False))
