"""Files that the script changes: reported, and guarded where nothing else protects them."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NAMED = {
    "os.remove": "remove",
    "os.rename": "rename",
    "os.rmdir": "remove",
    "os.truncate": "write",
    "os.mkdir": "mkdir",
    "shutil.rmtree": "remove",
}


def install(line: Any) -> None:
    """Watch what this process opens for writing, renames and removes.

    Args:
        line: To autobatch. Its configuration says which folders are watched and whether a file that
            was there before is held against the script.
    """
    watch = _Watch(line)
    sys.addaudithook(watch.audit)
    line.note_file = watch.note


def watch_saving(torch: Any, line: Any) -> None:
    """Watch ``torch.save``, which opens its files in C++.

    Args:
        torch: The module.
        line: As of ``install``.
    """
    save = torch.save

    @functools.wraps(save)
    def watched(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(f, (str, os.PathLike)):
            line.note_file("write", f)
        return save(obj, f, *args, **kwargs)

    torch.save = watched


class _Watch:
    def __init__(self, line: Any) -> None:
        self._line = line
        self._guards = bool(line.config.get("guards"))
        self._quiet = tuple(line.config["quiet"])
        self._seen: set[tuple[str, str]] = set()
        self._made: set[str] = set()
        self._is_busy = False

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(args[0], (str, bytes)) and args[2] & _WRITES:
                self.note("write", args[0])
        elif event in _NAMED:
            self.note(_NAMED[event], args[0])
            if event == "os.rename":
                self.note("write", args[1])

    def note(self, kind: str, path: Any) -> None:
        """Report a change once, before it happens; hold the script if it must not happen."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            self._note(kind, os.path.abspath(os.fsdecode(path)))
        except (TypeError, ValueError, OSError):
            pass
        finally:
            self._is_busy = False

    def _note(self, kind: str, path: str) -> None:
        is_quiet = (path + "/").startswith(self._quiet) or path.endswith(".pyc")
        if is_quiet or (kind, path) in self._seen:
            return
        self._seen.add((kind, path))
        existed = os.path.exists(path) and path not in self._made
        if not existed:
            self._made.add(path)
        self._line.say("file", kind, path, existed, at_once=self._guards)
        if self._guards and existed and kind != "mkdir":
            self._line.speak_up()
            self._line.say("guarded", kind, path, at_once=True)
            self._line.hold()
