"""Step times that others measured on GPUs, beside those that `plan` estimates from operators.

    python -m scripts.plan.step_times FOLDER [--models 60]

fits the factors of kinds and the scales of cards that ``autobatch.prediction.step_time`` has, and
prints them with the errors of models that were left out of the fit, a fifth of them at a time.
"""

from __future__ import annotations

import csv
import gzip
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from autobatch.cards import find_card, list_cards
from autobatch.prediction.lines import TraceLine
from autobatch.prediction.step_time import bounds_of, estimate_step_s, scale_of
from autobatch.prediction.work import WorkKind
from scripts.plan.loops import Loop, line_of
from scripts.plan.milabench import CARDS, TORCH, loop_of
from scripts.plan.timm_models import RTX_3090, make_timm_step, trace_or_report
from scripts.plan.verdict import Row, percentile, row_of_errors
from scripts.workbench import make_parser, print_table, report

# Of forward passes and of training, that the constants were fitted to.
_NUM_FITTED = 60
_NUM_MODELS = 40
_FEWEST_MODELS = 30
_NUM_FOLDS = 5
_CARDS = {
    "RTX 3090": "rtx-3090",
    "RTX 4090": "rtx-4090",
    "RTX 5090": "rtx-5090",
    "RTX PRO 6000 Blackwell Max-Q": "rtx-pro-6000-max-q",
    "L40S": "l40s",
}
_TRAINED_ON = "RTX 3090"
# Rounds of the fit, after which nothing changes.
_NUM_ROUNDS = 40
# Errors below it count alike.
_LEAST_ERROR = 0.05
# Smaller batches are bound by the launches of operators.
_FEWEST_SAMPLES = 8


class Timed(NamedTuple):
    """A step that others timed.

    Attributes:
        model: Its name.
        image_size: Pixels of a side.
        gpu: In their words.
        batch_size: Samples of a step.
        time_s: What it took.
        is_training: Whether there was more than a forward pass.
    """

    model: str
    image_size: int
    gpu: str
    batch_size: int
    time_s: float
    is_training: bool


def check_step_times(folder: Path) -> Iterator[Row]:
    """Is the time of a forward pass near, on two cards, by constants that other models gave?

    Which models those were is known for one folder. In another one as many are left out, too.
    """
    steps = _read(folder / "timm_infer.csv.gz", is_training=False)
    fitted = _pick(steps, _NUM_FITTED)
    others = {key: each for key, each in steps.items() if each not in fitted}
    errors: dict[str, dict[str, float]] = {"RTX 4090": {}, "RTX 5090": {}}
    for line, each in _trace_all(_pick(others, _NUM_MODELS)):
        if each.gpu in errors and (time_s := _estimate_s(line, each)):
            errors[each.gpu][f"{each.model} {each.batch_size}"] = time_s / each.time_s - 1
    for gpu, found in errors.items():
        yield row_of_errors(
            f"time of a forward pass on {gpu}, timm",
            f">= {_FEWEST_MODELS} models, median <= 15 %",
            found,
            median=0.15,
            p90=1.0,
            at_least=_FEWEST_MODELS,
        )
    known = {card.name for card in list_cards() if scale_of(card) is not None}
    yield Row(
        name="cards whose speed nobody measured",
        must="no estimate",
        found=f"estimates for {', '.join(sorted(known))}",
        is_met=known == set(_CARDS.values()),
    )


def _estimate_s(line: TraceLine, step: Timed) -> float | None:
    card = find_card(_CARDS[step.gpu])
    scale, time_s = scale_of(card), estimate_step_s(line.operations_at(step.batch_size), card)
    return scale * time_s if scale and time_s else None


def main() -> int:
    """Fit and print."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--models", type=int, default=_NUM_FITTED, help="of forward passes and of training"
    )
    arguments = parser.parse_args()
    folder, number = arguments.folder, arguments.models
    steps = _pick(_read(folder / "timm_infer.csv.gz", is_training=False), number)
    steps += _pick(_read(folder / "timm_train_rtx3090.csv.gz", is_training=True), number)
    rows = [row for line, each in _trace_all(steps) if (row := _row_of(line, each)) is not None]
    rows += _trace_milabench(folder / "milabench_scaling.csv")
    errors: dict[str, list[float]] = {}
    random.Random(0).shuffle(rows)
    models = sorted({row.model for row in rows})
    for fold in range(_NUM_FOLDS):
        left_out = set(models[fold::_NUM_FOLDS])
        fitted = fit([row for row in rows if row.model not in left_out])
        for row in rows:
            if row.model in left_out:
                errors.setdefault(row.name, []).append(fitted.estimate_s(row) / row.time_s - 1)
    print_table(
        "Errors of models that were left out",
        ("", "steps", "median", "nine of ten within"),
        [
            (name, str(len(each)), f"{statistics.median(map(abs, each)):.1%}",
             f"{percentile([*map(abs, each)], 0.9):.0%}")
            for name, each in sorted(errors.items())
        ],
    )  # fmt: skip
    fitted = fit(rows)
    for kind, factor in fitted.factors.items():
        print(f"{kind.value}: {factor:.2f}")
    for card, scale in fitted.scales.items():
        print(f"{card}: {scale:.2f}")
    return 0


class Measured(NamedTuple):
    """A step, what bounds it, and what it took.

    Attributes:
        model: Models are left out as a whole.
        card: Its name in the table of cards.
        is_training: Whether there was more than a forward pass.
        bounds_s: Of each kind, as ``bounds_of`` has them.
        time_s: As measured.
    """

    model: str
    card: str
    is_training: bool
    bounds_s: dict[WorkKind, float]
    time_s: float

    @property
    def name(self) -> str:
        """Of its row in the table."""
        return f"{self.card}, {'training' if self.is_training else 'forward pass'}"


class Fitted(NamedTuple):
    """Constants of ``autobatch.prediction.step_time``."""

    factors: dict[WorkKind, float]
    scales: dict[str, float]

    def estimate_s(self, row: Measured) -> float:
        """The time of a step."""
        total_s = sum(self.factors[kind] * row.bounds_s[kind] for kind in WorkKind)
        return self.scales[row.card] * total_s


def fit(rows: Sequence[Measured]) -> Fitted:
    """Find the factors and scales whose relative errors are smallest, in turn.

    Large errors count less, as those of a median do: some models ran otherwise than they are
    traced. A model counts once on each card. An update of the optimizer is bound by memory, and too
    small beside the rest to be fitted.

    Args:
        rows: Measured steps.
    """
    kinds = [kind for kind in WorkKind if kind is not WorkKind.OPTIMIZER]
    times_s = np.array([row.time_s for row in rows])
    bounds = np.array([[row.bounds_s[kind] for kind in kinds] for row in rows])
    updates = np.array([row.bounds_s[WorkKind.OPTIMIZER] for row in rows])
    cards = np.array([row.card for row in rows])
    scales = dict.fromkeys(_CARDS.values(), 1.0)
    alike = Counter((row.model, row.name) for row in rows)
    counts = np.array([alike[row.model, row.name] for row in rows])
    weights = 1 / np.sqrt(counts)
    for _ in range(_NUM_ROUNDS):
        scale = np.array([scales[card] for card in cards])
        relative = scale / times_s
        factors, _ = nnls(
            bounds * (relative * weights)[:, None], (1 - updates * relative) * weights
        )
        predicted_s = bounds @ factors + updates
        errors = np.maximum(np.abs(predicted_s * relative - 1), _LEAST_ERROR)
        weights = 1 / np.sqrt(counts * errors)
        for card in scales:
            if card != _CARDS[_TRAINED_ON]:  # the one that the others are compared with
                is_on = cards == card
                scales[card] = float(np.median((times_s / predicted_s)[is_on]))
    found = {WorkKind.OPTIMIZER: 1.0, **dict(zip(kinds, map(float, factors), strict=True))}
    return Fitted(found, scales)


def _row_of(line: TraceLine, step: Timed) -> Measured | None:
    name = _CARDS[step.gpu]
    bounds_s = bounds_of(line.operations_at(step.batch_size), find_card(name))
    if not bounds_s or not any(bounds_s.values()):
        return None
    return Measured(step.model, name, step.is_training, bounds_s, step.time_s)


def _trace_milabench(path: Path) -> Iterator[Measured]:
    """Training on the L40S, which nobody timed with timm."""
    gpu, lines = "L40S", dict[str, TraceLine]()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            make, batch_size = loop_of(row["benchmark"]), int(row["batch_size"])
            is_wanted = row["gpu"] == gpu and row["gpus_used"] == "1" and row["samples_per_s"]
            if make is None or not is_wanted or batch_size < _FEWEST_SAMPLES:
                continue
            if row["benchmark"] not in lines:
                lines[row["benchmark"]] = line_of(make, CARDS[gpu], torch_version=TORCH)
            time_s = batch_size / float(row["samples_per_s"])
            step = Timed(row["benchmark"], 0, gpu, batch_size, time_s, is_training=True)
            if (measured := _row_of(lines[row["benchmark"]], step)) is not None:
                yield measured


def _read(path: Path, *, is_training: bool) -> dict[tuple[str, int], list[Timed]]:
    """By model and image size, what the newest PyTorch took on each card, run eagerly."""
    import timm

    known = set(timm.list_models())
    found: dict[tuple[str, int], dict[str, tuple[str, Timed]]] = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            is_plain = row["layout"] == "nchw" and row["precision"] == "fp16 autocast"
            is_plain &= row.get("compiler", "eager") == "eager"
            if not is_plain or row["model"] not in known or row["gpu"] not in _CARDS:
                continue
            step = Timed(
                row["model"], int(row["image_size"]), row["gpu"], int(float(row["batch_size"])),
                float(row["step_time_ms"]) / 1e3, is_training,
            )  # fmt: skip
            newest = found.setdefault((step.model, step.image_size), {})
            newest[step.gpu] = max(newest.get(step.gpu, ("", step)), (row["torch"], step))
    return {key: [step for _, step in each.values()] for key, each in found.items()}


def _pick(steps: dict[tuple[str, int], list[Timed]], number: int) -> list[list[Timed]]:
    """As many models as are wanted, of those that ran on most cards."""
    most = max(map(len, steps.values()), default=0)
    keys = sorted(key for key, each in steps.items() if len(each) == most)
    return [steps[key] for key in random.Random(7).sample(keys, min(number, len(keys)))]


def _trace_all(steps: Sequence[list[Timed]]) -> Iterator[tuple[TraceLine, Timed]]:
    """Each step with the traces of its model; those that cannot be traced are named."""
    for each in steps:
        first = each[0]
        make = make_timm_step if first.is_training else _make_forward_pass
        line = trace_or_report(partial(make, first.model, first.image_size), RTX_3090, (2, 9))
        if line is not None:
            report("traced", first.model)
            yield from ((line, step) for step in each)


def _make_forward_pass(name: str, image_size: int, batch_size: int) -> Loop:
    """The inference benchmark of timm: fp16 autocast, evaluation mode."""
    import timm

    model = timm.create_model(name).eval()

    def start() -> Callable[[], None]:
        images = torch.randn(batch_size, 3, image_size, image_size, device="cuda")

        def step() -> None:
            with torch.no_grad(), torch.autocast("cuda", torch.float16):
                model(images)

        return step

    return Loop(model=model, start=start)


if __name__ == "__main__":
    sys.exit(main())
