"""Memory of whole processes that milabench measured: transformers and convolutional networks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from autobatch.prediction.lines import TraceLine
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import PlainFacts, Trace
from scripts.plan.loops import Loop, line_of, trace_loop
from scripts.plan.verdict import Row, row_of_errors

CARDS = {
    "H100 SXM 80GB": PlainFacts(compute_capability=(9, 0), num_sms=132),
    "H200": PlainFacts(compute_capability=(9, 0), num_sms=132),
    "L40S": PlainFacts(compute_capability=(8, 9), num_sms=142),
}
TORCH = (2, 6)
_MIB = 2**20


class Measured(NamedTuple):
    """One row of the table."""

    benchmark: str
    gpu: str
    batch_size: int
    process_bytes: int


def check_milabench(folder: Path) -> Iterator[Row]:
    """Predict each row. Memory outside the allocator is that of one row of BERT on each card."""
    rows = [each for each in _read(folder) if loop_of(each.benchmark) is not None]
    reserved = _predict_all(rows)
    outside = {
        gpu: next(
            row.process_bytes - reserved[row]
            for row in sorted(rows, key=lambda row: (row.benchmark, row.batch_size))
            if row.gpu == gpu and row.benchmark.startswith("bert")
        )
        for gpu in {row.gpu for row in rows}
    }
    errors = {row: (reserved[row] + outside[row.gpu]) / row.process_bytes - 1 for row in rows}
    yield row_of_errors(
        "process memory, BERT",
        "median <= 0.2 %, worst <= 0.5 %",
        _select(errors, ("bert",)),
        median=2e-3,
        worst=5e-3,
    )
    yield row_of_errors(
        "process memory, ConvNeXt, RegNet, ResNet-152",
        "median <= 2.5 %, p90 <= 7 %, never more than 3 % over",
        _select(errors, ("convnext", "regnet", "lightning")),
        median=0.025,
        p90=0.07,
        over=0.03,
    )


def _select(errors: dict[Measured, float], begins: tuple[str, ...]) -> dict[str, float]:
    return {
        f"{row.benchmark} {row.gpu} {row.batch_size}": error
        for row, error in errors.items()
        if row.benchmark.startswith(begins)
    }


def _read(folder: Path) -> Iterator[Measured]:
    found = {}
    with (folder / "milabench_scaling.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["gpu"] in CARDS and row["gpus_used"] == "1" and row["process_memory_mib"]:
                key = (row["benchmark"], row["gpu"], int(row["batch_size"]))
                found.setdefault(key, float(row["process_memory_mib"]))
    for (benchmark, gpu, batch_size), mib in sorted(found.items()):
        yield Measured(benchmark, gpu, batch_size, int(mib * _MIB))


def _predict_all(rows: list[Measured]) -> dict[Measured, int]:
    import torchvision  # noqa: F401 - once, before the processes that trace are forked
    import transformers  # noqa: F401

    traces: dict[tuple[str, bool], TraceLine] = {}
    singles: dict[tuple[str, bool], Trace] = {}
    reserved = {}
    for row in rows:
        make, card = loop_of(row.benchmark), CARDS[row.gpu]
        assert make is not None, "others are left out"
        key = (row.benchmark, card.compute_capability == (9, 0))
        if row.batch_size == 1:
            if key not in singles:
                singles[key] = trace_loop(partial(make, 1), 1, card, torch_version=TORCH)
            trace = singles[key]
        else:
            if key not in traces:
                traces[key] = line_of(make, card, torch_version=TORCH)
            trace = traces[key].at(row.batch_size)
        reserved[row] = predict(trace, card).peak_reserved_bytes
    return reserved


def loop_of(benchmark: str) -> Callable[[int], Loop] | None:
    """The loop of a benchmark; ``None`` for one that is not rebuilt."""
    name, _, precision = benchmark.partition("-")
    is_half = precision.endswith("fp16") or (not precision and name != "lightning")
    if name == "bert":
        return partial(make_bert, is_half=is_half)
    if name in ("convnext_large", "regnet_y_128gf"):
        return partial(make_classifier, name=name, is_half=is_half)
    return make_lightning if benchmark == "lightning" else None


def make_bert(batch_size: int, *, is_half: bool) -> Loop:
    """BertForMaskedLM: Adam, gradients never zeroed, the output kept until the step's end."""
    import transformers

    model = transformers.BertForMaskedLM(transformers.BertConfig())

    def start() -> Callable[[], None]:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        scaler = torch.amp.GradScaler("cuda", enabled=is_half)

        def step() -> None:
            shape = (batch_size, 512)
            tokens = torch.randint(0, 30_522, shape, device="cuda")
            labels = torch.randint(0, 30_522, shape, device="cuda")
            with torch.autocast("cuda", torch.float16, enabled=is_half):
                output = model(input_ids=tokens, labels=labels)
                loss = output.loss
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

        return step

    return Loop(model=model, start=start)


def make_classifier(batch_size: int, *, name: str, is_half: bool) -> Loop:
    """A network of torchvision: SGD without momentum, everything inside autocast."""
    import torchvision

    model = getattr(torchvision.models, name)()

    def start() -> Callable[[], None]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cuda", enabled=is_half)
        kept: dict[str, torch.Tensor] = {}

        def step() -> None:
            dtype = torch.float16 if is_half else torch.float32
            kept["images"] = torch.randn(batch_size, 3, 224, 224, device="cuda", dtype=dtype)
            kept["classes"] = torch.randint(0, 1000, (batch_size,), device="cuda")
            with torch.autocast("cuda", torch.float16, enabled=is_half):
                optimizer.zero_grad()
                kept["output"] = model(kept["images"])
                kept["loss"] = functional.cross_entropy(kept["output"], kept["classes"])
                scaler.scale(kept["loss"]).backward()
                scaler.step(optimizer)
            scaler.update()

        return step

    return Loop(model=model, start=start)


def make_lightning(batch_size: int) -> Loop:
    """ResNet-152 under Lightning: bf16 autocast, Adam."""
    import torchvision

    model = torchvision.models.resnet152()

    def start() -> Callable[[], None]:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        kept: dict[str, torch.Tensor] = {}

        def step() -> None:
            kept["images"] = torch.randn(batch_size, 3, 224, 224, device="cuda")
            kept["classes"] = torch.randint(0, 1000, (batch_size,), device="cuda")
            with torch.autocast("cuda", torch.bfloat16):
                loss = functional.cross_entropy(model(kept["images"]), kept["classes"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    return Loop(model=model, start=start)
