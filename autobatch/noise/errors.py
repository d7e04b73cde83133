"""Why a noise scale was not measured, in words; the parent says so too, and loads no PyTorch."""

from __future__ import annotations

from autobatch.errors import WorkerError
from autobatch.units import format_seconds


def noise_not_measured(message: str) -> WorkerError:
    """The error about a noise scale whose process was ended, or ended by itself."""
    return WorkerError(
        f"measuring the gradient noise scale: {message}",
        hint="raise `memory_limit` or `trial_timeout`, or use `goal=throughput`",
    )


def noise_timed_out(timeout_s: float | None) -> WorkerError:
    """The error about a noise scale that was not measured in time."""
    return noise_not_measured(f"no end after {format_seconds(timeout_s or 0.0)}")
