"""Errors after which a process can use its GPU no more.

Most errors of a GPU end with the call that raised them. After these every further call of the
process fails in the same way, whatever it does, until the process is replaced: CUDA keeps the
error with the context ("sticky" errors, CUDA runtime API, section on error handling). The texts
are those of ``cudaGetErrorString`` and its like, which PyTorch puts into its messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autobatch.errors import error_chain, message_of

_TEXTS = (
    r"device-side assert",
    r"illegal memory access",
    r"illegal instruction",
    r"misaligned address",
    r"invalid program counter",
    r"operation not supported on global/shared address space",
    r"invalid address space",
    r"hardware stack error",
    r"unspecified launch failure",
    r"launch timed out and was terminated",
    r"(?:CUDA|HIP) error: unknown error",
    r"uncorrectable (?:ECC|NVLink) error",
    r"contained memory error",
    r"GPU is lost|device (?:is|was) lost|UR_RESULT_ERROR_DEVICE_LOST",
    r"hipErrorIllegalAddress|hipErrorLaunchFailure|hipErrorAssert",
    r"cudaErrorIllegalAddress|cudaErrorLaunchFailure|cudaErrorAssert",
)
_PATTERN = re.compile("|".join(_TEXTS), re.IGNORECASE)


def is_sticky(error: BaseException) -> bool:
    """Whether an exception, or one that led to it, says that the process must be replaced.

    Out of memory is never sticky. Only ``RuntimeError`` and its kin are looked at, PyTorch's
    ``AcceleratorError`` among them: user code that merely quotes such a text raises others.
    """
    return any(
        isinstance(each, RuntimeError) and _PATTERN.search(message_of(each))
        for each in error_chain(error)
    )


@contextmanager
def undo_at_end(undo: Callable[[], object]) -> Iterator[None]:
    """Undo something at the end, unless an error has left the device beyond use by then.

    What would touch the device after such an error raises it a second time, and hides the first.
    """
    try:
        yield
    except BaseException as error:
        if not is_sticky(error):
            undo()
        raise
    undo()
