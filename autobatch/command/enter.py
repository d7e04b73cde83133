"""Starts a command inside its protection; run as a program of its own, without autobatch.

    python -I -S enter.py '{"root": ..., "upper": ..., "work": ..., "cwd": ...}' COMMAND...

    autobatch
      '-- this process, which stays and outlives autobatch if that is killed
            '-- the command

With a root, the command gets a mount namespace of its own, in a user namespace that maps the user
to themselves. There an overlay covers the root: what is written goes to the upper folder, what is
read comes from both. Folders that are mounted below the root are put back on top.

On Linux this process adopts what the command leaves behind. Once autobatch is gone, however it
ended, it kills all of that and removes the folder of the run. It needs the standard library alone,
since every trial waits for it to start.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: Exit status where the protection cannot be had, and where there is no such command.
NO_PROTECTION, NO_COMMAND = 96, 97
#: The file in the folder of the run that says how the command has ended.
EXIT_FILE = "exit"
_WOKEN_BY = frozenset((signal.SIGCHLD, signal.SIGTERM))
_LOOK_INTERVAL_S = 5.0
_PAUSE_S = 0.02
_PATIENCE_S = 10.0


def main() -> None:
    """Enter, and become the command."""
    place = json.loads(sys.argv[1])
    command = sys.argv[2:]
    parent = place["parent"]
    if sys.platform == "linux":
        parent = _stay_behind(parent, place["folder"])
    if place.get("root"):
        try:
            _cover(place["root"], place["upper"], place["work"])
        except OSError as error:
            print(error, file=sys.stderr)
            os._exit(NO_PROTECTION)
    if sys.platform == "linux":
        _tell_me_of_the_end(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two
        signal.signal(number, signal.SIG_DFL)
    os.chdir(place["cwd"])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(NO_COMMAND)


def remove(folder: str) -> None:
    """Remove the folder of a run, with all that it wrote into its overlay."""
    import shutil

    # The kernel leaves a folder without permissions in an overlay's work folder.
    inner = os.path.join(folder, "work", "work")
    if os.path.exists(inner):
        os.chmod(inner, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _stay_behind(autobatch: int, folder: str) -> int:
    """Go on in a child, and never return in this process.

    Args:
        autobatch: The process that started this one.
        folder: Of the run.

    Returns:
        The process that stays.
    """
    own = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WOKEN_BY)
    _tell_me_of_the_end(signal.SIGTERM)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork() if os.getppid() == autobatch else -1
    if child == 0:
        os.setpgid(0, 0)  # what it sends to its process group does not come here
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WOKEN_BY)
        return own
    while os.getppid() == autobatch:
        signal.sigtimedwait(_WOKEN_BY, _LOOK_INTERVAL_S)
        for pid, status in _collect():
            if pid == child:
                _write_exit(folder, os.waitstatus_to_exitcode(status))
    _end_children()
    remove(folder)
    os._exit(1)


def _tell_me_of_the_end(number: int) -> None:
    """Have the kernel send a signal to this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _collect() -> list[tuple[int, int]]:
    """Numbers and statuses of children that have ended."""
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def _write_exit(folder: str, code: int) -> None:
    path = os.path.join(folder, EXIT_FILE)
    with suppress(OSError):  # autobatch may have just removed the folder
        with open(path + ".part", "w") as file:
            file.write(str(code))
        os.rename(path + ".part", path)


def _end_children() -> None:
    """Kill all children, then those that were theirs, until none is left."""
    own = os.getpid()
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with open(f"/proc/{own}/task/{own}/children") as file:
            children = [int(each) for each in file.read().split()]
        if not children:
            return
        for pid in children:
            with suppress(PermissionError):  # it runs as another user
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)
        _collect()


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
