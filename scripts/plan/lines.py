"""Is a trace at 16 what traces at 2 and 3 say of it, storage by storage?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autobatch.errors import AutobatchError
from autobatch.prediction.tracing.tracer import Tracer
from autobatch.records import Precision, Settings
from scripts.plan.verdict import Row

MODELS = (
    "hf:bert,sequence_length=128",
    "hf:gpt2,sequence_length=128",
    "hf:t5,sequence_length=64",
    "hf:vit",
    "torchvision:resnet50",
    "torchvision:convnext_tiny",
    "torchvision:efficientnet_b0",
    "timm:vit_small_patch16_224",
    "timm:mixer_s16_224",
    "timm:regnety_002",
)
_BATCH_SIZE = 16
_CAPABILITY = (8, 9)


def check_line(folder: Path) -> Iterator[Row]:
    """Trace each model at 2, 3 and 16."""
    wrong = {}
    for model in MODELS:
        try:
            with Tracer(model, Settings(precision=Precision.BF16)) as tracer:
                line = tracer.line(_CAPABILITY)
                wrong[model] = tracer.reason_for_each
                if line is not None:
                    real = tracer.trace(_BATCH_SIZE, _CAPABILITY)
                    wrong[model] = line.explain_difference(real)
        except AutobatchError as error:
            wrong[model] = str(error)
    bad = [f"{model}: {reason}" for model, reason in wrong.items() if reason]
    yield Row(
        name="batch line from 2 and 3",
        must="every storage exact at 16",
        found=f"{len(wrong) - len(bad)} of {len(wrong)} models",
        is_met=not bad,
        details=tuple(bad),
    )
