"""Hundreds of image models, measured by others: the largest batch on one GPU, the peak on another.

What is traced is those loops, written again from their words. Models are taken evenly from all that
the installed timm has, by name.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch.nn import functional

from autobatch.prediction.allocator import CachingAllocator, Driver
from autobatch.prediction.lines import TraceLine
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import PlainFacts
from scripts.plan.loops import Loop, line_of
from scripts.plan.verdict import Row, row_of_errors
from scripts.workbench import report

T = TypeVar("T")
_MIB = 2**20
_MODELS_ON_RTX_3090, _MODELS_ON_A100 = 68, 36
_FEWEST_MODELS = 30
RTX_3090 = PlainFacts(compute_capability=(8, 6), num_sms=82)
#: Memory of that card less 2,000 MiB, which puts most of the models in their bracket.
_RTX_3090_BYTES = (24_268 - 2_000) * _MIB
_A100 = PlainFacts(compute_capability=(8, 0), num_sms=108)
#: Sizes that do not fit ended at the card's memory, and are in the table as they ended.
_A100_BYTES = 40_326 * _MIB
#: Median of measured less predicted, over 64 models at batch size 8.
_A100_OUTSIDE_BYTES = 1_741 * _MIB


class Bracket(NamedTuple):
    """The size at which a model ran, and the next one, at which it did not.

    Attributes:
        model: Its name in timm.
        image_size: Pixels of a side.
        ran: A size that fitted.
        failed: The next one, which did not; ``None`` if ``ran`` was the first that was tried.
    """

    model: str
    image_size: int
    ran: int
    failed: int | None


def check_largest(folder: Path) -> Iterator[Row]:
    """Is the predicted limit between the size that ran and the next one?"""
    details, wrong_refusals, wrong_acceptances = [], 0, 0
    for each in _even(_read_brackets(folder), _MODELS_ON_RTX_3090):
        line = trace_or_report(
            partial(make_timm_step, each.model, each.image_size), RTX_3090, (1, 12)
        )
        if line is None:
            continue
        fits = _fits(line, each.ran)
        accepts = each.failed is not None and _fits(line, each.failed)
        wrong_refusals += not fits
        wrong_acceptances += accepts
        verdict = "refused" if not fits else "accepted" if accepts else "right"
        details.append(f"{verdict:9} {each.model} {each.ran} {each.failed}")
        report("largest", details[-1])
    number = len(details)
    right = number - wrong_refusals - wrong_acceptances
    yield Row(
        name="largest batch on RTX 3090, timm",
        must=f">= {_FEWEST_MODELS} models, >= 90 % in their bracket, wrong acceptances <= 5 %",
        found=f"{right} of {number}, {wrong_refusals} wrong refusals, "
        f"{wrong_acceptances} wrong acceptances",
        is_met=number >= _FEWEST_MODELS
        and right >= 0.9 * number
        and wrong_acceptances <= 0.05 * number,
        details=tuple(details),
    )


def check_gpumemnet(folder: Path) -> Iterator[Row]:
    """Is the process's memory predicted, at five sizes of each model?"""
    errors = {}
    measured = _read_gpumemnet(folder)
    models = set()
    for model in _even(sorted(measured), _MODELS_ON_A100):
        line = trace_or_report(partial(_make_plain_step, model), _A100, (2, 1))
        if line is None:
            continue
        models.add(model)
        for batch_size, measured_bytes in measured[model].items():
            allocator = CachingAllocator(Driver(_A100_BYTES - _A100_OUTSIDE_BYTES))
            peak_bytes = predict(line.at(batch_size), _A100, allocator).peak_reserved_bytes
            found = peak_bytes + _A100_OUTSIDE_BYTES
            errors[f"{model} {batch_size}"] = found / measured_bytes - 1
        report("GPUMemNet", f"{model} {errors[f'{model} {max(measured[model])}']:+.1%}")
    yield row_of_errors(
        f"process memory on A100, {len(models)} timm models (GPUMemNet)",
        f">= {_FEWEST_MODELS} models, median <= 3.5 %, p90 <= 11 %",
        errors if len(models) >= _FEWEST_MODELS else {},
        median=0.035,
        p90=0.11,
    )


def _fits(line: TraceLine, batch_size: int) -> bool:
    allocator = CachingAllocator(Driver(_RTX_3090_BYTES))
    return predict(line.at(batch_size), RTX_3090, allocator).fits


def trace_or_report(
    make: Callable[[int], Loop], card: PlainFacts, torch_version: tuple[int, int]
) -> TraceLine | None:
    """The traces of a model; ``None``, with a line that says so, where it cannot be traced."""
    try:
        return line_of(make, card, torch_version=torch_version)
    except RuntimeError as error:
        report("not traced", f"{make}: {error}"[:300])
        return None


def _even(cases: Sequence[T], number: int) -> list[T]:
    """As many of some cases as are wanted, from all over."""
    step = max(1, len(cases) // number)
    return list(cases[::step][:number])


def _read_brackets(folder: Path) -> list[Bracket]:
    import timm

    known = set(timm.list_models())
    found: dict[str, tuple[str, Bracket]] = {}
    with gzip.open(folder / "timm_train_rtx3090.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            model, failed = row["model"], row["next_size_failed"]
            if model in known and row["layout"] == "nchw" and failed:
                bracket = Bracket(
                    model, int(row["image_size"]), int(row["batch_size"]), int(failed)
                )
                found[model] = max(found.get(model, ("", bracket)), (row["torch"], bracket))
    return [bracket for _, (_, bracket) in sorted(found.items())]


def _read_gpumemnet(folder: Path) -> dict[str, dict[int, int]]:
    import timm

    known = set(timm.list_models())
    found: dict[str, dict[int, int]] = defaultdict(dict)
    with gzip.open(folder / "gpumemnet_timm_a100_40gb.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] in known and row["strictly_increasing_in_batch"] == "1":
                num_bytes = int(float(row["max_gpu_memory_mib"]) * _MIB)
                found[row["model"]][int(row["batch_size"])] = num_bytes
    return found


def make_timm_step(name: str, image_size: int, batch_size: int) -> Loop:
    """The training benchmark of timm: fp16 autocast around all, SGD one tensor at a time."""
    import timm
    from timm.layers import set_fused_attn

    set_fused_attn(False)
    model = timm.create_model(name)

    def start() -> Callable[[], None]:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, nesterov=True, foreach=False
        )
        images = torch.randn(batch_size, 3, image_size, image_size, device="cuda")
        classes = torch.randint(0, 1000, (batch_size,), device="cuda")

        def step() -> None:
            optimizer.zero_grad(set_to_none=False)
            with torch.autocast("cuda", torch.float16):
                output = model(images)
                output = output[0] if isinstance(output, tuple) else output
                functional.cross_entropy(output, classes).backward()
            optimizer.step()

        return step

    return Loop(model=model, start=start)


def _make_plain_step(name: str, batch_size: int) -> Loop:
    """A plain training step in fp32: SGD with momentum, at the model's own image size.

    The words of it are not published; these fit the measured memory of transformers best.
    """
    import timm

    model = timm.create_model(name)

    def start() -> Callable[[], None]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step() -> None:
            images = torch.randn(batch_size, *model.default_cfg["input_size"], device="cuda")
            classes = torch.randint(0, 1000, (batch_size,), device="cuda")
            optimizer.zero_grad()
            functional.cross_entropy(model(images), classes).backward()
            optimizer.step()

        return step

    return Loop(model=model, start=start)
