"""What operators compute and move."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from autobatch.prediction.tracing import arithmetic
from autobatch.prediction.work import Operation, WorkKind


class Watch(TorchDispatchMode):
    """Describes what runs inside, on the CPU as if it were a GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, Operation]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = arithmetic.describe_operation(func, args, kwargs or {}, result, is_update=False)
        if made is not None:
            self.seen.append((func.overloadpacket.__name__, made))
        return result


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(arithmetic, "_DEVICE", "cpu")
    return Watch()


def flops_of(watch: Watch) -> int:
    return sum(each.num_flops for _, each in watch.seen)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Conv2d(8, 16, 3, stride=2, bias=False),
        nn.ConvTranspose2d(8, 16, 2, stride=2),
        nn.Conv1d(8, 16, 5),
    ],
    ids=["same", "stride", "transposed", "1d"],
)
def test_dense_convolutions_count_as_those_of_pytorch(watch: Watch, layer: nn.Module) -> None:
    shape = (2, 8, 9) if isinstance(layer, nn.Conv1d) else (2, 8, 9, 9)
    data = torch.randn(shape, requires_grad=True)
    with watch:
        layer(data).sum().backward()
    with FlopCounterMode(display=False) as counter:
        layer(data).sum().backward()
    assert flops_of(watch) == counter.get_total_flops() > 0
    kinds = {each.kind for _, each in watch.seen}
    assert {WorkKind.CONVOLUTION, WorkKind.CONVOLUTION_GRADIENT} <= kinds


@pytest.mark.parametrize(("groups", "kind"), [(4, WorkKind.GROUPED), (16, WorkKind.DEPTHWISE)])
def test_gradients_of_grouped_convolutions_take_twice_the_forward_pass(
    watch: Watch, groups: int, kind: WorkKind
) -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=groups, bias=False)
    data = torch.randn(2, 16, 8, 8, requires_grad=True)
    with watch:
        layer(data).sum().backward()
    forward, backward = (each for name, each in watch.seen if name.startswith("convolution"))
    assert forward.kind is kind
    assert forward.num_flops == 2 * (2 * 16 * 8 * 8) * (16 // groups * 9)
    assert backward.num_flops == 2 * forward.num_flops


def test_pytorch_still_counts_gradients_of_grouped_weights_too_high() -> None:
    """Its counter can be used for convolutions once this fails."""
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    data = torch.randn(2, 16, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(data)
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        layer(data).sum().backward()
    assert counter.get_total_flops() - forward == (1 + 16) * forward


def test_a_first_layer_has_no_gradient_for_its_input(watch: Watch) -> None:
    layer = nn.Conv2d(3, 8, 3, bias=False)
    with watch:
        layer(torch.randn(2, 3, 8, 8)).sum().backward()
    forward, backward = (each for name, each in watch.seen if name.startswith("convolution"))
    assert backward.num_flops == forward.num_flops


def test_views_and_empty_tensors_take_nothing_and_others_what_they_move(watch: Watch) -> None:
    data = torch.randn(4, 6)
    with watch:
        data.view(2, 12).transpose(0, 1)
        torch.empty(5)
        torch.relu(data)
        data.add_(1)
        data.sum()
        data.to(torch.float16)
        data @ data.t()
        torch.softmax(data, -1)
    kinds = [(name, each.kind, each.num_bytes, each.num_flops) for name, each in watch.seen]
    assert kinds == [
        ("relu", WorkKind.POINTWISE, 2 * 96, 0),
        ("add_", WorkKind.POINTWISE, 2 * 96, 0),
        ("sum", WorkKind.REDUCTION, 96 + 4, 0),
        ("_to_copy", WorkKind.COPY, 96 + 48, 0),
        ("mm", WorkKind.PRODUCT, 2 * 96 + 64, 2 * 4 * 6 * 4),
        ("_softmax", WorkKind.REDUCTION, 2 * 96, 0),
    ]


def test_what_multiplies_depends_on_type_and_switches(watch: Watch) -> None:
    assert not torch.backends.cuda.matmul.allow_tf32
    data = torch.randn(1, 4, 4, 4)
    with watch:
        nn.functional.conv2d(data, torch.randn(4, 4, 1, 1))
        data[0, 0] @ data[0, 1]
        data[0, 0].bfloat16() @ data[0, 1].bfloat16()
    units = [each.units.value for _, each in watch.seen if each.num_flops]
    assert units == ["tf32", "single", "half"]


@pytest.mark.usefixtures("watch")
def test_what_an_optimizer_does_is_its_update() -> None:
    func, weights = torch.ops.aten._foreach_mul_.Scalar, [torch.zeros(4)]
    made = arithmetic.describe_operation(func, (weights, 2.0), {}, None, is_update=True)
    assert made is not None
    assert (made.kind, made.num_bytes) == (WorkKind.OPTIMIZER, 16)
