"""Everything that a GPU must show, in one command, as one JSON file.

    largest       the largest size under three shares of the memory is what trying all finds
    no_escape     running out of memory is an outcome, again and again, and the next trial runs
    prediction    the memory line of smaller sizes against the peak of one four times as large
    regret        throughput of the chosen size against the fastest, timed in turn
    neighbour     a second process holds half the memory: the budget shrinks, the answer fits
    search_time   how long a search takes, and throttling
    tests         pytest tests/gpu --require-gpu

The file has the hardware, the driver, versions and the date; it is written anew after each check,
so that what was measured is kept whatever happens next. Exit status 0 if all checks passed, 1 if
one failed, 2 without a GPU. ``--device cpu`` runs the same on the CPU.

    python -m scripts.gpu.validate [-o validation.json] [--device cuda:0] [--only CHECK ...]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import traceback
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from autobatch import __version__
from autobatch.devices.machine import report_machine
from autobatch.errors import AutobatchError
from autobatch.records import DeviceReport, Unknown
from autobatch.reporting.device_document import DEVICES
from autobatch.units import format_seconds
from scripts.gpu.checks import CHECKS, Bench
from scripts.workbench import make_parser, print_table

_SCHEMA_VERSION = 1


def main() -> int:
    """Run the checks and write the file."""
    arguments = parse_arguments()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"no GPU: PyTorch {torch.__version__} sees none; try --device cpu", file=sys.stderr)
        return 2
    try:
        machine = report_machine(arguments.device)
    except AutobatchError as error:
        print(f"{error}; {error.hint}", file=sys.stderr)
        return 2
    document = {**describe(machine.devices[0]), "machine": DEVICES.to_document(machine)}
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(arguments, machine.devices[0], Path(folder))
        document["checks"] = checks = {}
        for name in arguments.only or CHECKS:
            checks[name] = run(name, bench)
            document["passed"] = all(check["passed"] for check in checks.values())
            arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    rows = [
        (name, "passed" if check["passed"] else "FAILED", format_seconds(check["time_s"]))
        for name, check in checks.items()
    ]
    hardware = machine.devices[0].hardware_name
    print_table(f"{machine.devices[0].name}: {hardware}", ("check", "", "time"), rows)
    print(f"written to {arguments.output}")
    return 0 if document["passed"] else 1


def parse_arguments() -> argparse.Namespace:
    """What was asked."""
    parser = make_parser(__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("validation.json"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), metavar="CHECK")
    parser.add_argument("--fractions", nargs="+", type=float, help="of the memory, for limits")
    parser.add_argument("--neighbour-fraction", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--examples", nargs="+", default=["image_cnn", "char_gpt"])
    return parser.parse_args()


def make_bench(arguments: argparse.Namespace, device: DeviceReport, folder: Path) -> Bench:
    """The device, and how much of it to use."""
    assert isinstance(device.capacity_bytes, int)
    usual = (0.02, 0.04, 0.08) if device.name == "cpu" else (0.2, 0.5, 0.9)
    return Bench(
        device=device.name,
        folder=folder,
        capacity_bytes=device.capacity_bytes,
        fractions=tuple(arguments.fractions or usual),
        neighbour_fraction=arguments.neighbour_fraction,
        num_rounds=arguments.rounds,
        examples=tuple(arguments.examples),
    )


def run(name: str, bench: Bench) -> dict[str, Any]:
    """One check, and how long it took; one that raises has failed."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    try:
        result = CHECKS[name](bench)
        outcome: dict[str, Any] = {"passed": result.passed, **result.figures}
    except Exception as error:
        traceback.print_exc()
        outcome = {"passed": False, "error": f"{type(error).__name__}: {error}"}
    return {**outcome, "time_s": time.perf_counter() - begin}


def describe(device: DeviceReport) -> dict[str, Any]:
    """Hardware, driver, versions, date; what cannot be told is under ``machine`` with a reason."""
    driver, is_mig_slice = device.driver_version, getattr(device.gpu, "is_mig_slice", None)
    return {
        "schema_version": _SCHEMA_VERSION,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": device.name,
        "hardware": device.hardware_name,
        "driver": None if isinstance(driver, Unknown) else driver,
        "is_mig_slice": None if isinstance(is_mig_slice, Unknown) else is_mig_slice,
        "versions": {
            "autobatch": __version__,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "python": platform.python_version(),
            "nvidia-ml-py": metadata.version("nvidia-ml-py"),
            "system": platform.platform(),
        },
        "passed": False,
    }


if __name__ == "__main__":
    sys.exit(main())
