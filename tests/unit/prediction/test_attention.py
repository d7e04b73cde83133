"""Which kernel of attention a card takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.prediction.attention import AttentionCall, AttentionKernel, choose_kernel

CALL = AttentionCall(
    dtype="bfloat16",
    num_dimensions=4,
    query_length=512,
    key_length=512,
    query_width=64,
    value_width=64,
    dropout=0.1,
)
NEW, OLD = (2, 13), (2, 6)


@pytest.mark.parametrize(
    ("changes", "capability", "kernel"),
    [
        ({}, (8, 0), "flash"),
        ({}, (9, 0), "flash"),  # cuDNN resolves dropout to a sixteenth
        ({"dropout": 0.0}, (9, 0), "cudnn"),
        ({"dropout": 0.125}, (10, 0), "cudnn"),
        ({"dropout": 0.0}, (8, 9), "flash"),
        ({"dropout": 0.0, "query_width": 65, "value_width": 65}, (9, 0), "flash"),
        ({"has_mask": True}, (8, 0), "efficient"),
        ({"dtype": "float32"}, (9, 0), "efficient"),
        ({"dtype": "float32"}, (7, 0), "efficient"),
        ({"dtype": "float16"}, (7, 5), "efficient"),
        ({}, (7, 5), "math"),  # it has no bfloat16
        ({"dtype": "float64"}, (8, 0), "math"),
        ({"query_width": 62, "value_width": 62, "dtype": "float32"}, (8, 0), "math"),
        ({"query_width": 62, "value_width": 62, "dtype": "float32"}, (7, 0), "efficient"),
        ({"query_width": 256, "value_width": 256}, (8, 0), "flash"),
        ({"query_width": 256, "value_width": 256}, (8, 6), "efficient"),
        ({"query_width": 256, "value_width": 256, "dropout": 0.0}, (8, 6), "flash"),
        ({"query_width": 264, "value_width": 264}, (8, 0), "efficient"),
        ({"is_causal": True, "key_length": 640}, (8, 0), "efficient"),
        ({"num_dimensions": 3}, (8, 0), "math"),
        ({"is_packed": False}, (8, 0), "math"),
    ],
)
def test_the_kernel_follows_the_call_and_the_card(
    changes: dict[str, object], capability: tuple[int, int], kernel: str
) -> None:
    call = replace(CALL, **changes)  # type: ignore[arg-type]
    assert choose_kernel(call, capability, NEW) is AttentionKernel(kernel)


def test_older_versions_do_not_prefer_cudnn() -> None:
    call = replace(CALL, dropout=0.0)
    assert choose_kernel(call, (9, 0), OLD) is AttentionKernel.FLASH
