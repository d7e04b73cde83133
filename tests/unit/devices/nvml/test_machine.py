"""Every device of the machine, and what is said where no GPU is among them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autobatch.devices.machine import explain_absence, report_machine
from autobatch.devices.nvml import Nvml
from autobatch.devices.select import list_device_names, prefer
from autobatch.errors import DeviceError, DeviceUnavailableError
from autobatch.records import Unknown


def test_the_processor_is_always_there_and_last() -> None:
    machine = report_machine()
    assert machine.devices[-1].name == "cpu"
    assert [device.name for device in machine.devices] == list(list_device_names())
    assert machine.auto == machine.devices[0].name == prefer()
    assert machine.torch_version == torch.__version__


def test_one_device_can_be_asked_for() -> None:
    machine = report_machine("cpu")
    assert [device.name for device in machine.devices] == ["cpu"]
    assert report_machine("auto").devices[0].name == machine.auto


def test_a_name_that_no_device_can_have_is_refused() -> None:
    with pytest.raises(DeviceError, match="'gpu'"):
        report_machine("gpu")


@pytest.mark.parametrize("name", ["cuda:99", "xpu:99"])
def test_a_device_that_is_not_there_is_an_error_that_says_what_is(name: str) -> None:
    with pytest.raises(DeviceUnavailableError, match=rf"'{name}'.*cpu") as caught:
        report_machine(name)
    assert "autobatch devices" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_one_line_says_why() -> None:
    if list_device_names() == ("cpu",):
        (note,) = report_machine().notes
        assert note.startswith("No GPU") or "cannot use it" in note


def test_no_nvml_is_the_reason_that_is_given() -> None:
    (note,) = explain_absence(Unknown(reason="there is no libnvidia-ml"))
    assert "there is no libnvidia-ml" in note
    assert torch.__version__ in note


def test_a_gpu_that_pytorch_cannot_use_is_named_with_what_to_do(module: Any) -> None:
    (note,) = explain_absence(Nvml(module))
    assert "NVIDIA H100" in note
    assert "install a PyTorch build for CUDA" in note


def test_a_driver_without_a_gpu_is_said(module: Any) -> None:
    module.answers["nvmlDeviceGetCount"] = 0
    (note,) = explain_absence(Nvml(module))
    assert "the NVIDIA driver has none" in note
