"""What a script has switched on is as before after a call, under whichever name it used."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import warnings
import torch
from torch import nn
from autobatch import find_batch_size

warnings.simplefilter("ignore")
KINDS = [("generic", "all")]
KINDS += [(kind, of) for kind in ("cuda", "mkldnn") for of in ("all", "matmul", "conv", "rnn")]

def ask(question):
    try:
        return question()
    except RuntimeError as error:  # PyTorch refuses to tell it under the older name
        return type(error)

def read():
    told = [torch._C._get_fp32_precision_getter(*kind) for kind in KINDS]
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return told, ask(lambda: matmul.allow_tf32), ask(lambda: cudnn.allow_tf32)

{setting}
before = read()
def step(model, batch):
    from autobatch.probe.trial.step import _switch_tf32_on
    _switch_tf32_on()
    return model(batch[0]).mean()
finding = find_batch_size(
    nn.Linear(8, 3), [(torch.randn(8), 1)] * 8, training_step=step, isolation="shared",
    goal="memory", max_batch_size=2,
)
assert finding.batch_size == 2
assert read() == before, (read(), before)
"""


@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.cudnn.allow_tf32 = False",
    ],
)
def test_the_precision_of_fp32_is_as_it_was(setting: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(setting=setting)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
