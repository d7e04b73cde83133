"""Memory beside the process that trains: loader workers, batches on their way, other systems."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from autobatch.devices.meter import meter_by_sampling
from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.probe.worker.process import start_process
from autobatch.records import Outcome, Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and limits resources")

MIB = 2**20
WORKER_BYTES = 250 * MIB
BATCH_BYTES = 16 * MIB
NUM_WORKERS, NUM_PREFETCHED = 2, 2

# Each loader worker holds 250 MiB that it made itself; a batch of 16 samples has 16 MiB. A step
# takes long enough for the loader to have all batches ready that it may.
LOADER = f"""
import time
class Heavy(torch.utils.data.Dataset):
    held = None
    def __len__(self): return 4096
    def __getitem__(self, index):
        if self.held is None:
            self.held = bytearray(b"x") * {WORKER_BYTES}
        return torch.ones(2**18), torch.zeros(3)
model = nn.Linear(2**18, 3)
train_loader = torch.utils.data.DataLoader(
    Heavy(), batch_size=16, num_workers={NUM_WORKERS}, prefetch_factor={NUM_PREFETCHED}
)
def training_step(model, batch):
    time.sleep(0.4)
    return nn.functional.mse_loss(model(batch[0]), batch[1])
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
"""

# The same training in a plain loop, and what its processes hold by the kernel's own shares.
PLAIN_LOOP = """
import sys
sys.path.insert(0, sys.argv[1])
import os, psutil, time
import target_file as target

batches = iter(target.train_loader)
for _ in range(3):
    loss = target.training_step(target.model, next(batches))
    target.optimizer.zero_grad()
    loss.backward()
    target.optimizer.step()
time.sleep(1)  # until all batches are ready

def shares(pid):
    lines = open(f"/proc/{pid}/smaps_rollup").read().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}

family = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
files = shares(os.getpid())["Rss"] - shares(os.getpid())["Anonymous"]
print(sum(shares(pid)["Pss_Anon"] for pid in family) + files)
"""


@pytest.fixture(scope="module")
def heavy(probe_once: Callable[..., Any]) -> Any:
    prober = probe_once(LOADER, memory_limit_bytes=4 * 2**30, headroom_fraction=0.0)
    prober.load()
    return prober.measure(16, min_steps=3)


def test_the_peak_is_what_a_plain_loop_and_its_loader_hold(heavy: Any, tmp_path: Any) -> None:
    (tmp_path / "target_file.py").write_text("import torch\nfrom torch import nn\n" + LOADER)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_LOOP, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    waiting_bytes = NUM_WORKERS * NUM_PREFETCHED * BATCH_BYTES
    assert heavy.fits
    # Which batches are on their way, and in whose memory, differs from moment to moment.
    assert heavy.peak_bytes == pytest.approx(int(done.stdout) + waiting_bytes, rel=0.2)


def test_workers_times_prefetched_batches_are_held_by_the_loader(heavy: Any) -> None:
    waiting_bytes = NUM_WORKERS * NUM_PREFETCHED * BATCH_BYTES
    least = NUM_WORKERS * WORKER_BYTES + waiting_bytes // 2  # a slow machine may not be done
    assert least < heavy.loader_bytes < NUM_WORKERS * WORKER_BYTES + waiting_bytes + 120 * MIB
    assert heavy.host_peak_bytes == heavy.peak_bytes


def test_a_loader_that_the_training_process_alone_would_not_show_is_refused(
    probe: Callable[..., Any],
) -> None:
    prober = probe(LOADER, memory_limit_bytes=650 * MIB, headroom_fraction=0.0)
    prober.load()
    trial = prober.measure(16, min_steps=3)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.peak_bytes > 650 * MIB
    assert trial.peak_bytes - trial.loader_bytes < 650 * MIB
    assert "in loader workers" in trial.message
    assert prober.worker().children(recursive=True) == []


def test_a_search_that_ends_over_its_loader_says_so(write: Callable[..., str]) -> None:
    settings = Settings(device="cpu", memory_limit_bytes=650 * MIB, headroom_fraction=0.0)
    target = write(LOADER)
    with TargetProber(target, settings) as prober, pytest.raises(NothingFitsError) as caught:
        find(prober, settings, target=target)
    assert "in loader workers (memory limit)" in str(caught.value)
    assert "num_workers" in caught.value.hint


PLAN = TimingPlan(num_warmup_steps=2, min_steps=1, max_time_s=0.0)
# As on a system without /proc.
SAMPLED = (
    "from autobatch.probe.worker.worker import Worker, main; "
    "from autobatch.devices.cpu import CpuDevice; "
    "main(Worker(lambda name: CpuDevice(uses_kernel=False), uses_kernel=False))"
)
# A device with a memory of its own, on a machine that leaves 1 GiB.
OWN_MEMORY = (
    "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**30, -1)); "
    "from autobatch.probe.worker.worker import Worker, main; "
    "from autobatch.devices.cpu import CpuDevice; "
    "Own = type('Own', (CpuDevice,), {'name': 'cpu:0', 'bounds': lambda self, limit: "
    "(__import__('autobatch.records').records.MemoryBound.of('own', 2**36, 2**36),)}); "
    "from autobatch.probe.isolation.in_place import InPlace; "
    "main(Worker(lambda name: Own(), isolate=lambda device, request: InPlace()))"
)
GROWING = """
import time
model = nn.Linear(64, 8)
dataset = [(torch.randn(64), torch.randn(8))] * 64
kept = []
def training_step(model, batch):
    if len(batch[0]) == 4:
        held = torch.ones(60 * 2**20)
        time.sleep(0.5)
        del held
    if len(batch[0]) == 8:
        for _ in range(100):
            kept.append(torch.ones(5 * 2**20))
            time.sleep(0.05)
    return nn.functional.mse_loss(model(batch[0]), batch[1])
"""


@pytest.fixture
def start() -> Iterator[Callable[..., TargetProber]]:
    """Start a prober; none of its processes may be left."""
    started: list[TargetProber] = []

    def make(target: str, entry: str | None = None, **arguments: Any) -> TargetProber:
        limit = arguments.pop("memory_limit_bytes", None)
        settings = Settings(device="cpu", memory_limit_bytes=limit, headroom_fraction=0.0)
        if entry is not None:
            arguments["start"] = lambda: start_process({}, entry)
        prober = TargetProber(target, settings, **arguments)
        prober.__enter__()
        started.append(prober)
        return prober

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield make
    family = psutil.Process().children(recursive=True)
    for prober in started:
        prober.__exit__(None, None, None)
    left = psutil.wait_procs([each for each in family if each.pid not in before], timeout=20)[1]
    assert left == []


def test_by_sampling_a_peak_between_two_readings_is_seen(
    start: Callable[..., TargetProber], write: Callable[..., str]
) -> None:
    prober = start(write(GROWING), entry=SAMPLED, meter=meter_by_sampling)
    loaded = prober.load()
    assert loaded.environment.isolation == "shared"
    assert not loaded.memory_is_enforced
    small, large = (prober.measure(size, PLAN, timeout_s=60) for size in (2, 4))
    assert small.peak_is_lower_bound and large.peak_is_lower_bound
    assert small.fits and large.fits
    assert large.peak_bytes - small.peak_bytes > 200 * MIB


def test_by_sampling_a_worker_is_ended_at_the_budget_and_replaced(
    start: Callable[..., TargetProber], write: Callable[..., str]
) -> None:
    prober = start(
        write(GROWING),
        entry=SAMPLED,
        meter=meter_by_sampling,
        memory_limit_bytes=800 * MIB,
    )
    prober.load()
    trial = prober.measure(8, PLAN, timeout_s=60)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.peak_bytes > 800 * MIB
    assert trial.peak_is_lower_bound
    assert trial.message.startswith("ended when its memory of")
    assert prober.measure(2, PLAN, timeout_s=60).fits


def test_beside_a_devices_memory_the_machines_has_a_budget_of_its_own(
    start: Callable[..., TargetProber], write: Callable[..., str]
) -> None:
    loader = LOADER.replace(f"* {WORKER_BYTES}", f"* {400 * MIB}")
    prober = start(write(loader), entry=OWN_MEMORY)
    loaded = prober.load()
    assert loaded.host_budget is not None
    assert "RLIMIT_DATA" in loaded.host_budget.bound_by
    trial = prober.measure(16, TimingPlan(min_steps=3, max_time_s=0.0), timeout_s=100)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert "host memory of" in trial.message
    assert "in loader workers" in trial.message
    assert trial.host_peak_bytes > loaded.host_budget.budget_bytes
