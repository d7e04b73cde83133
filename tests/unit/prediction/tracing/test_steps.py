"""What two traced steps show, each in a forked child: a trace leaves its process spoilt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._subclasses.fake_tensor  # once, before the forks
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.prediction.predict import predict
from autobatch.prediction.trace import Category, PlainFacts, Storage, Trace
from autobatch.prediction.tracing import recorder
from autobatch.prediction.tracing.request import TraceRequest
from autobatch.prediction.tracing.steps import trace_steps
from autobatch.prediction.work import WorkKind
from autobatch.records import Precision
from autobatch.workload.batches import make_source
from autobatch.workload.contract import Workload
from autobatch.workload.task import TrainingTask, assemble

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and knows Linux symbols")

CARD = PlainFacts(compute_capability=(8, 0), num_sms=108)
WIDTH = 64
SQUARE_BYTES = WIDTH * WIDTH * 4


def run_apart(work: Callable[[], Any]) -> Any:
    """The result of ``work`` in a forked child, or the exception that it raised there."""
    from autobatch.probe.isolation.child import run_in_child

    def answer() -> Any:
        try:
            return work()
        except WorkloadError as error:
            return error.__class__(str(error), hint=error.hint)

    result = run_in_child(answer, timeout_s=120.0)
    if isinstance(result, WorkloadError):
        raise result
    return result


def trace(
    model: nn.Module, *, batch_size: int = 4, precision: Precision = Precision.FP32, **values: Any
) -> Trace:
    passes = values.pop("num_passes", 1)
    keeps_output = values.pop("keeps_output", True)
    values.setdefault("batch", lambda size: (torch.randn(size, WIDTH), torch.randn(size, WIDTH)))
    values.setdefault("loss", nn.functional.mse_loss)

    def work() -> Trace:
        workload = Workload(model=model, **values)
        task: TrainingTask = assemble(workload, model, make_source(workload))
        batches = [values["batch"](batch_size) for _ in range(2 * passes)]
        request = TraceRequest(
            batch_size=batch_size,
            capability=CARD.compute_capability,
            torch_version=(2, 13),
            num_passes=passes,
            keeps_output=keeps_output,
        )
        return trace_steps(task, batches, precision, request)

    result: Trace = run_apart(work)
    assert isinstance(result, Trace), result
    return result


def linear() -> nn.Module:
    return nn.Linear(WIDTH, WIDTH, bias=False)


def count(traced: Trace, category: Category) -> int:
    return sum(each.num_bytes for each in traced.storages if each.category is category)


def of_operator(traced: Trace, name: str) -> list[Storage]:
    return [each for each in traced.storages if name in each.operator]


def test_weights_gradients_and_state_are_told_apart() -> None:
    traced = trace(nn.Sequential(linear(), nn.ReLU(), linear()))
    assert count(traced, Category.PARAMETER) == 2 * SQUARE_BYTES
    assert count(traced, Category.GRADIENT) == 2 * 2 * SQUARE_BYTES  # in each of two steps
    assert count(traced, Category.OPTIMIZER_STATE) == 2 * 2 * SQUARE_BYTES  # AdamW's, once
    assert count(traced, Category.INPUT) == 2 * 2 * 4 * WIDTH * 4
    places = {each.module for each in traced.storages if each.category is Category.PARAMETER}
    assert places == {"0", "2"}
    names = [(mark.step, mark.name) for mark in traced.marks]
    assert names == [(s, n) for s in (1, 2) for n in ("forward", "backward", "optimizer")]


def test_what_a_backward_pass_makes_is_of_the_module_whose_forward_it_undoes() -> None:
    traced = trace(nn.Sequential(linear(), nn.ReLU(), linear()), optimizer=torch.optim.SGD)
    gradients = [each for each in traced.storages if each.category is Category.GRADIENT]
    assert [each.module for each in gradients] == ["2", "0"] * 2
    assert of_operator(traced, "threshold_backward")[0].module == "1"


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x, y = (torch.randn(4, WIDTH, device="cuda") for _ in range(2))
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_a_peak_is_what_the_tracker_of_pytorch_finds() -> None:
    def make() -> nn.Module:
        return nn.Sequential(linear(), nn.GELU(), nn.LayerNorm(WIDTH), linear())

    def find() -> int:
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.distributed._tools.mem_tracker import MemTracker

        from autobatch.prediction.tracing.fake_cuda import install_fake_cuda

        install_fake_cuda()
        with FakeTensorMode():
            with torch.device("cuda"):
                model = make()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            tracker = MemTracker()
            tracker.track_external(model, optimizer)
            with tracker:
                for _ in range(2):
                    tracker.reset_mod_stats()
                    train(model, optimizer)
            peak = tracker.get_tracker_snapshot("peak")
        return int(next(iter(peak.values()))["Total"])

    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(model: nn.Module, batch: Any) -> None:
        train(model, optimizer)

    traced = trace(model, training_step=step, batch=lambda size: torch.zeros(size))
    live, peak = 0, 0
    for event in traced.events:
        storage = traced.storages[event if event >= 0 else ~event]
        if storage.category not in (Category.WORKSPACE, Category.INPUT):
            rounded = max(512, -(-storage.num_bytes // 512) * 512)
            live += rounded if event >= 0 else -rounded
            peak = max(peak, live)
    assert peak == run_apart(find)


class TwoWays(nn.Module):
    """One activation that goes two ways: its gradients are added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = linear(), linear(), linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.left(x) + self.right(x)


def test_gradients_that_meet_are_added_in_place() -> None:
    traced = trace(TwoWays(), optimizer=torch.optim.SGD)
    positions = {mark.name: mark.position for mark in reversed(traced.marks)}
    adds = [
        traced.storages[event].operator
        for event in traced.events[positions["backward"] : positions["optimizer"]]
        if event >= 0 and "add.Tensor" in traced.storages[event].operator
    ]
    assert adds == []


def test_tied_weights_are_one_and_a_ready_optimizer_follows() -> None:
    model = nn.Sequential(linear(), linear())
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    traced = trace(model, optimizer=optimizer)
    assert count(traced, Category.PARAMETER) == SQUARE_BYTES
    assert count(traced, Category.OPTIMIZER_STATE) == 2 * SQUARE_BYTES


def test_an_optimizer_takes_all_tensors_at_once_unless_told_otherwise() -> None:
    model = nn.Sequential(linear(), linear())
    assert of_operator(trace(model), "_foreach_")

    def one_by_one(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, foreach=False)

    def fused(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, fused=True)

    assert not of_operator(trace(model, optimizer=one_by_one), "_foreach_")
    in_steps = [
        each
        for each in trace(model, optimizer=fused).storages
        if each.category is Category.TEMPORARY and each.num_bytes == SQUARE_BYTES
    ]
    assert in_steps == []


def test_accumulated_gradients_live_through_the_passes_of_a_step() -> None:
    values = {"optimizer": torch.optim.SGD, "batch_size": 64}
    once = predict(trace(TwoWays(), num_passes=1, **values), CARD)
    twice = trace(TwoWays(), num_passes=2, **values)
    assert count(twice, Category.GRADIENT) == 2 * 3 * SQUARE_BYTES
    assert predict(twice, CARD).peak_requested_bytes > once.peak_requested_bytes


def test_the_output_stays_through_the_backward_pass_where_a_loop_keeps_it() -> None:
    model = nn.Sequential(linear(), nn.ReLU(), nn.Linear(WIDTH, 4096))

    def batch(size: int) -> Any:
        return torch.randn(size, WIDTH), torch.randint(4096, (size,))

    values = {"batch": batch, "loss": nn.functional.cross_entropy, "batch_size": 512}
    values["optimizer"] = torch.optim.SGD
    kept, dropped = (
        predict(trace(model, keeps_output=keeps, **values), CARD).peak_requested_bytes
        for keeps in (True, False)
    )
    assert kept - dropped == 512 * 4096 * 4


def test_autocast_halves_activations() -> None:
    model = nn.Sequential(*(linear() for _ in range(4)))
    for precision, num_bytes in ((Precision.FP32, 4), (Precision.BF16, 2), (Precision.FP16, 2)):
        products = of_operator(trace(model, precision=precision), "aten.mm")
        assert products[0].num_bytes == 4 * WIDTH * num_bytes


class Heads(nn.Module):
    """Attention over 16 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None].expand(-1, 16, -1)
        parts = self.project(x).view(len(x), 16, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(*parts).mean((1, 2)).repeat(1, 4)


@pytest.mark.parametrize(
    ("precision", "kernel"), [(Precision.FP32, "efficient"), (Precision.BF16, "flash")]
)
def test_attention_runs_the_kernel_of_the_card(precision: Precision, kernel: str) -> None:
    traced = trace(Heads(), precision=precision)
    assert of_operator(traced, f"_scaled_dot_product_{kernel}_attention")
    assert traced.attention[0].query_length == 16


@pytest.mark.parametrize(
    ("layer", "backward"),
    [
        (nn.SiLU(), "aten.silu_backward.default"),
        (nn.Mish(), "aten.mish_backward.default"),
        (nn.RMSNorm(WIDTH), "aten._fused_rms_norm_backward.default"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_one_kernel_on_a_gpu_takes_the_memory_of_one(
    layer: nn.Module, backward: str
) -> None:
    """A build without the kernel computes it in six steps, each with a result of its own."""
    traced = trace(nn.Sequential(linear(), layer), batch_size=4)
    made = [each.operator for each in traced.storages if each.module == "1"]
    # In each of two steps the result, and what the backward pass makes of it.
    assert made.count(backward) >= 2
    assert not {"aten.sigmoid.default", "aten.mul.Tensor", "aten.rsqrt.default"} & set(made)


def test_both_threads_have_a_workspace_of_cublas() -> None:
    sizes = [each.bytes_on(CARD) for each in trace(linear()).storages if each.workspace]
    assert sizes.count(8_519_680) == 2


def test_convolutions_are_said_to_have_memory_that_is_not_seen() -> None:
    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 1, 3, padding=1), nn.Flatten())
    assert trace(model).unseen == ("convolution",)
    assert trace(linear()).unseen == ()


def with_step(step: Callable[[nn.Module, Any], Any]) -> Trace:
    return trace(linear(), training_step=step)


def test_a_loss_may_be_shown() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        print(f"{loss.item():.3f}", loss.item() / 2, float(loss))
        return loss

    assert with_step(step).storages


def test_what_pytorch_itself_asks_of_values_is_as_in_a_training_that_goes_well() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        output = model(batch[0])
        sample = torch.distributions.Normal(output, output.exp()).rsample()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        return nn.functional.gaussian_nll_loss(sample, batch[1], output.exp())

    assert with_step(step).storages


@pytest.mark.parametrize("compare", [lambda x: x > 0, lambda x: x.item() > 0, lambda x: int(x)])
def test_a_decision_by_a_value_is_refused(compare: Callable[[torch.Tensor], Any]) -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        return loss * 2 if compare(loss) else loss

    with pytest.raises(WorkloadError, match="decides by the value of a tensor") as raised:
        with_step(step)
    assert raised.value.hint


def test_a_size_that_depends_on_values_is_refused_by_the_name_of_its_operator() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        errors = (model(batch[0]) - batch[1]).abs()
        return errors[errors > 0].mean()

    with pytest.raises(WorkloadError, match=r"aten\.(nonzero|index)"):
        with_step(step)


def test_an_operator_that_says_nothing_of_its_result_is_refused_by_its_name() -> None:
    library = torch.library.Library("nameless", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CPU")

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        return torch.ops.nameless.double(model(batch[0])).mean()

    with pytest.raises(WorkloadError, match=r"nameless\.double") as raised:
        with_step(step)
    assert "register_fake" in raised.value.hint


def test_an_operator_of_the_users_own_is_said_to_have_memory_that_is_not_seen() -> None:
    library = torch.library.Library("seeming", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CPU")
    torch.library.register_fake("seeming::double", torch.empty_like)

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        doubled = torch.ops.seeming.double(batch[0])
        return model(doubled).mean()

    assert with_step(step).unseen == ("seeming::double",)


def test_hooks_and_attributes_of_parameters_stay() -> None:
    model = linear()
    calls: list[bool] = []
    weight: Any = model.weight
    weight.decays = False
    weight.register_post_accumulate_grad_hook(lambda each: calls.append(each.decays))

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        if calls:
            raise WorkloadError(f"called with {calls}")
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    with pytest.raises(WorkloadError, match=r"called with \[False\]"):
        trace(model, training_step=step)


def test_the_gradient_of_a_dense_3x3_kernel_takes_a_workspace_in_float32() -> None:
    def trace_images(model: nn.Conv2d, precision: Precision = Precision.FP32) -> list[int]:
        traced = trace(
            nn.Sequential(model, nn.Flatten()),
            batch_size=2,
            precision=precision,
            loss=lambda output, target: output.sum(),
            batch=lambda size: (torch.randn(size, model.in_channels, 10, 10), torch.zeros(size)),
        )
        made = of_operator(traced, "convolution_backward")
        return [each.num_bytes for each in made if each.category is Category.WORKSPACE]

    dense = nn.Conv2d(8, 16, 3, padding=1)
    # Two samples of 3 x 3 tiles, 24 channels, 6 x 6 elements; in each of two steps.
    assert trace_images(dense) == [2 * 9 * 24 * 36 * 4] * 2
    assert trace_images(dense, Precision.BF16) == []
    for other in (
        nn.Conv2d(8, 16, 3, stride=2),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Conv2d(3, 16, 3),
    ):
        assert trace_images(other) == []


def test_what_a_step_computes_is_that_of_the_last_one() -> None:
    traced = trace(linear(), batch_size=4)
    products = [each for each in traced.operations if each.kind is WorkKind.PRODUCT]
    # Forward, and the weight's gradient: the input has none.
    assert [each.num_flops for each in products] == [2 * 4 * WIDTH * WIDTH] * 2
    updates = [each for each in traced.operations if each.kind is WorkKind.OPTIMIZER]
    assert sum(each.num_bytes for each in updates) >= 5 * SQUARE_BYTES
    two_passes = trace(linear(), batch_size=4, num_passes=2)
    assert sum(each.kind is WorkKind.PRODUCT for each in two_passes.operations) == 4


def test_an_operator_whose_arithmetic_is_not_known_costs_no_more_than_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **keywords: Any) -> None:
        raise TypeError("of another version")

    expected = trace(linear(), batch_size=4)
    monkeypatch.setattr(recorder, "describe_operation", refuse)
    traced = trace(linear(), batch_size=4)
    assert traced.operations == ()
    assert traced.events == expected.events
