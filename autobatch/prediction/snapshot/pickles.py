"""A pickle of plain values, from a stranger: nothing in it is looked up, imported or called."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from autobatch.errors import ResultFormatError

HINT = "give a file that torch.cuda.memory._dump_snapshot() wrote"


class _RefusedError(Exception):
    """A pickle that holds more than plain values."""


class _PlainUnpickler(pickle._Unpickler):
    """Builds numbers, texts, lists and dicts, and refuses whatever else there is.

    The unpickler in Python: that in C sets memory aside for whatever index a pickle names.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Refuse."""
        raise _RefusedError(f"it asks for {module}.{name}, and a snapshot has no classes")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse."""
        raise _RefusedError("it refers to objects outside it")


def load_plain(path: str) -> Any:
    """The value in a pickle of numbers, texts, lists and dicts.

    Raises:
        ResultFormatError: If it cannot be read, or holds anything else.
    """
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ResultFormatError(f"cannot read {path}: {reason}", hint=HINT) from error
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except _RefusedError as error:
        raise ResultFormatError(f"cannot read {path}: {error}", hint=HINT) from error
    except Exception as error:  # a pickle is a program, and this one is broken in its own way
        raise ResultFormatError(f"cannot read {path}: it is not a pickle", hint=HINT) from error
