"""Starting a command: its environment, its protection, and what it writes to its streams."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.command import enter
from autobatch.command.settings import FileProtection
from autobatch.devices.family import find_descendants
from autobatch.errors import SettingsError
from autobatch.probe.trial.oom_texts import OUT_OF_MEMORY

HOOK = str(Path(__file__).parent / "hook")
#: What keeps experiment trackers from recording trials, by the tracker.
TRACKERS = {
    "wandb": {"WANDB_MODE": "disabled"},
    "MLflow": {
        "DISABLE_MLFLOW_INTEGRATION": "TRUE",
        "MLFLOW_TRACKING_URI": "file://{folder}/mlruns",
    },
    "Comet": {"COMET_MODE": "DISABLED"},
    "ClearML": {"CLEARML_OFFLINE_MODE": "1", "CLEARML_CACHE_DIR": "{folder}/clearml"},
    "Neptune": {"NEPTUNE_MODE": "debug"},
    "Hugging Face telemetry": {"HF_HUB_DISABLE_TELEMETRY": "1"},
}
_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")
_TAIL_BYTES = 4000
# The rest of 107 bytes is for sockets below it: our own, and those of the script's processes.
_LONGEST_FOLDER = 48
_POLL_INTERVAL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How the files that are there are protected from a trial.

    Attributes:
        kind: ``OVERLAY``, ``GUARD`` or ``NONE``.
        root: The folder whose changes are thrown away, or that the command runs in.
    """

    kind: FileProtection
    root: str

    @property
    def sentence(self) -> str:
        """What is in force, for the report."""
        if self.kind is FileProtection.OVERLAY:
            return f"what trials wrote below {self.root} was thrown away (overlay)"
        if self.kind is FileProtection.GUARD:
            return "trials were ended before they could overwrite or remove a file (guard)"
        return "not protected from trials, as asked"


def choose_protection(asked: FileProtection, cwd: str) -> Protection:
    """The strongest protection that can be had here, or the one that was asked for.

    Args:
        asked: By the user.
        cwd: Where the command runs.

    Raises:
        SettingsError: If an overlay was asked for and the kernel does not let one.
    """
    root = find_root(cwd)
    if asked in (FileProtection.AUTO, FileProtection.OVERLAY):
        reason = _try_overlay(root)
        if not reason:
            return Protection(kind=FileProtection.OVERLAY, root=root)
        if asked is FileProtection.OVERLAY:
            raise SettingsError(
                f"`files=overlay` cannot be had here: {reason}", hint="use `files=guard`"
            )
        asked = FileProtection.GUARD
    return Protection(kind=asked, root=root)


def find_root(cwd: str) -> str:
    """The folder whose files belong to the training: the repository, or the current folder."""
    for folder in (Path(cwd), *Path(cwd).parents):
        if (folder / ".git").exists():
            return str(folder)
    return cwd


def make_folder() -> Path:
    """Make a private folder in which sockets can be: their paths have 107 bytes at the most."""
    name = os.fsencode(tempfile.gettempdir())
    is_short = len(name) <= _LONGEST_FOLDER
    return Path(tempfile.mkdtemp(prefix="autobatch-", dir=None if is_short else "/tmp"))


class Launch:
    """One start of a command. A context manager: its private folder goes with it.

    Args:
        arguments: The command.
        protection: Of the files.
        variables: Environment variables that the user set.
        config: What the hook needs to know.
        rewritten: Texts of files of the tree to be seen by this run, by path.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        protection: Protection,
        variables: Mapping[str, str],
        config: Mapping[str, Any],
        rewritten: Mapping[str, str],
    ) -> None:
        self._arguments, self._protection = arguments, protection
        self._variables, self._config, self._rewritten = variables, config, rewritten
        self.folder = make_folder()
        self.socket_path = str(self.folder / "socket")
        self.process: subprocess.Popen[bytes] | None = None
        self.trackers: tuple[str, ...] = ()

    def start(self) -> None:
        """Start it, in a session of its own."""
        for name in ("upper", "work", "tmp"):
            (self.folder / name).mkdir()
        place: dict[str, Any] = {
            "parent": os.getpid(),
            "folder": str(self.folder),
            "cwd": os.getcwd(),
        }
        if self._protection.kind is FileProtection.OVERLAY:
            root = self._protection.root
            place |= {"root": root, "upper": str(self.folder / "upper")}
            place["work"] = str(self.folder / "work")
            for path, text in self._rewritten.items():
                copy = self.folder / "upper" / os.path.relpath(path, root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text)
                shutil.copymode(path, copy)
        enter_command = [sys.executable, "-I", "-S", enter.__file__, json.dumps(place)]
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            self.process = subprocess.Popen(
                [*enter_command, *self._arguments],
                env=self._make_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def find_command(self) -> int | None:
        """The process of the command; ``None`` before it is there."""
        assert self.process is not None
        if sys.platform != "linux":  # it became the command
            return self.process.pid
        return next(iter(find_descendants(self.process.pid)), None)

    def poll(self) -> int | None:
        """How the command has ended, a signal as a negative number; ``None`` while it runs."""
        assert self.process is not None
        with suppress(OSError):
            return int((self.folder / enter.EXIT_FILE).read_text())
        return self.process.poll()

    def tail(self, name: str, size: int = _TAIL_BYTES) -> str:
        """The last lines that it wrote to ``out`` or ``err``.

        Args:
            name: Of the stream.
            size: In bytes.
        """
        try:
            with open(self.folder / name, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - size))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove its private folder, and end the process that would do so after autobatch."""
        enter.remove(str(self.folder))
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            enter.remove(str(self.folder))  # it may have noted the end of the command

    def _make_environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        temporary = str(self.folder / "tmp")
        # A cache of compiled code that lay in a trial's own folder would be made anew by each.
        inductor = os.path.join(tempfile.gettempdir(), f"torchinductor_{_user_name()}")
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", inductor)
        environment.setdefault("PYTHONUNBUFFERED", "1")
        self.trackers = tuple(
            name for name, values in TRACKERS.items() if not set(values) & set(self._variables)
        )
        for name in self.trackers:
            values = TRACKERS[name]
            environment |= {key: text.format(folder=temporary) for key, text in values.items()}
        environment |= {"TMPDIR": temporary, **self._variables}
        behind = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = HOOK + (os.pathsep + behind if behind else "")
        config = {
            **self._config,
            "socket": self.socket_path,
            "out_of_memory": OUT_OF_MEMORY,
            "guards": self._protection.kind is not FileProtection.NONE,
            "quiet": self._quiet_folders(environment),
        }
        environment["AUTOBATCH_COMMAND"] = json.dumps(config)
        return environment

    def _quiet_folders(self, environment: Mapping[str, str]) -> list[str]:
        """Where writing is nobody's loss: devices, caches, and what the overlay throws away."""
        caches = [environment[name] for name in _CACHES if environment.get(name)]
        folders = [str(self.folder), *caches, os.path.expanduser("~/.cache")]
        if self._protection.kind is FileProtection.OVERLAY:
            folders.append(self._protection.root)
        return ["/dev/", "/proc/", "/sys/", *(f"{each.rstrip('/')}/" for each in folders)]


def _try_overlay(root: str) -> str:
    """Why there can be no overlay of a folder; empty if there can."""
    if sys.platform != "linux":
        return "it needs Linux"
    temporary = tempfile.gettempdir()
    if os.path.commonpath([temporary, root]) == root:
        return f"{root} holds the folder for temporary files"
    launch = Launch(("true",), Protection(kind=FileProtection.OVERLAY, root=root), {}, {}, {})
    try:
        launch.start()
        while (exit_code := launch.poll()) is None:
            time.sleep(_POLL_INTERVAL_S)
        return launch.tail("err") or "the kernel does not let one" if exit_code else ""
    finally:
        launch.remove()


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
