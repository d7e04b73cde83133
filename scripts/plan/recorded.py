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
from scripts.plan.loops import Loop, Replayed, replay_last_step, trace_loop
from scripts.plan.transformer import VARIANTS, Transformer, Variant
from scripts.plan.verdict import Row, row_of_errors

HOPPER = PlainFacts(compute_capability=(9, 0), num_sms=132)
AMPERE = PlainFacts(compute_capability=(8, 0), num_sms=108)


def check_recorded(folder: Path) -> Iterator[Row]:
    """Rebuild each recorded step and compare."""
    live, reserved, rebuilder = {}, {}, _Rebuilder()
    for name, document in _documents(folder):
        found = rebuilder.replay(name, document)
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
        if words and _is_rebuilt(words):
            yield file.name.removesuffix(".json.gz"), document


def _is_rebuilt(words: dict[str, Any]) -> bool:
    """Whether one step of a running training was recorded, of parts that are written here."""
    is_one_step = words.get("recorded", "").startswith("one step after")
    if not is_one_step or not words["arch"].startswith("decoder-only"):
        return False
    if "inferred" in words["precision"]:  # nobody wrote it down
        return False
    return not _has_backward(words) or words["optimizer"].startswith("torch.optim.AdamW")


def _has_backward(words: dict[str, Any]) -> bool:
    return "backward" in words["mode"].replace("no backward", "")


class _Rebuilder:
    """Finds the variant of each author's model: the one that allocates most nearly as often.

    Kernels that sort allocate a little that no trace sees, so the numbers need not be the same.
    """

    def __init__(self) -> None:
        self._variants: dict[str, Variant] = {}

    def replay(self, name: str, document: dict[str, Any]) -> Replayed:
        """Replay a recorded step."""
        author, number = name.partition("__")[0], document["measured"]["num_allocs"]
        if author in self._variants:
            return _replay(document, self._variants[author])
        found = {variant: _replay(document, variant) for variant in VARIANTS}
        nearest = min(found, key=lambda variant: abs(found[variant].num_allocations - number))
        self._variants[author] = nearest
        return found[nearest]


def _replay(document: dict[str, Any], variant: Variant) -> Replayed:
    words = document["workload"]
    card = HOPPER if document["hardware"].startswith("NVIDIA Hopper") else AMPERE
    trace = trace_loop(
        partial(make_loop, words, variant),
        words["batch"],
        card,
        torch_version=_version_of(document["torch"]),
    )
    gives_back = "and empty_cache()" in words["recorded"]
    return replay_last_step(trace, card, empties_cache_before_it=gives_back)


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
        self._optimizer = torch.optim.AdamW(model.parameters())
        self._logits: torch.Tensor | None = None
        self._loss: torch.Tensor | None = None

    def __call__(self) -> None:
        precision = self._words["precision"]
        is_half, casts_logits = precision.startswith("bf16"), "forward only" in precision
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
        if _has_backward(self._words):
            assert self._loss is not None
            self._loss.backward()
            self._optimizer.step()
        if "of the previous step are still referenced" not in self._words["recorded"]:
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


def _version_of(text: str) -> tuple[int, int]:
    major, minor = text.split("+")[0].split()[0].split(".")[:2]
    return int(major), int(minor)
