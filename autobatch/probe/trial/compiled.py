"""Models under ``torch.compile``.

A search of many sizes would compile for each. It runs eagerly, and the chosen size is confirmed
compiled, once.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def is_compiled(model: nn.Module) -> bool:
    """Whether a module, or a part of it, has been through ``torch.compile``."""
    return any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def run_eagerly() -> AbstractContextManager[Any]:
    """Have everything that was compiled, functions included, run as it was written."""
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
