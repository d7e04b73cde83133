"""Starts a command inside its protection; run as a program of its own, without autobatch.

    python -I -S enter.py '{"root": ..., "upper": ..., "work": ..., "cwd": ...}' COMMAND...

With a root, the process gets a mount namespace of its own, in a user namespace that maps the user
to themselves. There an overlay covers the root: what is written goes to the upper folder, what is
read comes from both. Folders that are mounted below the root are put back on top. It needs the
standard library alone, since every trial waits for it to start.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
#: Exit status where the protection cannot be had, and where there is no such command.
NO_PROTECTION, NO_COMMAND = 96, 97


def main() -> None:
    """Enter, and become the command."""
    place = json.loads(sys.argv[1])
    command = sys.argv[2:]
    parent = os.getppid()
    if place.get("root"):
        try:
            _cover(place["root"], place["upper"], place["work"])
        except OSError as error:
            print(error, file=sys.stderr)
            os._exit(NO_PROTECTION)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(place["cwd"])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(NO_COMMAND)


def _cover(root: str, upper: str, work: str) -> None:
    uid, gid = os.geteuid(), os.getegid()
    mounted = [(path, os.open(path, os.O_PATH)) for path in _find_mounts_below(root)]
    _check(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    options = (
        f"lowerdir={_escape(root)},upperdir={_escape(upper)},workdir={_escape(work)},userxattr"
    )
    _mount("overlay", root, "overlay", 0, options)
    for path, descriptor in mounted:
        _mount(f"/proc/self/fd/{descriptor}", path, None, _MS_BIND | _MS_REC)
        os.close(descriptor)


def _find_mounts_below(root: str) -> list[str]:
    with open("/proc/self/mountinfo") as file:
        paths = [line.split()[4].encode().decode("unicode_escape") for line in file]
    return sorted(path for path in paths if path.startswith(root.rstrip("/") + "/"))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, path: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_bytes = kind.encode() if kind else None
    code = _libc().mount(
        source.encode(), os.fsencode(path), kind_bytes, ctypes.c_ulong(flags), options.encode()
    )
    _check(code, f"mount on {path}")


def _check(code: int, what: str) -> None:
    if code:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _escape(path: str) -> str:
    """A path in the options of an overlay, where commas and colons separate."""
    for each in ("\\", ",", ":"):
        path = path.replace(each, "\\" + each)
    return path


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
