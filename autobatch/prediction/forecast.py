"""What a GPU that is here will need, before many sizes have run on it: traced, and replayed."""

from __future__ import annotations

from autobatch.cards import find_card
from autobatch.errors import AutobatchError, SettingsError
from autobatch.prediction.allocator import CachingAllocator, Driver
from autobatch.prediction.largest import find_largest
from autobatch.prediction.lines import TraceLine
from autobatch.prediction.predict import Prediction, predict
from autobatch.prediction.trace import CardFacts
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.probe.protocol import Loaded
from autobatch.records import Settings, Trial

# Loading for a trace, or one trace, may take so long: a search without a prediction ends, too.
_MOST_S = 20.0


class TracedForecast:
    """Predicts memory on a known NVIDIA GPU, from one trace; anywhere else it predicts nothing.

    What a process holds besides the allocator is not predicted: the first trial tells it.

    Args:
        target: As the user named it.
        settings: Of the search.
        card: The GPU; by default what its name says.
    """

    def __init__(self, target: str, settings: Settings, card: CardFacts | None = None) -> None:
        self._target = target
        self._settings = settings
        self._card = card
        self._line: TraceLine | None = None
        self._outside_bytes = 0

    def propose(self, loaded: Loaded, first: Trial, *, timeout_s: float) -> int | None:
        """Predict the largest size that fits, as ``finder.forecast`` says."""
        self._card = self._card or _find_card(loaded)
        if self._card is None or first.peak_bytes is None or first.peak_reserved_bytes is None:
            return None
        self._outside_bytes = first.peak_bytes - first.peak_reserved_bytes
        if self._line is None:
            self._line = self._trace(self._card, timeout_s)
        if self._line is None:
            return None
        small, large = (self._predict(size).peak_allocated_bytes for size in (2, 4))
        limit_bytes = loaded.budget.budget_bytes - self._outside_bytes
        guess = 2 + 2 * (limit_bytes - small) // max(1, large - small)
        return find_largest(lambda size: self._predict(size, limit_bytes).fits, guess)

    def peak_bytes(self, batch_size: int) -> int:
        """The predicted peak of a size, as a trial measures it."""
        return self._predict(batch_size).peak_reserved_bytes + self._outside_bytes

    def _trace(self, card: CardFacts, timeout_s: float) -> TraceLine | None:
        # A trial does not hold on to what the model returned.
        tracer = Tracer(
            self._target, self._settings, keeps_output=False, timeout_s=min(timeout_s, _MOST_S)
        )
        try:
            with tracer:
                return tracer.line(card.compute_capability)
        except AutobatchError:  # the search finds out by itself
            return None

    def _predict(self, batch_size: int, limit_bytes: int | None = None) -> Prediction:
        assert self._line is not None and self._card is not None, "there was a proposal"
        allocator = CachingAllocator(Driver(limit_bytes))
        return predict(self._line.at(batch_size), self._card, allocator)


def _find_card(loaded: Loaded) -> CardFacts | None:
    if not loaded.device.startswith("cuda"):
        return None
    try:
        return find_card(loaded.environment.device_name)
    except SettingsError:
        return None
