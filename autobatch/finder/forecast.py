"""What a search can be told of memory before it has run many sizes."""

from __future__ import annotations

from typing import Protocol

from autobatch.probe.protocol import Loaded
from autobatch.records import Trial


class Forecast(Protocol):
    """Predicts memory. It says where to look first, and refutes nothing."""

    def propose(self, loaded: Loaded, first: Trial, *, timeout_s: float) -> int | None:
        """Predict the largest size that fits.

        Args:
            loaded: The workload and the device.
            first: The first trial, which fitted.
            timeout_s: Give up after this many seconds.

        Returns:
            The size, 0 if none is predicted to fit; ``None`` if nothing can be predicted.
        """

    def peak_bytes(self, batch_size: int) -> int:
        """The predicted peak of a size, as a trial measures it, once there was a proposal."""
