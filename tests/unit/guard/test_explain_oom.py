"""What an out-of-memory error leaves behind, and what is read from it."""

from __future__ import annotations

import sys
import weakref

import pytest
import torch
from torch import nn

import autobatch
from autobatch.guard.explain import estimate_size, explain
from autobatch.guard.guard import _add_explanation
from autobatch.guard.memory import Held, describe_output, read_asked_bytes, read_device_name
from autobatch.guard.scene import Scene, read_scene
from autobatch.records import MemoryBound

GIB = 2**30
CUDA = (
    "CUDA out of memory. Tried to allocate 22.00 MiB. GPU 1 has a total capacity of 23.65 GiB of "
    "which 11.06 MiB is free. Including non-PyTorch memory, this process has 23.60 GiB memory in "
    "use."
)
has_notes = pytest.mark.skipif(sys.version_info < (3, 11), reason="no notes before Python 3.11")


@has_notes
def test_an_exception_of_another_kind_passes_without_a_word() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 9x2)")
    with pytest.raises(RuntimeError) as caught, autobatch.explain_oom():
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


@has_notes
def test_the_words_of_a_gpu_are_read() -> None:
    model = nn.Linear(3, 5)
    error = torch.OutOfMemoryError(CUDA)

    def fail(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        raise error

    model.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError) as caught, autobatch.explain_oom():
        model(torch.zeros(16, 3))
    assert caught.value is error
    [note] = error.__notes__
    assert "22.0 MiB in the forward pass of Linear\n" in note
    assert "16x3 float32 (192 B)" in note
    assert read_asked_bytes(error) == 22 * 2**20
    assert read_device_name(error, model) == "cuda:1"


@has_notes
def test_two_blocks_explain_once() -> None:
    with pytest.raises(MemoryError) as caught, autobatch.explain_oom(), autobatch.explain_oom():
        raise MemoryError
    assert len(caught.value.__notes__) == 1


@has_notes
def test_where_it_cannot_explain_the_error_still_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> str:
        raise ValueError("a lazy attribute")

    monkeypatch.setattr("autobatch.guard.guard.explain", fail)
    error = MemoryError()
    _add_explanation(error)
    [note] = error.__notes__
    assert note.endswith("no explanation, ValueError: a lazy attribute")


def test_what_a_block_has_looked_at_is_freed_for_the_next_attempt() -> None:
    batch = torch.zeros(4)
    seen = weakref.ref(batch)
    try:
        with autobatch.explain_oom():
            raise MemoryError
    except MemoryError:
        pass
    del batch
    assert seen() is None


def test_an_error_that_memory_led_to_is_explained_by_the_first() -> None:
    error = ValueError("a step failed")
    error.__cause__ = RuntimeError("can't allocate memory: you tried to allocate 1073741824 bytes.")
    assert "being made  1.0 GiB\n" in (explain(error) or "")
    error.__cause__ = RuntimeError("shapes cannot be multiplied")
    assert explain(error) is None


def test_a_hook_of_the_user_does_not_run_again_for_the_shape() -> None:
    model, batch, calls = nn.Linear(3, 5), torch.zeros(16, 3), []
    scene = Scene(
        model=model,
        optimizer=None,
        stepping=None,
        is_backward=False,
        running=model,
        arguments=((batch,), {}),
        batch_size=16,
    )
    assert describe_output(scene, 16 * 5 * 4) == "16x5 float32"
    assert describe_output(scene, 16 * 5 * 4 + 1) is None
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert describe_output(scene, 16 * 5 * 4) is None
    assert calls == []


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 512 bytes.", 512),
        ("Unable to allocate 763. MiB for an array with shape (1, 2)", 763 * 2**20),
        ("unable to mmap 4096 bytes from file </torch_1>: Cannot allocate memory (12)", 4096),
        ("std::bad_alloc", None),
    ],
)
def test_the_size_is_read_from_each_allocators_words(text: str, num_bytes: int | None) -> None:
    assert read_asked_bytes(RuntimeError(text)) == num_bytes


def held(*, fixed_bytes: int, own_bytes: int | None, available_bytes: int) -> Held:
    return Held(
        weight_bytes=0,
        gradient_bytes=0,
        optimizer_bytes=0,
        fixed_bytes=fixed_bytes,
        own_bytes=own_bytes,
        bound=MemoryBound.of("memory", 8 * GIB, available_bytes),
    )


@pytest.mark.parametrize(
    ("fixed_gib", "own_gib", "asked_gib", "size"),
    [
        (2, 7, 3, 32),  # 64 samples need 8 GiB beside 2, 6 are there: 48, rounded down
        (8, 8, 1, 0),  # nothing is left for samples
        (2, 4, 1, None),  # it would have fitted: fragments, or memory freed since
        (2, None, 1, None),
    ],
)
def test_the_estimate_is_in_proportion_above_the_fixed_part(
    fixed_gib: int, own_gib: int | None, asked_gib: int, size: int | None
) -> None:
    own_bytes = None if own_gib is None else own_gib * GIB
    there = held(fixed_bytes=fixed_gib * GIB, own_bytes=own_bytes, available_bytes=8 * GIB)
    assert estimate_size(64, there, asked_gib * GIB) == size


def test_inputs_that_disagree_tell_no_batch_size() -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    model = nn.Bilinear(3, 3, 2)
    model.register_forward_pre_hook(fail)
    sizes = []
    for second in (16, 8):
        with pytest.raises(MemoryError) as caught:
            model(torch.zeros(16, 3), torch.zeros(second, 3))
        sizes.append(read_scene([caught.value.__traceback__]).batch_size)
    assert sizes == [16, None]


def test_a_closure_that_an_optimizer_calls_is_not_its_step() -> None:
    def fail() -> float:
        raise MemoryError

    optimizer = torch.optim.SGD(nn.Linear(3, 5).parameters())
    with pytest.raises(MemoryError) as caught:
        optimizer.step(fail)
    assert read_scene([caught.value.__traceback__]).stepping is None
