"""The timing as a job. Importing this module does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autobatch.probe.protocol import Crash, JobContext
from autobatch.records.loading import LoaderSettings, LoaderTiming


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderJob:
    """Time training steps with one way of loading.

    Attributes:
        batch_size: Samples of a pass.
        num_passes: Passes before the optimizer steps.
        settings: The way; the user's own if ``None``.
    """

    doing: ClassVar[str] = "while loader settings were timed"

    batch_size: int
    num_passes: int = 1
    settings: LoaderSettings | None = None

    def run(self, context: JobContext) -> LoaderTiming:
        """Time them."""
        from autobatch.loading.measure import time_loader

        return time_loader(context, self.batch_size, self.num_passes, self.settings)

    def from_crash(self, crash: Crash) -> LoaderTiming:
        """Refuse settings that the process was ended with."""
        return LoaderTiming(
            settings=self.settings or LoaderSettings(num_workers=0),
            host_peak_bytes=crash.peak_bytes,
            message=crash.message,
        )
