"""Do the parts of a step's memory add up to its measured peak?

For each example, for ``hf:gpt2`` and ``hf:bert`` with four layers, and for a residual network with
frozen weights (frozen_resnet.py): the breakdown of one size, and what it leaves over, as a fraction
of the peak. Exit status 1 if that is more than 2 % of any.

    python -m scripts.claims.breakdown [NAME ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from autobatch.breakdown.job import BreakdownJob
from autobatch.probe.client import TargetProber
from autobatch.records import Settings
from autobatch.units import format_bytes
from scripts.workbench import example_path, make_parser, print_table, report

_MOST_FRACTION = 0.02
_TARGETS = {
    "digits_cnn": (example_path("digits_cnn"), 128),
    "char_gpt": (example_path("char_gpt"), 64),
    "regression_mlp": (example_path("regression_mlp"), 256),
    "sequence_lstm": (example_path("sequence_lstm"), 64),
    "image_cnn": (example_path("image_cnn"), 32),
    "slow_loader": (example_path("slow_loader"), 16),
    "gpt2": ("hf:gpt2,n_layer=4,sequence_length=128", 4),
    "bert": ("hf:bert,num_hidden_layers=4,sequence_length=128", 4),
    "frozen_resnet": (str(Path(__file__).with_name("frozen_resnet.py")), 16),
}


def main() -> int:
    """Break all down and print."""
    arguments = make_parser(__doc__, _TARGETS).parse_args()
    rows = []
    for name in arguments.examples:
        rows.append((name, *break_down(*_TARGETS[name])))
        report(*rows[-1])
    header = ("target", "size", "peak", "left over", "of the peak", "")
    print_table("the parts of a step's memory, and its measured peak", header, rows)
    num_bad = sum(row[-1] != "ok" for row in rows)
    print(f"{len(rows)} breakdowns, {num_bad} more than 2 % off")
    return 1 if num_bad else 0


def break_down(target: str, batch_size: int) -> tuple[str, ...]:
    """Size, peak, what is left over, and a verdict."""
    with TargetProber(target, Settings()) as prober:
        prober.load()
        told = prober.run(BreakdownJob(batch_size=batch_size))
    if told.reason:
        return (str(batch_size), "", "", told.reason, "FAILED")
    fraction = told.unexplained_bytes / told.peak_bytes
    left = ("-" if fraction < 0 else "") + format_bytes(abs(told.unexplained_bytes))
    verdict = "ok" if abs(fraction) <= _MOST_FRACTION else "OFF"
    return (
        str(batch_size),
        format_bytes(told.peak_bytes),
        left,
        f"{100 * fraction:.2f} %",
        verdict,
    )


if __name__ == "__main__":
    sys.exit(main())
