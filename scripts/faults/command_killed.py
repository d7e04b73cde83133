"""Is anything left of a command once autobatch is killed? SIGKILL at random moments of a search.

Each run starts ``autobatch probe -- python train.py`` in a temporary folder, on a script that
catches all it can, has loader workers and saves over a file. A random time after the first process
of the command has appeared, drawn from the seed, autobatch alone is killed. Then nothing that it
has started may live, no file may have changed, and none of its temporary folders may be there.
Exit status 1 if anything is otherwise.

    python -m scripts.faults.command_killed [--runs 100] [--seed 0] [--jobs 2]
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from scripts.workbench import ROOT, make_parser

TOKEN_NAME = "AUTOBATCH_FAULT_TOKEN"
LATEST_S = 20.0
START_PATIENCE_S = 120.0
# The kernel kills at once; a process that waits for a page of a busy disk takes longer to go.
GRACE_S = 5.0
SCRIPT = """
import argparse, signal, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
size = parser.parse_args().batch_size
if __name__ == "__main__":
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 8))
    optimizer = torch.optim.Adam(model.parameters())
    data = TensorDataset(torch.randn(4096, 64), torch.randint(0, 8, (4096,)))
    loader = DataLoader(data, batch_size=size, num_workers=2)
    while True:
        try:
            for inputs, labels in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs), labels).backward()
                optimizer.step()
                torch.save(model.state_dict(), "model.pt")
        except BaseException:
            pass
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run."""

    number: int
    moment_s: float
    num_alive: int
    took_s: float
    left: tuple[str, ...]
    has_changed: bool


def main() -> int:
    """Run all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how often to kill it")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    moments = [random.uniform(0, LATEST_S) for _ in range(arguments.runs)]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = []
        for each in pool.map(run, range(arguments.runs), moments):
            outcomes.append(each)
            trouble = "; ".join((*each.left, *(["a file changed"] if each.has_changed else [])))
            print(
                f"run {each.number}: killed after {each.moment_s:.1f} s with {each.num_alive} "
                f"processes alive; gone after {each.took_s:.2f} s{'; LEFT: ' if trouble else ''}"
                f"{trouble}",
                flush=True,
            )
    lost = [each for each in outcomes if each.left or each.has_changed]
    alive = [each for each in outcomes if each.num_alive]
    slowest = max((each.took_s for each in outcomes), default=0.0)
    print(
        f"{len(outcomes)} runs, {len(alive)} of them killed while a command ran, "
        f"{len(lost)} with something left; the last process was gone after {slowest:.2f} s at most"
    )
    return 1 if lost else 0


def run(number: int, moment_s: float) -> Outcome:
    """Start a search, kill it after a time, and look for what is left.

    Args:
        number: Of the run.
        moment_s: When to kill.
    """
    token = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as temporary:
        Path(folder, "train.py").write_text(SCRIPT)
        Path(folder, "model.pt").write_text("precious")
        search = subprocess.Popen(
            [
                *(sys.executable, "-m", "autobatch", "probe", "-q", "--"),
                *(sys.executable, "train.py", "--batch-size", "{batch_size=16}"),
            ],
            cwd=folder,
            env={
                **os.environ,
                TOKEN_NAME: token,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "TMPDIR": temporary,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_PATIENCE_S
        while not any(map(is_script, find_marked(token))) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(moment_s)
        if search.poll() is not None:
            raise RuntimeError(f"autobatch ended by itself, with exit status {search.returncode}")
        num_alive = len(find_marked(token)) - 1
        search.send_signal(signal.SIGKILL)
        search.wait()
        begin = time.monotonic()
        while (left := find_marked(token)) and time.monotonic() - begin < GRACE_S:
            time.sleep(0.02)
        took_s = time.monotonic() - begin
        names = tuple(" ".join(_command_of(each))[-60:] for each in left)
        names += tuple(each.name for each in Path(temporary).glob("autobatch-*"))
        for each in left:
            with suppress(psutil.Error):
                each.kill()
        has_changed = Path(folder, "model.pt").read_text() != "precious"
    return Outcome(
        number=number,
        moment_s=moment_s,
        num_alive=max(0, num_alive),
        took_s=took_s,
        left=names,
        has_changed=has_changed,
    )


def find_marked(token: str) -> list[psutil.Process]:
    """Every process that has inherited a token and is alive.

    Args:
        token: In the environment.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(TOKEN_NAME) == token:
                found.append(process)
    return found


def is_script(process: psutil.Process) -> bool:
    """Whether a process is the script itself, or a worker of it."""
    return _command_of(process)[1:2] == ["train.py"]


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return ["(gone)"]


if __name__ == "__main__":
    sys.exit(main())
