"""Runs one stage in this process: ``prove.py`` starts it."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

MODULES = {
    "machine": "machine",
    "allocator": "memory",
    "search": "search",
    "truth": "truth",
    "sustained": "truth",
    "survival": "survival",
    "neighbour": "beside",
    "call": "beside",
    "record": "search",
    "tests": "beside",
}


def main() -> int:
    """Run the stage."""
    begin = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=list(MODULES))
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    from scripts.gpu.stages.bench import Bench

    bench = Bench(arguments.stage, arguments.device, arguments.out)
    bench.save(import_time_s=time.perf_counter() - begin)
    module = importlib.import_module(f"scripts.gpu.stages.{MODULES[arguments.stage]}")
    getattr(module, f"run_{arguments.stage}")(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
