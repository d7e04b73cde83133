"""Which GPU of NVML a device of PyTorch is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu, find_gpu, list_gpus
from autobatch.devices.nvml.handles import visible_entry
from autobatch.records import Unknown

UUIDS = ("GPU-aaaa-1", "GPU-bbbb-2", "GPU-bbcc-3")


@pytest.fixture
def three(module: Any, nvml_error: Any) -> Nvml:
    """Three GPUs whose UUIDs NVML takes whole only."""
    handles = {uuid: f"gpu{index}" for index, uuid in enumerate(UUIDS)}

    def by_uuid(uuid: str) -> str:
        if uuid not in handles:
            raise nvml_error("NOT_FOUND")
        return handles[uuid]

    module.answers |= {
        "nvmlDeviceGetCount": 3,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetUUID": lambda handle: UUIDS[int(handle[-1])],
        "nvmlDeviceGetHandleByPciBusId": lambda place: f"on bus {place}",
    }
    return Nvml(module)


def _find(nvml: Nvml, index: int = 0, *, properties: Any = None, **environ: str) -> Any:
    found = find_gpu(nvml, index=index, properties=properties or SimpleNamespace(), environ=environ)
    return found.handle if isinstance(found, NvmlGpu) else found


def test_the_uuid_that_pytorch_tells_names_the_gpu_whatever_the_order(three: Nvml) -> None:
    properties = SimpleNamespace(uuid="bbbb-2")
    assert _find(three, 0, properties=properties, CUDA_VISIBLE_DEVICES="2,0") == "gpu1"


def test_an_older_pytorch_tells_the_place_on_the_bus(three: Nvml) -> None:
    properties = SimpleNamespace(pci_bus_id=0x3B, pci_device_id=0, pci_domain_id=1)
    assert _find(three, properties=properties) == "on bus 00000001:3B:00.0"


def test_without_either_a_uuid_in_the_environment_names_it(three: Nvml) -> None:
    assert _find(three, 1, CUDA_VISIBLE_DEVICES="GPU-aaaa-1, GPU-bbcc-3") == "gpu2"


def test_the_beginning_of_a_uuid_is_enough_where_only_one_begins_so(three: Nvml) -> None:
    assert _find(three, CUDA_VISIBLE_DEVICES="GPU-aa") == "gpu0"


def test_the_beginning_of_two_uuids_names_neither(three: Nvml) -> None:
    assert isinstance(_find(three, CUDA_VISIBLE_DEVICES="GPU-bb"), Unknown)


def test_an_index_counts_as_nvml_counts_in_the_order_of_the_bus(three: Nvml) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "2,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert _find(three, 0, **environ) == "gpu2"
    assert _find(three, 1, **environ) == "gpu0"


def test_an_index_in_cudas_own_order_is_not_guessed_at(three: Nvml) -> None:
    found = _find(three, 0, CUDA_VISIBLE_DEVICES="2,0")
    assert isinstance(found, Unknown) and "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.reason


def test_the_only_gpu_is_the_first_in_any_order(module: Any) -> None:
    assert _find(Nvml(module)) == "gpu0"
    assert _find(Nvml(module), CUDA_VISIBLE_DEVICES="0") == "gpu0"


def test_an_index_that_nvml_does_not_have_is_a_reason(module: Any) -> None:
    assert isinstance(_find(Nvml(module), CUDA_VISIBLE_DEVICES="7"), Unknown)


def test_a_mig_uuid_in_the_environment_names_the_slice(module: Any) -> None:
    found = find_gpu(
        Nvml(module),
        index=0,
        properties=SimpleNamespace(uuid="1111-2222"),
        environ={"CUDA_VISIBLE_DEVICES": "MIG-9999"},
    )
    assert isinstance(found, NvmlGpu)
    assert (found.handle, found.is_mig_slice) == ("handle of MIG-9999", True)


def test_a_uuid_that_pytorch_tells_may_be_that_of_a_slice(three: Nvml, module: Any) -> None:
    by_uuid = module.answers["nvmlDeviceGetHandleByUUID"]
    module.answers["nvmlDeviceGetHandleByUUID"] = lambda uuid: (
        "slice" if uuid == "MIG-9999" else by_uuid(uuid)
    )
    found = find_gpu(three, index=0, properties=SimpleNamespace(uuid="9999"), environ={})
    assert isinstance(found, NvmlGpu) and found.is_mig_slice and found.handle == "slice"


def test_a_gpu_cut_into_slices_is_never_asked_as_a_whole(module: Any, nvml_error: Any) -> None:
    def by_index(handle: str, index: int) -> str:
        if index == 0:
            raise nvml_error("NOT_FOUND")  # not of this container
        return f"slice {index} of {handle}"

    module.answers |= {
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetMaxMigDeviceCount": 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": by_index,
    }
    found = find_gpu(
        Nvml(module), index=0, properties=SimpleNamespace(uuid="1111-2222"), environ={}
    )
    assert isinstance(found, NvmlGpu) and found.is_mig_slice
    assert found.handle == "slice 1 of handle of GPU-1111-2222"


def test_a_gpu_cut_into_slices_that_cannot_be_seen_is_a_reason(module: Any) -> None:
    module.answers |= {"nvmlDeviceGetMigMode": [1, 1], "nvmlDeviceGetMaxMigDeviceCount": 7}
    found = _find(Nvml(module), properties=SimpleNamespace(uuid="1111-2222"))
    assert isinstance(found, Unknown) and "MIG" in found.reason


def test_a_slice_belongs_to_a_whole_gpu(module: Any) -> None:
    module.answers["nvmlDeviceGetDeviceHandleFromMigDeviceHandle"] = "parent"
    gpu = NvmlGpu(Nvml(module), "slice", is_mig_slice=True)
    assert gpu.whole_gpu() == NvmlGpu(gpu.nvml, "parent")


def test_gpus_that_cannot_be_opened_are_not_listed(three: Nvml, module: Any, nvml_error: Any):
    def by_index(index: int) -> str:
        if index == 1:
            raise nvml_error("GPU_IS_LOST")
        return f"gpu{index}"

    module.answers["nvmlDeviceGetHandleByIndex"] = by_index
    assert [gpu.handle for gpu in list_gpus(three)] == ["gpu0", "gpu2"]


@pytest.mark.parametrize(
    ("variable", "index", "entry"),
    [(None, 0, ""), ("", 0, ""), ("3", 0, "3"), ("3, 1", 1, "1"), ("3", 1, "")],
)
def test_an_entry_of_the_variable(variable: str | None, index: int, entry: str) -> None:
    assert visible_entry(variable, index) == entry
