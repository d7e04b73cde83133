"""What can go wrong: each fault prepares a run of autobatch, and what strikes it. Linux only."""

from __future__ import annotations

import functools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import psutil

from scripts.faults.hostile_files import damage
from scripts.faults.scene import Scene

_SIZES = (1, 2, 4, 8, 16, 32, 64)

# Ctrl-C, an exit and an exception that cannot even be shown come from users' code as well.
_EXCEPTIONS = (
    "raise KeyError('a mistake of the target')",
    "raise ValueError('several\\nlines\\n\\x1b[31mand colours')",
    "raise RuntimeError('x' * 1_000_000)",
    "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "raise KeyboardInterrupt",
    "raise SystemExit(3)",
)


def worker_killed(scene: Scene) -> None:
    """SIGKILL for the process that holds the model."""
    scene.probe()
    scene.strike_later(lambda process: _kill(scene, process, _find_worker))


def trial_killed(scene: Scene) -> None:
    """SIGKILL for the process that runs one size."""
    scene.probe()
    scene.strike_later(lambda process: _kill(scene, process, _find_trial))


def hang(scene: Scene) -> None:
    """A step that never ends, or a file."""
    _strike_somewhere(scene, "time.sleep(3600)", on_load_fraction=0.15)
    if scene.random.random() < 0.5:
        scene.arguments += ["--trial-timeout", "4s"]


def segfault(scene: Scene) -> None:
    """A step that reads address 0."""
    _strike_somewhere(scene, "ctypes.string_at(0)", on_load_fraction=0.0)


def exception(scene: Scene) -> None:
    """A mistake in the user's code, in a step or while it is loaded."""
    _strike_somewhere(scene, scene.random.choice(_EXCEPTIONS), on_load_fraction=0.25)


def os_exit(scene: Scene) -> None:
    """A step, or a file, that ends the process without a word."""
    fault = f"os._exit({scene.random.choice((0, 1, 3, 77))})"
    _strike_somewhere(scene, fault, on_load_fraction=0.25)


def non_monotone(scene: Scene) -> None:
    """Memory that goes up and down with the size, under a limit that some sizes exceed."""
    megabytes = {size: scene.random.randrange(1, 400) for size in _SIZES}
    scene.probe(f"kept[:] = [torch.ones({megabytes}.get(size, 1) * 2**18)]", "True")
    scene.arguments += ["--memory-limit", f"{scene.random.randrange(400, 900)}MiB"]


def leak(scene: Scene) -> None:
    """A model that keeps something of every batch."""
    megabytes = scene.random.choice((1, 4, 16))
    scene.probe(f"kept.append(torch.ones({megabytes} * 2**18))", "True")
    scene.arguments += ["--memory-limit", f"{scene.random.randrange(450, 1200)}MiB"]


def neighbour(scene: Scene) -> None:
    """Another process that takes memory and gives it back meanwhile."""
    scene.probe()
    code = _NEIGHBOUR.format(seed=scene.random.randrange(2**32))
    other = subprocess.Popen([sys.executable, "-c", code])
    scene.stack.callback(other.wait)
    scene.stack.callback(other.kill)
    scene.mark.touch()


_NEIGHBOUR = """
import random, time
source = random.Random({seed})
while True:
    memory = bytearray(source.randrange(2**30))
    memory[::4096] = bytes(len(range(0, len(memory), 4096)))
    time.sleep(source.uniform(0.01, 0.3))
    del memory
"""


def sigint(scene: Scene) -> None:
    """Ctrl-C."""
    scene.probe()
    scene.strike_later(lambda process: _signal(scene, process, signal.SIGINT))


def sigterm(scene: Scene) -> None:
    """What a scheduler sends before it kills."""
    scene.probe()
    scene.strike_later(lambda process: _signal(scene, process, signal.SIGTERM))


def full_disk(scene: Scene) -> None:
    """A disk, a file or a standard output that takes no more."""
    scene.probe(may_save=False)
    way = scene.random.choice(("disk", "disk", "file", "stdout"))
    if way == "disk" and _mount_tiny(scene, scene.folder / "disk"):
        scene.save_to(scene.folder / "disk" / "finding.json")
        scene.cannot_save = True
    elif way == "stdout":
        scene.stdout_is_full = True
    else:
        scene.save_to(scene.folder / "finding.json")
        scene.file_size_limit = 512
        scene.cannot_save = True
    scene.mark.touch()


def folder_removed(scene: Scene) -> None:
    """The folder of the file that was asked for goes away."""
    scene.probe(may_save=False)
    folder = scene.folder / "results"
    folder.mkdir()
    scene.save_to(folder / "finding.json")

    def remove(process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            shutil.rmtree(folder)
            scene.cannot_save = True
            scene.mark.touch()

    scene.strike_later(remove)


def hostile_json(scene: Scene) -> None:
    """A saved finding that is damaged, or made to do damage."""
    path = scene.folder / "finding.json"
    path.write_bytes(damage(make_sample_finding(), scene.random))
    scene.arguments = ["show", "finding.json"]
    if scene.random.random() < 0.5:
        scene.arguments.append("--json")
    scene.mark.touch()


@functools.cache
def make_sample_finding() -> bytes:
    """A real finding, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        with ExitStack() as stack:
            path = Path(folder)
            scene = Scene(folder=path, mark=path / "mark", random=Random(0), stack=stack)
            scene.probe(may_save=False)
        command = [sys.executable, "-m", "autobatch", "probe", str(path / "target.py")]
        command += ["--json", "--max-batch-size", "16"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def _strike_somewhere(scene: Scene, fault: str, *, on_load_fraction: float) -> None:
    """While the target is loaded, or in a step.

    At one size or from one size on; at the first step of a trial or at a later one.
    """
    if scene.random.random() < on_load_fraction:
        scene.probe(fault, on_load="strike(0)")
        return
    operator = scene.random.choice(("==", ">="))
    size, step = scene.random.choice(_SIZES[:-1]), scene.random.choice((1, 1, 2, 4, 10))
    scene.probe(fault, f"size {operator} {size} and num_steps >= {step}")


def _kill(
    scene: Scene,
    process: subprocess.Popen[str],
    find: Callable[[subprocess.Popen[str]], psutil.Process | None],
) -> None:
    while process.poll() is None:
        with suppress(psutil.Error):
            found = find(process)
            if found is not None:
                found.kill()
                scene.mark.touch()
                return
        time.sleep(0.005)


def _find_worker(process: subprocess.Popen[str]) -> psutil.Process | None:
    for child in psutil.Process(process.pid).children():
        if "autobatch.probe.worker.worker" in " ".join(child.cmdline()):
            return child
    return None


def _find_trial(process: subprocess.Popen[str]) -> psutil.Process | None:
    worker = _find_worker(process)
    return next(iter(worker.children()), None) if worker is not None else None


def _signal(scene: Scene, process: subprocess.Popen[str], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
        scene.mark.touch()


def _mount_tiny(scene: Scene, folder: Path) -> bool:
    """Mount a file system of one page; say whether this machine lets us."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4k", "autobatch-faults", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True)
    except OSError:
        return False
    if done.returncode == 0:
        scene.stack.callback(subprocess.run, ["umount", str(folder)], check=True)
    return done.returncode == 0


KINDS: dict[str, Callable[[Scene], None]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        worker_killed, trial_killed, hang, segfault, exception, os_exit, non_monotone, leak,
        neighbour, sigint, sigterm, full_disk, folder_removed, hostile_json,
    )
}  # fmt: skip
