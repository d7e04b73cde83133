"""Fake cgroup trees, processes to run code in, devices to hold to a contract."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fixtures.cuda import FakeCuda

from autobatch.devices.base import Device
from autobatch.devices.cpu import CpuDevice
from autobatch.records import Unknown
from autobatch.testing import SimulatedDevice
from autobatch.testing.replayed import ReplayedCuda, ReplayedDevice


@dataclass(frozen=True)
class FakeKernel:
    """A ``/proc/PID`` folder and mounted cgroup trees below one root."""

    root: Path

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    def mount(self, kind: str, name: str, *, root: str = "/", options: str = "rw") -> Path:
        """Add a mount; its folder."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        number = 30 + len(self._read("mountinfo"))
        line = f"{number} 25 0:26 {root} {folder} rw,nosuid shared:4 - {kind} {kind} {options}"
        self._write("mountinfo", [*self._read("mountinfo"), line])
        return folder

    def join(self, *lines: str) -> None:
        """Put the process into cgroups."""
        self._write("cgroup", list(lines))

    def _read(self, name: str) -> list[str]:
        file = self.proc / name
        return file.read_text().splitlines() if file.exists() else []

    def _write(self, name: str, lines: list[str]) -> None:
        self.proc.mkdir(exist_ok=True)
        (self.proc / name).write_text("".join(f"{line}\n" for line in lines))


def _limit_v2(folder: Path, limit: int | str, used: int, *, cache: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    if cache is not None:
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 7\n")


def _limit_v1(folder: Path, limit: int, used: int, *, cache: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    if cache is not None:
        (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cache}\n")


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


@pytest.fixture
def limit_v2() -> Callable[..., None]:
    return _limit_v2


@pytest.fixture
def limit_v1() -> Callable[..., None]:
    return _limit_v1


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run code in a process of its own and return what it printed."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@dataclass(frozen=True)
class DeviceUnderContract:
    """A device, and how to hold memory on it.

    Attributes:
        device: The device.
        allocate: Takes so many bytes and holds them until its result is dropped.
        unit_bytes: A size that is large against what else goes on there.
    """

    device: Device
    allocate: Callable[[int], object]
    unit_bytes: int


def _cpu() -> DeviceUnderContract:
    return DeviceUnderContract(
        CpuDevice(), lambda size: torch.ones(size, dtype=torch.uint8), 64 * 2**20
    )


def _cuda() -> DeviceUnderContract:
    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} sees no GPU")
    from autobatch.devices.cuda import CudaDevice

    return _accelerator(CudaDevice(0))


def _fake_cuda() -> DeviceUnderContract:
    from autobatch.devices.cuda import CudaDevice

    cuda = FakeCuda(others_bytes=2**30)
    device = CudaDevice(0, cuda, Unknown(reason="a stand-in"))
    return DeviceUnderContract(device, cuda.allocate, 256 * 2**20)


def _xpu() -> DeviceUnderContract:
    if not torch.xpu.is_available():
        pytest.skip(f"PyTorch {torch.__version__} sees no Intel GPU")
    from autobatch.devices.xpu import XpuDevice

    return _accelerator(XpuDevice(0))


def _mps() -> DeviceUnderContract:
    if not torch.backends.mps.is_available():
        pytest.skip(f"PyTorch {torch.__version__} sees no Metal GPU")
    from autobatch.devices.mps import MpsDevice

    return _accelerator(MpsDevice())


def _accelerator(device: Device) -> DeviceUnderContract:
    return DeviceUnderContract(
        device,
        lambda size: torch.ones(size, dtype=torch.uint8, device=device.name),
        256 * 2**20,
    )


class _SimulatedBlock:
    """Memory of a simulated device, given back when it is dropped."""

    def __init__(self, device: SimulatedDevice, num_bytes: int) -> None:
        self._device, self._num_bytes = device, 0
        device.allocate(num_bytes)
        self._num_bytes = num_bytes

    def __del__(self) -> None:
        self._device.free(self._num_bytes)


def _simulated() -> DeviceUnderContract:
    device = SimulatedDevice(8 * 2**30)
    return DeviceUnderContract(device, lambda size: _SimulatedBlock(device, size), 2**20)


def _replayed() -> DeviceUnderContract:
    device = ReplayedDevice(ReplayedCuda(8 * 2**30, overhead_bytes=2**29, used_by_others_bytes=1))

    def allocate(num_bytes: int) -> torch.Tensor:
        with device.storages:
            return torch.empty(num_bytes, dtype=torch.uint8)

    return DeviceUnderContract(device, allocate, 256 * 2**20)


# Each further device is one more function above and one more line here.
_DEVICES = [
    pytest.param(_simulated, id="simulated"),
    pytest.param(_replayed, id="replayed"),
    pytest.param(_cpu, id="cpu"),
    pytest.param(_cuda, id="cuda", marks=pytest.mark.gpu),
    pytest.param(_fake_cuda, id="cuda on a model of its allocator"),
    pytest.param(_xpu, id="xpu"),
    pytest.param(_mps, id="mps"),
]


@pytest.fixture(params=_DEVICES)
def contract(request: pytest.FixtureRequest) -> Iterator[DeviceUnderContract]:
    subject: DeviceUnderContract = request.param()
    yield subject
    subject.device.release()
