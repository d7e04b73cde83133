"""The options of each command are frozen: a new one is added here, and with a reason.

What is said of a model belongs into the target, or its file.
"""

from __future__ import annotations

import click
import pytest

from autobatch.cli import command

OPTIONS = {
    "check": (
        "all-reduce-min any-hardware baseline batch-size device env force gpu json junit "
        "max-ecc-errors max-memory max-other-processes max-step-time memory-tolerance "
        "min-capacity min-cores min-devices min-driver min-free min-headroom min-pcie-width "
        "min-throughput no-throttling nproc-per-node parallel precision quiet reference require "
        "requirements save-baseline seed strict time-limit tolerance trial-timeout verbose"
    ),
    "compare": (
        "base-batch-size batch-sizes device env epochs force headroom "
        "json lr lr-rule memory-limit output plot precision quiet resume seed stop-at-target "
        "target-loss tolerance validation verbose"
    ),
    "devices": "device json",
    "plan": (
        "batch-size calibration env expandable-segments force gpu gpu-memory "
        "gradient-accumulation-steps json num-devices output plot precision price quiet replay "
        "verbose"
    ),
    "probe": (
        "axis base-batch-size batch-size by-length dataset-size device drop-last env eval files "
        "first-step-timeout force fresh global-batch-size goal gradient-accumulation-steps "
        "gradient-noise grid headroom html in json lr lr-rule max-batch-size "
        "memory-breakdown memory-limit min-batch-size nproc-per-node num-devices output parallel "
        "per-rank plot precision price-per-hour quiet "
        "rehearse resize reuse seed time-limit tolerance trial-timeout verbose"
    ),
    "show": "force html json plot",
    "tune": (
        "allow base-batch-size dataset-size device env files first-step-timeout force fresh "
        "global-batch-size headroom in json lever lever-time-limit max-batch-size memory-limit "
        "min-batch-size nproc-per-node num-devices output parallel plot precision quiet resize "
        "resume seed skip time-limit tolerance trial-timeout verbose"
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_of_a_command_are_those_that_were_agreed_on(name: str) -> None:
    parameters = command.commands[name].params
    flags = [max(each.opts, key=len) for each in parameters if isinstance(each, click.Option)]
    assert " ".join(sorted(flag.removeprefix("--") for flag in flags)) == OPTIONS[name]


def test_every_command_is_frozen() -> None:
    assert set(command.commands) == set(OPTIONS)
