"""Reading a JSON file into a record, and saying in words why that cannot be done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from autobatch.errors import ResultFormatError

_T = TypeVar("_T")


def read_document(
    path: str | os.PathLike[str], convert: Callable[[Any], _T], *, redo: str, instead: str
) -> _T:
    """Read a file and convert what it holds.

    Args:
        path: The file.
        convert: From dicts and lists to a record; raises ``ResultFormatError``.
        redo: How to make such a file again, as a hint.
        instead: What to give in place of a file that cannot be opened, as a hint.

    Raises:
        ResultFormatError: If the file cannot be read or does not hold such a record.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        return convert(json.loads(text, parse_constant=_refuse_constant(redo)))
    except ResultFormatError as error:
        raise ResultFormatError(f"cannot read {path}: {error}", hint=error.hint) from error
    except RecursionError as error:
        raise _load_error(path, "nested too deeply", redo) from error
    except OSError as error:
        raise _load_error(path, (error.strerror or str(error)).lower(), instead) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        reason = f"not JSON: {error.msg} at {place}" if text.strip() else "the file is empty"
        raise _load_error(path, reason, redo) from error
    except UnicodeDecodeError as error:
        raise _load_error(path, f"not UTF-8 text at byte {error.start}", redo) from error
    except ValueError as error:
        raise _load_error(path, str(error).splitlines()[0], redo) from error


def convert_value(value: Any, where: str, kind: type[_T], *, redo: str) -> _T:
    """Convert dicts, lists and plain values to a record, strictly.

    Raises:
        ResultFormatError: If the value is of another shape; names the place.
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        path = f"{where}{place.strip('`').removeprefix('$')}".lstrip(".")
        raise format_error(path, reason.replace("`", ""), redo=redo) from error


def check_version(document: Any, known_version: int, what: str, *, redo: str) -> None:
    """Refuse what is no document of this kind, or one of another version.

    Args:
        document: What was read.
        known_version: The one that this version of autobatch reads.
        what: What it should hold, with its article: ``a finding``.
        redo: How to make such a file again, as a hint.
    """
    if not isinstance(document, dict):
        raise ResultFormatError(f"it does not hold {what}", hint=redo)
    version = document.get("schema_version")
    if type(version) is not int or version < 1:
        reason = f"expected {known_version}, got {version!r:.40}"
        raise format_error("schema_version", reason, redo=redo)
    if version != known_version:
        is_newer = version > known_version
        raise ResultFormatError(
            f"schema_version {version} is {'newer' if is_newer else 'older'} than {known_version}, "
            "which this version reads",
            hint="upgrade autobatch" if is_newer else redo,
        )


def format_error(where: str, reason: str, *, redo: str) -> ResultFormatError:
    """An error that says where something is wrong, and what."""
    message = f"{where}: {reason[:1].lower()}{reason[1:]}" if where else reason
    return ResultFormatError(message, hint=redo)


def _load_error(path: str | os.PathLike[str], reason: str, hint: str) -> ResultFormatError:
    return ResultFormatError(f"cannot read {path}: {reason}", hint=hint)


def _refuse_constant(redo: str) -> Callable[[str], None]:
    def refuse(name: str) -> None:
        raise ResultFormatError(f"not JSON: it holds {name}", hint=redo)

    return refuse
