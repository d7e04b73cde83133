"""The largest batch size that fits into a card's memory, by replaying a trace at its limit.

At its limit the allocator gives its cache back and goes on, so that what fits is not told by a peak
that was reached without one.
"""

from __future__ import annotations

from collections.abc import Callable

from autobatch.cards import Card, Outside
from autobatch.planning.records import PredictedPeak, SizeRange
from autobatch.prediction.allocator import AllocatorSettings, CachingAllocator, Driver
from autobatch.prediction.largest import find_largest
from autobatch.prediction.predict import Prediction, predict
from autobatch.prediction.trace import Trace


class CardFit:
    """One card, and a workload at any batch size.

    Args:
        card: The card.
        trace_at: The trace at a batch size, for the card's compute capability.
        settings: Of the allocator.
        outside: What is held besides it.
        band_fraction: Memory that the trace does not see, at the most, over what it sees.
    """

    def __init__(
        self,
        card: Card,
        trace_at: Callable[[int], Trace],
        *,
        settings: AllocatorSettings,
        outside: Outside,
        band_fraction: float,
    ) -> None:
        self._card = card
        self._trace_at = trace_at
        self._settings = settings
        self._outside = outside
        self._worst_bytes, self._likely_bytes, self._best_bytes = outside.find_room(
            card.memory_bytes, band_fraction
        )
        self._known: dict[tuple[int, int | None], Prediction] = {}

    def largest(self) -> SizeRange:
        """The largest batch size that fits."""
        small, large = (self._predict(size, None).peak_allocated_bytes for size in (2, 4))
        slope = max(1, (large - small) // 2)

        def guess(limit_bytes: int) -> int:
            return 2 + (limit_bytes - small) // slope

        likely = self._search(self._likely_bytes, guess(self._likely_bytes))
        ahead = (self._best_bytes - self._likely_bytes) // slope
        behind = (self._likely_bytes - self._worst_bytes) // slope
        low = self._search(self._worst_bytes, likely - behind)
        high = self._search(self._best_bytes, likely + ahead)
        return SizeRange(likely=likely, low=min(low, likely), high=max(high, likely))

    def at(self, batch_size: int) -> PredictedPeak:
        """The peak at a batch size.

        Args:
            batch_size: Samples of a pass.
        """
        found = self._predict(batch_size, self._likely_bytes)
        fits = found.fits
        is_certain = self._fits(batch_size, self._worst_bytes if fits else self._best_bytes) == fits
        if not fits:
            found = self._predict(batch_size, None)
        modules: dict[str, int] = {}
        for part in found.live:
            name = ".".join(part.module.split(".")[:2])
            modules[name] = modules.get(name, 0) + part.num_bytes
        largest_first = sorted(modules.items(), key=lambda item: -item[1])
        return PredictedPeak(
            batch_size=batch_size,
            fits=fits,
            is_certain=is_certain,
            peak_bytes=found.peak_reserved_bytes + self._outside.likely_bytes,
            allocated_bytes=found.peak_allocated_bytes,
            parts_bytes={part.value: num for part, num in found.bytes_by_category().items()},
            modules_bytes=dict(largest_first),
            num_alloc_retries=found.num_alloc_retries,
        )

    def _search(self, limit_bytes: int, guess: int) -> int:
        return find_largest(lambda size: self._fits(size, limit_bytes), guess)

    def _fits(self, batch_size: int, limit_bytes: int) -> bool:
        return limit_bytes > 0 and self._predict(batch_size, limit_bytes).fits

    def _predict(self, batch_size: int, limit_bytes: int | None) -> Prediction:
        key = (batch_size, limit_bytes)
        if key not in self._known:
            allocator = CachingAllocator(Driver(limit_bytes), settings=self._settings)
            self._known[key] = predict(self._trace_at(batch_size), self._card, allocator)
        return self._known[key]
