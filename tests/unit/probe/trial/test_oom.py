"""Messages about memory, word for word as they were reported, and others that only look alike."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy
import pytest
import torch
from torch.utils.data import DataLoader

from autobatch.probe.trial.oom import is_out_of_memory

# Each with where the text was read.
OUT_OF_MEMORY = [
    # https://github.com/pytorch/pytorch/issues/16417, torch.cuda.OutOfMemoryError
    "CUDA out of memory. Tried to allocate 22.00 MiB. GPU 0 has a total capacity of 23.65 GiB of "
    "which 11.06 MiB is free. Including non-PyTorch memory, this process has 23.60 GiB memory in "
    "use. Of the allocated memory 22.90 GiB is allocated by PyTorch, and 194.87 MiB is reserved by "
    "PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation "
    "for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)",
    # https://github.com/pytorch/pytorch/issues/59778, a plain RuntimeError up to PyTorch 1.12
    "CUDA out of memory. Tried to allocate 2.26 GiB (GPU 0; 6.00 GiB total capacity; 781.59 MiB "
    "already allocated; 3.03 GiB free; 1.24 GiB reserved in total by PyTorch) ",
    # https://github.com/kijai/ComfyUI-WanVideoWrapper/issues/565, from the driver itself
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other "
    "API call, so the stacktrace below might be incorrect.\nFor debugging consider passing "
    "CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
    # https://github.com/Comfy-Org/ComfyUI/issues/9529, AMD
    "HIP out of memory. Tried to allocate 432.00 MiB. GPU 0 has a total capacity of 15.92 GiB of "
    "which 7.12 GiB is free. Of the allocated memory 8.08 GiB is allocated by PyTorch, and 321.96 "
    "MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try "
    "setting PYTORCH_HIP_ALLOC_CONF=expandable_segments:True to avoid fragmentation.",
    # https://github.com/KupynOrest/DeblurGAN/issues/128
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    # the names of cuDNN 9 (cudnn_graph_v9.h, 4003 and 4004)
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    # https://github.com/open-mmlab/mmaction2/issues/493: "my gpu memory was getting full"
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
    "non-contiguous input.",
    # https://github.com/deepakn97/relationPrediction/issues/37
    "Unable to find a valid cuDNN algorithm to run convolution (try_all at "
    "/opt/conda/conda-bld/pytorch_1591914868920/work/aten/src/ATen/native/cudnn/Conv.cpp:693)",
    # https://github.com/yuanzhoulvpi2017/zero_nlp/issues/5, its successor in PyTorch 2:
    # the same model under 1.13 says OutOfMemoryError
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    # https://github.com/Lornatang/RFB_ESRGAN-PyTorch/issues/5
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    # https://github.com/EleutherAI/lm-evaluation-harness/issues/1689: no room for its workspace
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    # https://github.com/pytorch/pytorch/issues/112377, MIG slices
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED at "
    '"/opt/conda/conda-bld/pytorch_1695392020201/work/c10/cuda/CUDACachingAllocator.cpp":1154, '
    "please report a bug to PyTorch. ",
    # https://github.com/fal-ai/fal/pull/478
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":830, '
    "please report a bug to PyTorch. ",
    # https://github.com/pytorch/pytorch/issues/112950
    "NVML_SUCCESS == DriverAPI::get()->nvmlDeviceGetHandleByPciBusId_v2_( pci_id, &nvml_device) "
    'INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":815, please report a bug to '
    "PyTorch.",
    # aten/src/ATen/cuda/detail/CUFFTPlanCache.h's error with cuFFT's name of 2
    "cuFFT error: CUFFT_ALLOC_FAILED",
    # https://github.com/mxfold/mxfold2/issues/20, Linux
    "[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 132426121216 bytes. Error code 12 (Cannot allocate memory)",
    # https://github.com/HaoMood/blinear-cnn-faster/issues/4, Linux, PyTorch 1.5
    "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 6576668672 bytes. Error code 12 (Cannot allocate memory)",
    # https://github.com/Comfy-Org/Nvidia_RTX_Nodes_ComfyUI/issues/13, Windows
    "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried "
    "to allocate 31850496000 bytes.",
    # https://github.com/varunagrawal/tiny-faces-pytorch/issues/12, Windows, PyTorch 1.3
    "[enforce fail at ..\\c10\\core\\CPUAllocator.cpp:72] data. DefaultCPUAllocator: not enough "
    "memory: you tried to allocate 113246208 bytes. Buy new RAM!",
    # https://github.com/pytorch/pytorch/issues/130112, Apple
    "MPS backend out of memory (MPS allocated: 5.50 GB, other allocations: 14.76 GB, max allowed: "
    "20.40 GB). Tried to allocate 147.24 MB on private pool. Use "
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations (may cause "
    "system failure).",
    # https://github.com/intel/torch-xpu-ops/issues/1324, Intel
    "XPU out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 16.50 GiB. Of "
    "the allocated memory 16.50 GiB is allocated by PyTorch, and 0 bytes is reserved by PyTorch "
    "but unallocated. Please use `empty_cache` to release all unoccupied cached memory.",
    # https://github.com/intel/torch-xpu-ops/issues/1170, Intel
    "UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    # the neighbours of that one in ur_api.h, in the same sentence
    "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "level_zero backend failed with error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
    # oneDNN's texts in libtorch_cpu.so of PyTorch 2.13
    "could not create a primitive",
    "could not create a memory object",
    # https://github.com/uxlfoundation/oneDNN/issues/914: "out-of-memory situations"
    "could not execute a primitive",
    # what() of the C++ exception, as pybind11 and torch pass it on
    "std::bad_alloc",
    # https://github.com/pytorch/pytorch/issues/8976
    "DataLoader worker (pid 1817) is killed by signal: Killed. ",
    # https://github.com/hkchengrex/STCN/issues/132
    "DataLoader worker (pid 46794) is killed by signal: Bus error. It is possible that "
    "dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
    # https://github.com/open-mmlab/mmpose/issues/2264
    "unable to mmap 136 bytes from file <filename not specified>: Cannot allocate memory (12)",
    # libc10.so of PyTorch 2.13, with its spelling
    "$ Torch: unable to mmap memory: you tried to mmap 4GB.",
    # https://github.com/idiap/ESLAM/issues/20: /dev/shm is full
    "unable to write to file </torch_31911_952036340_6686>: No space left on device (28)",
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY, ids=lambda message: message[:60])
def test_a_message_of_an_allocator_is_out_of_memory(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


# Errors that a smaller batch does not help against.
OTHER = [
    "mat1 and mat2 shapes cannot be multiplied (8x784 and 512x10)",
    "The size of tensor a (32) must match the size of tensor b (31) at non-singleton dimension 0",
    # https://github.com/Fictionarry/TalkingGaussian/issues/56
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k, "
    "&alpha, a, lda, b, ldb, &beta, c, ldc)`",
    # https://github.com/jadore801120/attention-is-all-you-need-pytorch/issues/193
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, "
    "k, &alpha, a, lda, b, ldb, &beta, c, ldc)`",
    # https://github.com/mjq11302010044/TATT/issues/18
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    # https://github.com/yukkyo/PyTorch-FilterResponseNormalizationLayer/issues/4
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: no kernel image is available for execution on the device",
    # https://github.com/netease-youdao/EmotiVoice/issues/58: no such operation, however small
    "could not create a primitive descriptor for a matmul primitive",
    # libtorch_cpu.so of PyTorch 2.13
    "could not create a primitive descriptor for the LSTM forward propagation primitive. Run "
    "workload with environment variable ONEDNN_VERBOSE=all to get additional diagnostic "
    "information.",
    "could not create a memory descriptor from blob",
    # https://github.com/pytorch/pytorch/issues/4507
    "DataLoader worker (pid 23616) is killed by signal: Terminated. ",
    # https://github.com/MhLiao/DB/issues/94
    "DataLoader worker (pid 25902) is killed by signal: Segmentation fault. ",
    "Expected more than 1 value per channel when training, got input size torch.Size([1, 8])",
    "Tensor for argument weight is on cpu but expected on cuda: memory formats differ",
    "",
]


@pytest.mark.parametrize("message", OTHER, ids=lambda message: message[:60])
def test_a_message_about_something_else_is_not(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("out of memory"),
        ValueError("the patient is out of memory"),
        AttributeError("'Buffer' object has no attribute 'out of memory'"),
        AssertionError("out of memory"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "data.bin"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/checkpoint.pt"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_no_allocator_raises_is_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_systems_own_error_is_out_of_memory() -> None:
    assert is_out_of_memory(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))


def test_torchs_own_class_is_whatever_it_says() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("anything"))


def _from(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it is what is tested
        call()
    return caught.value


def test_torch_asked_for_too_much_is_out_of_memory() -> None:
    error = _from(lambda: torch.empty(2**47))
    assert "DefaultCPUAllocator" in str(error)
    assert is_out_of_memory(error)


def test_numpy_asked_for_too_much_is_out_of_memory() -> None:
    error = _from(lambda: numpy.ones(10**13))
    assert type(error).__qualname__ == "_ArrayMemoryError"
    assert is_out_of_memory(error)


def test_python_asked_for_too_much_is_out_of_memory() -> None:
    error = _from(lambda: bytearray(2**47))
    assert type(error) is MemoryError
    assert is_out_of_memory(error)


def test_a_real_mismatch_of_shapes_is_not() -> None:
    assert not is_out_of_memory(_from(lambda: torch.nn.Linear(3, 2)(torch.zeros(5, 4))))


def _collate_too_much(samples: list[object]) -> object:
    return numpy.ones(10**13)


def _be_killed(samples: list[object]) -> object:
    os.kill(os.getpid(), 9)
    return samples


def test_a_loader_worker_that_asks_for_too_much_is_out_of_memory() -> None:
    loader = DataLoader([1, 2], num_workers=1, collate_fn=_collate_too_much)
    assert is_out_of_memory(_from(lambda: next(iter(loader))))


def test_a_loader_worker_that_the_kernel_killed_is_out_of_memory() -> None:
    loader = DataLoader([1, 2], num_workers=1, collate_fn=_be_killed)
    error = _from(lambda: next(iter(loader)))
    assert "killed by signal: Killed" in f"{error} {error.__cause__}"
    assert is_out_of_memory(error)


def test_an_error_raised_because_memory_ran_out_is_out_of_memory() -> None:
    def wrapped() -> None:
        try:
            torch.empty(2**47)
        except RuntimeError as error:
            raise ValueError("forward failed") from error

    assert is_out_of_memory(_from(wrapped))


def test_an_error_while_handling_that_memory_ran_out_is_out_of_memory() -> None:
    def wrapped() -> None:
        try:
            torch.empty(2**47)
        except RuntimeError:
            raise ValueError("forward failed")  # noqa: B904 - the implicit context is the point

    assert is_out_of_memory(_from(wrapped))


def test_a_chain_of_errors_without_end_is_followed_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)
