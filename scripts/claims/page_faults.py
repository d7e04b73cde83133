"""Does the remedy that is named for page faults help where they are found?

One size of one example is timed with the allocator as it is and with the environment variables
of the ``PAGE_FAULTS`` warning, in turn, each time in a process of its own.

    python -m scripts.claims.page_faults [--batch-size 512] [--rounds 7]
"""

from __future__ import annotations

import sys

from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings
from scripts.workbench import example_path, make_parser, print_table, quartiles

REMEDY = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
_PLAN = TimingPlan(max_time_s=2.0, precision_fraction=0, num_warmup_steps=3)


def main() -> int:
    """Time both in turn and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--example", default="image_cnn")
    arguments = parser.parse_args()
    target = example_path(arguments.example)
    plain, cured = Settings(), Settings(variables=REMEDY)
    rows, ratios = [], []
    with TargetProber(target, plain) as before, TargetProber(target, cured) as after:
        before.load()
        after.load()
        for number in range(arguments.rounds):
            pair = [prober.measure(arguments.batch_size, _PLAN) for prober in (before, after)]
            rates = [trial.samples_per_s or 0.0 for trial in pair]
            ratios.append(rates[1] / rates[0])
            faults = [f"{trial.page_faults_per_step:,.0f}" for trial in pair]
            kernel = [f"{trial.kernel_time_fraction:.0%}" for trial in pair]
            rows.append((number, *faults, *kernel, *(f"{rate:,.0f}" for rate in rates)))
    print_table(
        f"{arguments.example} at batch size {arguments.batch_size}",
        ("round", "faults/step", "with remedy", "in kernel", "with remedy", "samples/s",
         "with remedy"),
        rows,
    )  # fmt: skip
    low, ratio, high = quartiles(ratios)
    print(f"throughput with the remedy / without: {ratio:.2f} (quartiles {low:.2f} to {high:.2f})")
    return 0 if ratio > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
