"""Training on an NVIDIA GPU: its memory is limited and read, and its steps are timed late.

Nothing here waits for the GPU, or makes CUDA start. What must be done as it starts is queued, as
PyTorch does with seeds. A step ends when the GPU has done it, and the script is far ahead by then:
each end is marked in the GPU's queue of work, and told once the GPU has passed the mark.

    script    O1   O2   O3            O4          ends of steps, with the number of their mark
    GPU            ---1-----2-----3-----4         passes the marks
    told                 T1      T2,T3            number of the mark, and when it was passed
"""

from __future__ import annotations

from collections import deque
from typing import Any

_READ_INTERVAL_S = 0.05


class Gpu:
    """Watches the GPU that a process trains on, if it does.

    Args:
        torch: The module.
        line: To autobatch. Its configuration has the limit and the fraction to keep free.
        is_watched: Whether the script is inside a call that is watched for errors.
    """

    def __init__(self, torch: Any, line: Any, is_watched: Any) -> None:
        self._torch, self._line, self._is_watched = torch, line, is_watched
        self._cuda: Any = torch.cuda
        self._index: int | None = None
        self._limited: set[int] = set()
        self._waiting: deque[tuple[int, Any]] = deque()
        self._num_marks = 0
        self._passed: Any = None
        self._passed_s = 0.0
        self._read_s = 0.0

    def install(self) -> None:
        """Queue what is to be done when the script makes CUDA start."""
        self._cuda._lazy_call(self._start)

    def use(self, device: Any) -> None:
        """Learn on which device a model lies, before it is trained there."""
        if device.type != "cuda" or self._index is not None:
            return
        self._index = self._cuda.current_device() if device.index is None else device.index
        self._safely(self._limit, self._index)

    def mark(self) -> tuple[int, ...]:
        """Mark this moment in the GPU's work; the number of the mark, or nothing without a GPU."""
        if self._index is None:
            return ()
        number = self._num_marks
        self._safely(self._mark)
        return (self._num_marks,) if self._num_marks > number else ()

    def begin_anew(self) -> None:
        """Give cached memory back between two sizes, and begin a new peak."""
        if self._index is not None:
            self._cuda.empty_cache()
            self._cuda.reset_peak_memory_stats(self._index)
            self._read_s = 0.0

    def _safely(self, act: Any, *args: Any) -> None:
        """Do something whose failure is autobatch's to know, and not the script's."""
        try:
            act(*args)
        except Exception as error:
            self._line.say("failed", [[type(error).__name__, str(error)[:300]]], at_once=True)

    def _start(self) -> None:
        # The script has mostly chosen its GPU by now. Others would get a context by a limit.
        self._safely(self._limit, self._cuda.current_device())
        attach = getattr(self._torch._C, "_cuda_attach_out_of_memory_observer", None)
        if attach is not None:
            attach(self._observe)

    def _mark(self) -> None:
        if self._cuda.is_current_stream_capturing():  # into a graph, which would keep the mark
            return
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._index))
        self._num_marks += 1
        self._waiting.append((self._num_marks, event))
        self._tell()

    def _limit(self, index: int) -> None:
        if index in self._limited:
            return
        self._limited.add(index)
        cuda, config = self._cuda, self._line.config
        free_bytes, total_bytes = cuda.mem_get_info(index)
        available_bytes = free_bytes + cuda.memory_reserved(index)
        kept_fraction, limit_bytes = config["headroom_fraction"], config["limit_bytes"]
        budget_bytes = available_bytes - kept_fraction * total_bytes
        if limit_bytes is not None:
            budget_bytes = min(budget_bytes, (1 - kept_fraction) * limit_bytes)
        fraction = min(1.0, max(0.0, budget_bytes / total_bytes))
        cuda.set_per_process_memory_fraction(fraction, index)
        name = str(cuda.get_device_name(index))
        self._line.introduce("gpu", index, name, total_bytes, available_bytes)

    def _observe(self, device: int, wanted: int, *account: int) -> None:
        """Called by the allocator when memory has run out for good, also where the error is caught.

        cuDNN tries algorithms that need more than there is, in calls that are watched anyway.
        """
        if not self._is_watched():
            text = f"CUDA out of memory. Tried to allocate {wanted} bytes"
            chain = [["OutOfMemoryError", text]]
            self._line.say("out_of_memory", self._line.now(), "the script", chain, at_once=True)
            self._line.hold()

    def _tell(self) -> None:
        """Report the marks that the GPU has passed; does not wait for any."""
        while self._waiting and self._waiting[0][1].query():
            number, event = self._waiting.popleft()
            if self._passed is None:
                self._passed_s = self._line.now()
            else:
                self._passed_s += self._passed.elapsed_time(event) / 1000
            self._passed = event
            self._line.say("T", number, self._passed_s)
        if self._line.now() - self._read_s > _READ_INTERVAL_S:
            self._read_s = self._line.now()
            cuda, index = self._cuda, self._index
            free_bytes, _ = cuda.mem_get_info(index)
            self._line.say(
                "gpu_memory",
                cuda.max_memory_reserved(index),
                cuda.max_memory_allocated(index),
                cuda.memory_reserved(index),
                free_bytes,
            )
