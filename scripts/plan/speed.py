"""How long it takes to know the memory of a model, imports included."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.plan.verdict import Row

_MODELS = ("torchvision:resnet50", "timm:vit_base_patch16_224", "hf:bert")
_MOST_S = 10.0
_CODE = """
import sys
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import PlainFacts
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.records import Settings

card = PlainFacts(compute_capability=(8, 0), num_sms=108)
with Tracer(sys.argv[1], Settings()) as tracer:
    print(predict(tracer.at(16, (8, 0)), card).peak_reserved_bytes)
"""


def check_speed(folder: Path) -> Iterator[Row]:
    """Time one prediction of each model, from the start of Python to its end."""
    times = {}
    for model in _MODELS:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", _CODE, model], check=True, capture_output=True)
        times[model] = time.perf_counter() - begin
    yield Row(
        name="time to a prediction",
        must=f"at most {_MOST_S:g} s each, imports included",
        found=", ".join(f"{model} {seconds:.1f} s" for model, seconds in times.items()),
        is_met=max(times.values()) <= _MOST_S,
    )
