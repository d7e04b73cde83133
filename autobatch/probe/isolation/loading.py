"""Loading what a worker will fork for its trials."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

# Objects made between two collections, in the place of some hundreds. No more: garbage of 50,000
# left megabytes of holes in malloc's heap, in which small batches took fewer page faults than in
# a training.
_RARELY = 5_000


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Collect garbage rarely: of what is loaded, most stays."""
    usual = gc.get_threshold()
    gc.set_threshold(_RARELY, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def load_before_forks(load: Callable[[], T]) -> tuple[T, int]:
    """Run ``load`` without OpenMP threads, which a forked child could not use.

    What it loads is left out of all later garbage collections: each fork would look through it,
    which takes half a second where PyTorch is part of it, and copy every page.

    Returns:
        What it loaded, and the number of threads that a trial is to use: the user's own choice
        if ``load`` made one, else PyTorch's.
    """
    chosen = torch.get_num_threads()
    set_num_threads = torch.set_num_threads

    def remember(num_threads: int) -> None:
        nonlocal chosen
        chosen = num_threads

    set_num_threads(1)
    torch.set_num_threads = remember  # type: ignore[assignment]
    try:
        with _rare_collections():
            loaded = load()
    finally:
        torch.set_num_threads = set_num_threads
    gc.collect()
    gc.freeze()
    return loaded, chosen
