"""How long it takes to know the memory of a model, imports included."""

from __future__ import annotations

import resource
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
    """Time one prediction of each model, from the start of Python to its end.

    Where other work is done, the time of its CPUs tells how long it would take without.
    """
    times, cpu_times = {}, {}
    for model in _MODELS:
        begin, cpu_begin = time.perf_counter(), _cpu_time_s()
        subprocess.run([sys.executable, "-c", _CODE, model], check=True, capture_output=True)
        times[model] = time.perf_counter() - begin
        cpu_times[model] = _cpu_time_s() - cpu_begin
    yield Row(
        name="time to a prediction",
        must=f"at most {_MOST_S:g} s each, imports included",
        found=", ".join(
            f"{model} {seconds:.1f} s ({cpu_times[model]:.1f} s of CPU)"
            for model, seconds in times.items()
        ),
        is_met=max(times.values()) <= _MOST_S,
    )


def _cpu_time_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
