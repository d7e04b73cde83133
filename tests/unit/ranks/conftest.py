"""Ranks that are threads of one process, and talk through a store in its memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fixtures.findings import *  # noqa: F403
from torch.distributed import HashStore, Store


@pytest.fixture
def store() -> Store:
    """Empty."""
    return HashStore()


@pytest.fixture
def on_ranks() -> Callable[..., list[Any]]:
    """Run a function on several ranks at once; what each returned, or raised."""

    def run(function: Callable[[int], Any], num_ranks: int = 2) -> list[Any]:
        results: list[Any] = [None] * num_ranks

        def be(rank: int) -> None:
            try:
                results[rank] = function(rank)
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=be, args=(rank,)) for rank in range(num_ranks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
            assert not thread.is_alive(), "a rank waits for ever"
        return results

    return run
