"""From names to devices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autobatch.devices.cpu import CpuDevice
from autobatch.devices.select import check_device_name, select_device
from autobatch.errors import DeviceError, DeviceUnavailableError


@pytest.mark.parametrize(
    "name", ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "xpu", "xpu:1", "mps"]
)
def test_a_known_name_passes(name: str) -> None:
    assert check_device_name(name) is None


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:0", " cpu", "mps:0", "xpu:"]
)
def test_an_unknown_name_is_refused_and_repeated(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        select_device(name)
    assert not isinstance(caught.value, DeviceUnavailableError)
    assert repr(name) in str(caught.value)
    assert "cuda:0" in caught.value.hint


def test_checking_a_name_loads_no_torch(run_python: Callable[[str], str]) -> None:
    printed = run_python(
        """
        import sys
        from autobatch.devices.select import check_device_name
        check_device_name("cuda:3")
        print("torch" in sys.modules)
        """
    )
    assert printed == "False"


def test_cpu_is_the_processor() -> None:
    assert isinstance(select_device("cpu"), CpuDevice)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
class TestWithoutAGpu:
    def test_auto_is_the_processor(self) -> None:
        assert isinstance(select_device("auto"), CpuDevice)

    @pytest.mark.parametrize(
        ("name", "shown"),
        [("cuda", "cuda:0"), ("cuda:3", "cuda:3"), ("xpu", "xpu:0"), ("mps", "mps")],
    )
    def test_a_gpu_by_name_is_an_error_that_says_what_to_try(self, name: str, shown: str) -> None:
        with pytest.raises(DeviceUnavailableError) as caught:
            select_device(name)
        assert shown in str(caught.value)
        assert "`device=cpu`" in caught.value.hint


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")
class TestWithAGpu:
    def test_auto_is_the_first_gpu(self) -> None:
        assert select_device("auto").name == "cuda:0"

    def test_an_index_beyond_the_last_is_an_error(self) -> None:
        with pytest.raises(DeviceUnavailableError, match=r"cuda:99"):
            select_device("cuda:99")
