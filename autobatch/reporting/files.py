"""Writing a result file whole or not at all, and finding out early that it cannot be."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from autobatch.errors import SettingsError

StrPath = str | os.PathLike[str]


def check_writable(path: StrPath, overwrite: bool) -> None:
    """Find out whether a result can be written, before a long search rather than after it.

    Leaves nothing behind.

    Args:
        path: The file to be written.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        SettingsError: If the file could not be written.
    """
    target = Path(os.path.realpath(path)) if "\0" not in str(path) else None
    if target is None:
        raise SettingsError(f"{str(path)!r} is not a file name", hint="give another name")
    with _settings_error(path):
        _refuse_what_is_there(path, target, overwrite)
        if not target.parent.is_dir():
            raise SettingsError(
                f"cannot write {path}: there is no folder {target.parent}",
                hint="make the folder first, or give another one",
            )
        # Permission bits say nothing of read-only mounts, and nothing at all to root.
        with tempfile.TemporaryFile(dir=target.parent):
            pass


def write_atomically(path: StrPath, content: bytes) -> None:
    """Write a file that always holds either the old or the new content.

    Args:
        path: The file.
        content: The new content.

    Raises:
        SettingsError: If it cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    draft = target.parent / f".autobatch-{os.getpid()}-{secrets.token_hex(4)}"
    with _settings_error(path):
        try:
            with draft.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _refuse_what_is_there(path: StrPath, target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise SettingsError(f"{path} is a folder", hint="give the name of a file in it")
    if target.exists() and not target.is_file():
        raise SettingsError(f"{path} is not a regular file", hint="give another name")
    if target.exists() and not overwrite:
        raise SettingsError(f"{path} exists already", hint="replace it with --force")


@contextlib.contextmanager
def _settings_error(path: StrPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"cannot write {path}: {reason}", hint="write to another path"
        ) from error
