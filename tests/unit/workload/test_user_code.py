"""Which frames are the user's, and what was called where none is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autobatch.probe.isolation.endings import to_failure
from autobatch.workload.contract import Workload
from autobatch.workload.loss import LossFunction
from autobatch.workload.user_code import describe, format_user_traceback


def _failure(model: nn.Module, batch: Any, **fields: Any) -> Any:
    """What the parent is told of an exception in one call of the loss."""
    function = LossFunction(Workload(model=model, **fields), model)
    with pytest.raises((RuntimeError, ValueError, LookupError)) as caught:
        function(model, batch)
    # Without the frame of this test, which would count as a user's.
    error = caught.value.with_traceback(caught.tb.tb_next)
    return to_failure(error, doing="in a trial at batch size 5")


def test_an_error_inside_of_the_model_of_a_library_shows_no_traceback_and_the_call() -> None:
    failure = _failure(nn.Linear(9, 3), (torch.zeros(5, 4), torch.zeros(5, 3)))
    assert failure.user_traceback == ""
    assert failure.message.startswith("RuntimeError in a trial at batch size 5: mat1 and mat2")
    assert failure.message.endswith("raised by model(a float32 tensor of shape (5, 4))")
    assert "traceback" not in failure.hint
    assert "the model and the data" in failure.hint


def test_an_error_inside_of_a_loss_of_pytorch_names_the_loss() -> None:
    failure = _failure(
        nn.Linear(4, 3), (torch.zeros(5, 4), torch.zeros(5, 7)), loss=nn.CrossEntropyLoss()
    )
    call = "loss(a float32 tensor of shape (5, 3), a float32 tensor of shape (5, 7))"
    assert failure.message.endswith(f"raised by {call}")
    assert "define loss(output, target)" in failure.hint


def test_a_model_in_half_precision_is_told_of_the_option() -> None:
    failure = _failure(nn.Linear(4, 3).bfloat16(), (torch.zeros(5, 4), torch.zeros(5, 3)))
    assert failure.hint == "leave the model in float32 and use `precision=bf16`"


def test_an_error_in_code_of_the_users_shows_where() -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise LookupError("no such layer")

    failure = _failure(Own(), torch.zeros(5, 4))
    assert 'raise LookupError("no such layer")' in failure.user_traceback
    assert failure.hint == "the traceback above shows where in your code it was raised"


def test_what_no_call_raised_is_no_fault_of_a_call() -> None:
    failure = to_failure(RuntimeError("a graph was freed"), doing="in a trial")
    assert failure.message == "RuntimeError in a trial: a graph was freed"
    assert "traceback above" not in failure.hint


def test_a_traceback_through_libraries_alone_is_empty() -> None:
    code = compile("1 / 0", "/usr/lib/python3/dist-packages/lib.py", "exec")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(code)
    assert format_user_traceback(caught.value) != ""  # this file is a user's
    assert format_user_traceback(caught.value.with_traceback(caught.tb.tb_next)) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "an int64 tensor of shape (2, 3)"),
        (torch.zeros(2), "a float32 tensor of shape (2,)"),
        ({"boxes": 1, "labels": 2}, "a dict of boxes, labels"),
        ((1, 2), "a tuple of 2"),
        (None, "None"),
        (3, "an int"),
    ],
)
def test_values_are_described_in_english(value: Any, text: str) -> None:
    assert describe(value) == text
