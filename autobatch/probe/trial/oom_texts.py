"""What allocators print when memory runs out, as one pattern; needs no PyTorch.

Every allocator words it differently. The texts are parts of messages as their sources print them;
``tests/unit/probe/trial/test_oom.py`` holds whole messages with where they come from.
"""

from __future__ import annotations

_TEXTS = (
    r"out of memory",
    r"can't allocate memory",
    r"not enough memory: you tried to allocate",
    r"cannot allocate memory",
    r"unable to allocate",
    r"std::bad_alloc",
    r"bad allocation",
    r"CU(?:DNN|BLAS|FFT|SPARSE|SOLVER)_(?:STATUS_)?(?:INTERNAL_ERROR_)?ALLOC_FAILED",
    # cuBLAS takes its workspace when its handle is made.
    r"CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
    # Where NVML does not know the device (MIG, vGPU, Jetson, gVisor), the allocator's own words for
    # out of memory fail on the way.
    r"NVML_SUCCESS == .*INTERNAL ASSERT FAILED at \S*CUDACachingAllocator",
    r"CUDNN_STATUS_INTERNAL_ERROR_(?:HOST|DEVICE)_ALLOCATION_FAILED",
    r"CUDNN_STATUS_NOT_SUPPORTED\. This error may appear if you passed in a non-contiguous",
    r"unable to find a valid cuDNN algorithm|(?:FIND|GET) was unable to find an engine",
    r"HIP(?:BLAS|FFT)_STATUS_ALLOC_FAILED|MIOPEN_STATUS_ALLOC_FAILED",
    r"UR_RESULT_ERROR_OUT_OF_(?:DEVICE|HOST|RESOURCES)",
    r"could not create a memory object",
    r"could not (?:create|execute) a primitive(?! descriptor)",
    r"could not allocate",
    r"DataLoader worker \(pid \d+\) is killed by signal: (?:Killed|Bus error)",
    r"unable to mmap (?:\d+ bytes|memory)|unable to allocate shared memory",
    r"unable to write to file </torch_",
    r"insufficient shared memory",
)
#: To be searched without regard to case.
OUT_OF_MEMORY = "|".join(_TEXTS)
