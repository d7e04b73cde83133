"""The hook's part on a GPU, on a stand-in for ``torch.cuda`` that the test drives."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autobatch.command

GIB = 2**30
TOTAL, FREE = 100 * GIB, 90 * GIB
GPU = SimpleNamespace(type="cuda", index=0)


class Held(BaseException):
    """The process waits to be killed."""


class StandInLine:
    """What is said, and a clock that the test moves."""

    def __init__(self, limit_bytes: int | None) -> None:
        self.config = {"headroom_fraction": 0.05, "limit_bytes": limit_bytes}
        self.said: list[tuple[Any, ...]] = []
        self.now_s = 10.0

    def now(self) -> float:
        return self.now_s

    def say(self, *event: Any, at_once: bool = False) -> None:
        self.said.append(event)

    introduce = say

    def hold(self) -> None:
        raise Held

    def words(self, word: str) -> list[tuple[Any, ...]]:
        return [event for event in self.said if event[0] == word]


class StandInCuda:
    """``torch.cuda`` of one GPU. A call that would wait for the GPU, or is not expected, fails."""

    def __init__(self) -> None:
        self.queued: list[Callable[[], None]] = []
        self.fractions: dict[int, float] = {}
        self.done_until_s = 0.0
        self.work_s = 0.0
        self.calls: list[str] = []
        self.reserved, self.is_capturing = 3 * GIB, False

    def _lazy_call(self, call: Callable[[], None]) -> None:
        self.queued.append(call)

    def start(self) -> None:
        for call in self.queued:
            call()

    def current_device(self) -> int:
        return 0

    def mem_get_info(self, index: int) -> tuple[int, int]:
        self.calls.append("mem_get_info")
        return FREE, TOTAL

    def get_device_name(self, index: int) -> str:
        return f"GPU {index}"

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self.fractions[index] = fraction

    def memory_reserved(self, index: int) -> int:
        return 0

    def max_memory_reserved(self, index: int) -> int:
        return self.reserved

    def max_memory_allocated(self, index: int) -> int:
        return self.reserved // 2

    def is_current_stream_capturing(self) -> bool:
        return self.is_capturing

    def current_stream(self, index: int) -> str:
        return f"stream of {index}"

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")

    def reset_peak_memory_stats(self, index: int) -> None:
        self.calls.append("reset_peak")

    def Event(self, enable_timing: bool) -> StandInEvent:  # noqa: N802 - PyTorch's name
        assert enable_timing
        return StandInEvent(self)


class StandInEvent:
    def __init__(self, cuda: StandInCuda) -> None:
        self._cuda = cuda

    def record(self, stream: str) -> None:
        assert stream == "stream of 0"
        self.at_s = self._cuda.work_s

    def query(self) -> bool:
        return self.at_s <= self._cuda.done_until_s

    def elapsed_time(self, later: StandInEvent) -> float:
        return 1000 * (later.at_s - self.at_s)


class Scene:
    def __init__(self, limit_bytes: int | None = None) -> None:
        self.cuda, self.line = StandInCuda(), StandInLine(limit_bytes)
        self.observers: list[Callable[..., None]] = []
        self.is_watched = False
        torch = SimpleNamespace(
            cuda=self.cuda,
            _C=SimpleNamespace(_cuda_attach_out_of_memory_observer=self.observers.append),
        )
        path = Path(autobatch.command.__file__).parent / "hook" / "gpu.py"
        spec = importlib.util.spec_from_file_location("hook_gpu", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.gpu = module.Gpu(torch, self.line, lambda: self.is_watched)
        self.gpu.install()


@pytest.mark.parametrize(("limit_bytes", "fraction"), [(None, 0.85), (50 * GIB, 0.475)])
def test_nothing_is_asked_of_cuda_before_the_script_makes_it_start(
    limit_bytes: int | None, fraction: float
) -> None:
    scene = Scene(limit_bytes)
    assert scene.cuda.calls == [] and scene.cuda.fractions == {}
    scene.cuda.start()
    assert scene.cuda.fractions == {0: pytest.approx(fraction)}
    assert scene.line.said == [("gpu", 0, "GPU 0", TOTAL, FREE)]


def test_another_gpu_is_limited_once_a_model_lies_there() -> None:
    scene = Scene()
    scene.cuda.start()
    scene.gpu.use(SimpleNamespace(type="cuda", index=3))
    scene.gpu.use(SimpleNamespace(type="cuda", index=2))  # the training is on the first
    assert set(scene.cuda.fractions) == {0, 3}


def test_a_model_on_the_cpu_leaves_no_marks() -> None:
    scene = Scene()
    scene.gpu.use(SimpleNamespace(type="cpu", index=None))
    assert scene.gpu.mark() == ()
    assert scene.cuda.calls == []


def test_ends_of_steps_are_told_when_the_gpu_has_come_to_them() -> None:
    scene = Scene()
    scene.cuda.start()
    scene.gpu.use(GPU)
    for number in (1, 2, 3):  # the script is far ahead
        scene.cuda.work_s += 0.5
        assert scene.gpu.mark() == (number,)
    assert scene.line.words("T") == []
    scene.cuda.done_until_s, scene.line.now_s = 1.0, 11.0
    scene.cuda.work_s += 0.25
    scene.gpu.mark()
    assert scene.line.words("T") == [("T", 1, 11.0), ("T", 2, 11.5)]
    scene.cuda.done_until_s = 2.0
    scene.gpu.mark()
    assert scene.line.words("T")[2:] == [
        ("T", 3, 12.0),
        ("T", 4, pytest.approx(12.25)),
        ("T", 5, pytest.approx(12.25)),
    ]


def test_memory_is_read_beside_and_not_at_every_step() -> None:
    scene = Scene()
    scene.gpu.use(GPU)
    scene.gpu.mark()
    scene.gpu.mark()
    told = ("gpu_memory", 3 * GIB, 3 * GIB // 2, 0, FREE)
    assert scene.line.words("gpu_memory") == [told]
    scene.line.now_s += 0.06
    scene.gpu.mark()
    assert scene.line.words("gpu_memory") == [told, told]


def test_another_size_begins_with_an_empty_cache_and_a_new_peak() -> None:
    scene = Scene()
    scene.gpu.begin_anew()
    assert scene.cuda.calls == []
    scene.gpu.use(GPU)
    scene.gpu.mark()
    scene.gpu.begin_anew()
    assert scene.cuda.calls[-2:] == ["empty_cache", "reset_peak"]
    scene.gpu.mark()
    assert len(scene.line.words("gpu_memory")) == 2


def test_nothing_is_marked_while_work_goes_into_a_graph() -> None:
    scene = Scene()
    scene.gpu.use(GPU)
    scene.cuda.is_capturing = True
    assert scene.gpu.mark() == ()


def test_memory_that_runs_out_where_nothing_is_watched_holds_the_script() -> None:
    scene = Scene()
    scene.cuda.start()
    (observe,) = scene.observers
    scene.is_watched = True
    observe(0, 2**31, 1, 2)  # an algorithm of cuDNN that was only tried, or an error that is seen
    assert scene.line.words("out_of_memory") == []
    scene.is_watched = False
    with pytest.raises(Held):
        observe(0, 2**31, 1, 2)
    ((_, _, where, ((name, text),)),) = scene.line.words("out_of_memory")
    assert (where, name) == ("the script", "OutOfMemoryError")
    assert text == "CUDA out of memory. Tried to allocate 2147483648 bytes"


def test_what_fails_here_does_not_reach_the_script() -> None:
    scene = Scene()

    def fail(*_: object) -> None:
        raise RuntimeError("driver shut down")

    scene.cuda.mem_get_info = fail  # type: ignore[assignment, method-assign]
    scene.cuda.start()
    scene.gpu.use(GPU)
    assert scene.gpu.mark() == (1,)
    assert ("failed", [["RuntimeError", "driver shut down"]]) in scene.line.said
