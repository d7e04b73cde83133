"""Records as JSON documents, and back: the one way in which all of them are written and read.

    record --> to_document --> dumps --> save     a ``Writer``
    record <-- from_document <---------- load     a ``Codec``, which writes as well

Whatever a file holds, it is such a record or is refused in words that name the place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from autobatch._version import __version__
from autobatch.errors import ResultFormatError
from autobatch.reporting.files import check_writable, write_atomically

StrPath = str | os.PathLike[str]
Document = dict[str, Any]
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Writer(Generic[_T]):
    """How records of one type become documents.

    Attributes:
        version: The version of the document that is written.
        version_key: The key that holds it, the first of the document.
        kind: What the key ``kind`` says that it is; empty for no such key.
        write: From a record to the rest of the document.
        line_by_line: The last key, if its elements get a line each; empty if all is indented.
    """

    version: int
    version_key: str = "schema_version"
    kind: str = ""
    write: Callable[[_T], Document] = msgspec.to_builtins
    line_by_line: str = ""

    def to_document(self, record: _T) -> Document:
        """A record as dicts, lists, strings and finite numbers.

        A number that is not finite is written as ``None``: JSON has no other word for it.
        """
        kind = {"kind": self.kind} if self.kind else {}
        document: Document = _without_nonfinite(
            {
                self.version_key: self.version,
                "autobatch_version": __version__,
                **kind,
                **self.write(record),
            }
        )
        return document

    def dumps(self, record: _T) -> str:
        """A record as indented JSON text that ends in a newline."""
        document = self.to_document(record)
        elements = document.pop(self.line_by_line, None)
        text = json.dumps(document, indent=2, allow_nan=False)
        if elements is not None:
            lines = ",\n".join(f"    {json.dumps(each, allow_nan=False)}" for each in elements)
            head = text.removesuffix("\n}")
            text = f'{head},\n  "{self.line_by_line}": [\n{lines}\n  ]\n}}'
        return text + "\n"

    def save(self, record: _T, path: StrPath, overwrite: bool) -> None:
        """Write a record to a file, whole or not at all.

        Args:
            record: What to write.
            path: Where to.
            overwrite: Whether a file that is there already may be replaced.

        Raises:
            SettingsError: If it cannot be written.
        """
        check_writable(path, overwrite)
        write_atomically(path, self.dumps(record).encode("utf-8"))


@dataclass(frozen=True, kw_only=True)
class Codec(Writer[_T]):
    """How records of one type become documents, and documents become records.

    Attributes:
        type: The type of the records.
        what: What a document holds, with its article: ``a finding``.
        redo: How to make such a file again, as a hint.
        instead: What to give in place of a file that cannot be opened, as a hint.
        arrange: From a document to the shape of the record; raises ``ResultFormatError``.
        flat: Fields of the record whose own keys stand at the top of the document.
        refuses_unknown_keys: Whether a key that this version does not know is an error.
        find_fault: What a record of the right types has wrong: where, and what; or ``None``.
    """

    type: type[_T]
    what: str
    redo: str
    instead: str
    arrange: Callable[[Document], Document] = dict
    flat: tuple[str, ...] = ()
    refuses_unknown_keys: bool = False
    find_fault: Callable[[_T], tuple[str, str] | None] = lambda record: None

    def from_document(self, document: Any) -> _T:
        """The record that a document holds.

        Args:
            document: What ``to_document`` returned, or its like read from a file.

        Raises:
            ResultFormatError: If it holds none; the message says where and why.
        """
        self._check_version(document)
        record = self._convert(self.arrange(document) | dict.fromkeys(self.flat, document))
        if self.refuses_unknown_keys:
            unknown = _find_unknown_key(document, self.to_document(record))
            if unknown:
                raise self._error(unknown, "unknown key")
        fault = self.find_fault(record)
        if fault:
            raise self._error(*fault)
        return record

    def load(self, path: StrPath) -> _T:
        """Read a record that ``save`` wrote.

        Raises:
            ResultFormatError: If the file cannot be read or does not hold such a record.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
            return self.from_document(json.loads(text, parse_constant=self._refuse_constant))
        except (ResultFormatError, RecursionError, OSError, ValueError) as error:
            reason, hint = self._explain(error)
            raise ResultFormatError(f"cannot read {path}: {reason}", hint=hint) from error

    def is_in(self, path: StrPath) -> bool:
        """Whether a file has the key of the version; not whether it can be read."""
        try:
            document = json.loads(Path(path).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(document, dict) and self.version_key in document

    def _check_version(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise ResultFormatError(f"it does not hold {self.what}", hint=self.redo)
        if self.kind and document.get("kind", self.kind) != self.kind:
            raise ResultFormatError(f"it holds something else than {self.what}", hint=self.redo)
        key, known, version = self.version_key, self.version, document.get(self.version_key)
        if type(version) is not int or version < 1:
            raise self._error(key, f"expected {known}, got {version!r:.40}")
        if version == known:
            return
        is_newer = version > known
        raise ResultFormatError(
            f"{key} {version} is {'newer' if is_newer else 'older'} than {known}, which this "
            "version reads",
            hint="upgrade autobatch" if is_newer else self.redo,
        )

    def _convert(self, arranged: Document) -> _T:
        try:
            return msgspec.convert(arranged, self.type, strict=True)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at ")
            raise self._error(place.strip("`").removeprefix("$").lstrip("."), reason) from error

    def _explain(self, error: Exception) -> tuple[str, str]:
        """Why a file could not be read, and what to try."""
        if isinstance(error, ResultFormatError):
            return str(error), error.hint
        if isinstance(error, RecursionError):
            return "nested too deeply", self.redo
        if isinstance(error, OSError):
            return (error.strerror or str(error)).lower(), self.instead
        if isinstance(error, json.JSONDecodeError):
            if not error.doc.strip():
                return "the file is empty", self.redo
            place = f"line {error.lineno}, column {error.colno}"
            return f"not JSON: {error.msg} at {place}", self.redo
        if isinstance(error, UnicodeDecodeError):
            return f"not UTF-8 text at byte {error.start}", self.redo
        return str(error).splitlines()[0], self.redo

    def _error(self, where: str, reason: str) -> ResultFormatError:
        first, _, rest = where.partition(".")
        where, reason = rest if first in self.flat else where, reason.replace("`", "")
        message = f"{where}: {reason[:1].lower()}{reason[1:]}" if where else reason
        return ResultFormatError(message, hint=self.redo)

    def _refuse_constant(self, name: str) -> None:
        raise ResultFormatError(f"not JSON: it holds {name}", hint=self.redo)


def nan_for_null(value: Any) -> Any:
    """The same dicts and lists, with ``nan`` for what was written as ``None``."""
    if isinstance(value, dict):
        return {key: nan_for_null(element) for key, element in value.items()}
    if isinstance(value, list):
        return [nan_for_null(element) for element in value]
    return math.nan if value is None else value


def _without_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nonfinite(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nonfinite(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _find_unknown_key(given: Any, known: Any, where: str = "") -> str:
    """Path of the first key that is not a field of the record, or an empty string."""
    if isinstance(given, dict):
        for key, value in given.items():
            path = f"{where}.{key}" if where else key
            if key not in known:
                return path
            found = _find_unknown_key(value, known[key], path)
            if found:
                return found
    elif isinstance(given, list):
        for index, (value, like) in enumerate(zip(given, known, strict=True)):
            found = _find_unknown_key(value, like, f"{where}[{index}]")
            if found:
                return found
    return ""
