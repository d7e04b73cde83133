"""Live and reserved memory of recorded training steps, from their words alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from autobatch.prediction.trace import PlainFacts
from scripts.plan.loops import Loop, replay_last_step, trace_loop
from scripts.plan.transformer import VARIANTS, Transformer, Variant
from scripts.plan.verdict import Row, row_of_errors

HOPPER = PlainFacts(compute_capability=(9, 0), num_sms=132)
AMPERE = PlainFacts(compute_capability=(8, 0), num_sms=108)
_NUM_STEPS = 3


def check_recorded(folder: Path) -> Iterator[Row]:
    """Rebuild each recorded step and compare."""
    live, reserved = {}, {}
    for name, document in _documents(folder):
        found = _replay(document)
        if found is None:
            continue
        measured = document["measured"]
        live[name] = found.requested_bytes / measured["peak_requested"] - 1
        reserved[name] = found.reserved_bytes / measured["peak_reserved"] - 1
    yield row_of_errors(
        "live peak, traces rebuilt from their words",
        "median <= 0.01 %, worst <= 1 %, at least 6",
        live,
        median=1e-4,
        worst=1e-2,
        at_least=6,
    )
    yield row_of_errors(
        "reserved, the same",
        "median <= 0.15 %, worst <= 1 %, at least 6",
        reserved,
        median=1.5e-3,
        worst=1e-2,
        at_least=6,
    )


def _documents(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((folder / "traces").glob("*.json.gz")):
        document = json.loads(gzip.decompress(file.read_bytes()))
        words = document["workload"]
        # One step of a running training, by the modules of this file's transformer.
        is_ours = words and not words["arch"].startswith("as the others but")
        if is_ours and words.get("recorded", "").startswith("one step after"):
            yield file.name.removesuffix(".json.gz"), document


def _replay(document: dict[str, Any]) -> Any:
    """The variant with as many allocations as were recorded; ``None`` if there is none."""
    words = document["workload"]
    card = (
        HOPPER
        if "Hopper" in document["hardware"].partition(",")[0].replace("non-Hopper", "")
        and "pre-Hopper" not in document["hardware"]
        else AMPERE
    )
    for variant in VARIANTS:
        trace = trace_loop(
            partial(make_loop, words, variant),
            words["batch"],
            card,
            torch_version=_version_of(document["torch"]),
            num_steps=_NUM_STEPS,
        )
        found = replay_last_step(
            trace, card, empties_cache_before_it="and empty_cache()" in words["recorded"]
        )
        if found.num_allocations == document["measured"]["num_allocs"]:
            return found
    return None


def make_loop(words: dict[str, Any], variant: Variant) -> Loop:
    """The loop that the words describe."""
    model = Transformer(words, variant)

    def start() -> Callable[[], None]:
        shape = (words["batch"], words["context"])
        tokens = torch.randint(0, words["vocab"], shape, device="cuda")
        targets = torch.randint(0, words["vocab"], shape, device="cuda")
        return _Step(words, model, tokens, targets)

    return Loop(model=model, start=start)


class _Step:
    """One step of a recorded loop."""

    def __init__(
        self,
        words: dict[str, Any],
        model: torch.nn.Module,
        tokens: torch.Tensor,
        targets: torch.Tensor,
    ) -> None:
        self._words, self._model, self._tokens, self._targets = words, model, tokens, targets
        self._mode = words["mode"]
        self._optimizer = _make_optimizer(words, model)
        self._logits: torch.Tensor | None = None
        self._loss: torch.Tensor | None = None

    def __call__(self) -> None:
        is_half, casts_logits = _precision_of(self._words)
        needs_graph = "no_grad" not in self._mode
        if "zero_grad(set_to_none=True) inside" in self._words["recorded"]:
            self._optimizer.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(needs_graph):
            with torch.autocast("cuda", torch.bfloat16, enabled=is_half):
                self._logits = self._model(self._tokens)
                if not casts_logits:
                    self._find_loss()
            if casts_logits:
                self._find_loss()
        if "backward" in self._mode.replace("no backward", ""):
            assert self._loss is not None
            self._loss.backward()
            self._optimizer.step()
        if self._words.get("logits_kept_until_step_end"):
            self._logits = self._loss = None

    def _find_loss(self) -> None:
        if "loss" not in self._mode:
            return
        assert self._logits is not None
        logits = self._logits
        if ".float()" in self._words["loss"]:
            logits = logits.float()
        self._loss = functional.cross_entropy(
            logits.view(-1, self._words["vocab"]), self._targets.view(-1)
        )


def _precision_of(words: dict[str, Any]) -> tuple[bool, bool]:
    """Whether autocast is on, and whether the loss is outside of it."""
    precision = words["precision"]
    return precision.startswith("bf16"), "forward only" in precision


def _make_optimizer(words: dict[str, Any], model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters())


def _version_of(text: str) -> tuple[int, int]:
    major, minor = text.split("+")[0].split()[0].split(".")[:2]
    return int(major), int(minor)
