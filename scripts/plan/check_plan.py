"""What `plan` predicts, held against what others measured on GPUs: a verdict a row.

    python -m scripts.plan.check_plan FOLDER [--only WORD] [--details]

FOLDER has recorded traces and tables of measurements; its README names their sources. Exit status
1 if a bar is not met. Catalogues of models are imported from where PYTHONPATH finds them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.plan.hostile import check_hostile
from scripts.plan.lines import check_line
from scripts.plan.milabench import check_milabench
from scripts.plan.recorded import check_recorded
from scripts.plan.replay_traces import check_replay
from scripts.plan.speed import check_speed
from scripts.plan.step_times import check_step_times
from scripts.plan.timm_models import check_gpumemnet, check_largest
from scripts.plan.verdict import Row
from scripts.workbench import make_parser, print_table, report

#: Each yields the rows of one source, by a word that ``--only`` takes.
CHECKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "replay": check_replay,
    "recorded": check_recorded,
    "milabench": check_milabench,
    "line": check_line,
    "hostile": check_hostile,
    "largest": check_largest,
    "gpumemnet": check_gpumemnet,
    "steptimes": check_step_times,
    "speed": check_speed,
}


def main() -> int:
    """Check all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=CHECKS, action="append")
    parser.add_argument("--details", action="store_true", help="print every case")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only or CHECKS:
        begin = time.perf_counter()
        for row in CHECKS[name](arguments.folder):
            rows.append(row)
            if arguments.details:
                print(row.name, *row.details, sep="\n")
        report(name, f"{time.perf_counter() - begin:.0f} s")
    print_table(
        str(arguments.folder),
        ("", "must", "found", "verdict"),
        [(row.name, row.must, row.found, "met" if row.is_met else "NOT MET") for row in rows],
    )
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
