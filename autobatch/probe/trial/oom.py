"""Telling out-of-memory errors from all others."""

from __future__ import annotations

import re

import torch

from autobatch.errors import error_chain, message_of
from autobatch.probe.trial.oom_texts import OUT_OF_MEMORY

_PATTERN = re.compile(OUT_OF_MEMORY, re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that memory ran out."""
    return any(_says_out_of_memory(each) for each in error_chain(error))


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and bool(_PATTERN.search(message_of(error)))
