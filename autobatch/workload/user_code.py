"""Calling the user's code, and showing where in it an exception was raised."""

from __future__ import annotations

import importlib
import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from autobatch.errors import WorkloadError, error_chain, message_of

_OWN_FOLDER = str(Path(__file__).resolve().parents[1])
_IMPORT_FOLDER = str(Path(importlib.__file__).resolve().parent)
_STDLIB_FOLDERS = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
# Attribute of an exception: the call of autobatch in which it was raised.
_CALL = "_autobatch_call"
_MAX_SHOWN = 6


class UserCall(NamedTuple):
    """A call of the user's objects.

    Attributes:
        name: What was called, such as ``model``.
        text: The call with its arguments in words.
    """

    name: str
    text: str


@contextmanager
def calling_user_code(what: str, hint: str) -> Iterator[None]:
    """Make of whatever the user's code raises an error that shows where.

    Args:
        what: What failed then, such as ``making the model failed``.
        hint: How the code is called.

    Raises:
        WorkloadError: If it raises.
    """
    try:
        yield
    except Exception as error:
        raise WorkloadError(
            f"{what}: {type(error).__name__}: {message_of(error)}",
            hint=hint,
            user_traceback=format_user_traceback(error),
        ) from error


def format_user_traceback(error: BaseException) -> str:
    """Format an exception with the frames of this package and of the import system left out.

    Returns:
        The traceback; empty if no frame of it is the user's own, since it would show nothing
        but libraries.
    """
    if not any(_shows_user(each) for each in error_chain(error)):
        return ""
    trace = traceback.TracebackException.from_exception(error)
    current: traceback.TracebackException | None = trace
    while current is not None:
        kept = [frame for frame in current.stack if _is_shown(frame.filename)]
        current.stack = traceback.StackSummary.from_list(kept)
        current = current.__cause__ or current.__context__
    return "".join(trace.format()).rstrip()


@contextmanager
def noting_call(name: str, *arguments: Any) -> Iterator[None]:
    """Note on an exception which call of the user's objects raised it.

    Args:
        name: What is called, such as ``model``.
        arguments: What it is called with.
    """
    try:
        yield
    except Exception as error:
        described = ", ".join(map(describe, arguments))
        with suppress(AttributeError):
            setattr(error, _CALL, UserCall(name, f"{name}({described})"))
        raise


def find_call(error: BaseException) -> UserCall | None:
    """Find the call that raised an exception; ``None`` if not known."""
    found = (getattr(each, _CALL, None) for each in error_chain(error))
    return next((call for call in found if call is not None), None)


def describe(value: Any) -> str:
    """A value of the user's in a few words, such as ``a float32 tensor of shape (1, 4)``."""
    if value is None:
        return "None"
    if hasattr(value, "dtype") and hasattr(value, "shape"):  # without importing PyTorch
        dtype = str(value.dtype).removeprefix("torch.")
        return _with_article(f"{dtype} tensor of shape {tuple(value.shape)}")
    text = _with_article(type(value).__name__)
    if isinstance(value, Mapping) and value:
        return f"{text} of {', '.join(map(str, [*value][:_MAX_SHOWN]))}"
    return f"{text} of {len(value)}" if isinstance(value, (tuple, list)) else text


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def _shows_user(error: BaseException) -> bool:
    if isinstance(error, SyntaxError):  # it names file and line itself
        return True
    frames = traceback.walk_tb(error.__traceback__)
    return any(_is_users(frame.f_code.co_filename) for frame, _ in frames)


def _is_shown(filename: str) -> bool:
    if filename.startswith("<frozen "):
        return False
    return not filename.startswith((_OWN_FOLDER + os.sep, _IMPORT_FOLDER + os.sep))


def _is_users(filename: str) -> bool:
    if not _is_shown(filename) or filename.startswith(("<", *_STDLIB_FOLDERS)):
        return False
    return not any(folder in Path(filename).parts for folder in _PACKAGE_FOLDERS)
