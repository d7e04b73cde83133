"""Hand-made measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from autobatch.check.records import CheckRound, Measurement
from autobatch.testing import make_environment


@pytest.fixture
def make_measurement() -> Callable[..., Measurement]:
    """A measurement with one step of the target, and of the reference, in each round."""

    def make(
        times_s: Sequence[float] = (0.01,) * 8,
        references_s: Sequence[float] | None = None,
        *,
        peaks_bytes: Sequence[int] = (2**30,),
        environment: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Measurement:
        has_reference = references_s is not None
        rounds = tuple(
            CheckRound(
                step_times_s=(time_s,),
                reference_times_s=(references_s[index],) if references_s is not None else (),
                peak_bytes=peaks_bytes[index % len(peaks_bytes)] if peaks_bytes else None,
            )
            for index, time_s in enumerate(times_s)
        )
        plain = Measurement(
            target="model.py",
            batch_size=64,
            precision="fp32",
            device="cpu",
            reference="base/model.py" if has_reference else "none",
            reference_batch_size=64 if has_reference else None,
            num_threads=2,
            environment=make_environment(**(environment or {})),
            rounds=rounds,
        )
        return replace(plain, **fields)

    return make
