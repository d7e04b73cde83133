"""After the call everything is bit by bit as it was, and the comparison can fail."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from snapshots import ASPECTS, Objects, differences, take_snapshot
from torch import nn
from torch.utils.data import DataLoader, Dataset

import autobatch

# Here, and not at the first call: what an import changes is the import's.
from autobatch import find_batch_size

ISOLATIONS = ("process", "shared") if sys.platform == "linux" else ("shared",)
QUICK: dict[str, Any] = {"goal": "memory", "max_batch_size": 4, "device": "cpu"}


class Net(nn.Module):
    """Counts its calls, and has a frozen BatchNorm, a dropout and a buffer that is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.frozen = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(16, 3)
        self.register_buffer("average", torch.zeros(16))
        self.num_calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.num_calls += 1
        hidden = self.frozen(self.norm(self.first(inputs))).relu()
        self.average = 0.9 * self.average + 0.1 * hidden.detach().mean(0)
        return self.last(self.dropout(hidden))


class Counting(Dataset[Any]):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.num_asked = 0
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(64, 6, generator=generator)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        self.num_asked += 1
        random.random(), numpy.random.rand()
        return self.inputs[index], index % 3


def make_scene() -> Objects:
    torch.manual_seed(3)
    model = Net()
    model.frozen.eval()
    model.last.bias.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [{"params": model.first.parameters()}, {"params": model.norm.parameters(), "lr": 0.02}],
        lr=0.01,
    )
    calls: list[str] = []
    model.first.register_forward_hook(lambda *_: calls.append("forward"))
    model.last.register_full_backward_hook(lambda *_: calls.append("backward"))
    model.first.weight.register_hook(lambda _: calls.append("tensor"))
    model.first.bias.register_post_accumulate_grad_hook(lambda _: calls.append("accumulated"))
    optimizer.register_step_post_hook(lambda *_: calls.append("step"))
    scene = Objects(
        model=model,
        optimizer=optimizer,
        loader=DataLoader(
            Counting(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(9)
        ),
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2),
        scaler=torch.amp.GradScaler("cpu", init_scale=64.0),
        calls=calls,
    )
    for inputs, targets in list(scene.loader)[:3]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    scene.scheduler.step()
    # Gradients of which one is None, values that compare equal and are not the same bits.
    model.first.bias.grad = None
    with torch.no_grad():
        model.first.weight[0, 0] = -0.0
        model.norm.weight[0] = float("nan")
    return scene


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    monkeypatch.chdir(tmp_path)
    return make_scene()


def run(scene: Objects, isolation: str, **options: Any) -> Any:
    options = {"loss": nn.CrossEntropyLoss(), **QUICK, **options}
    return find_batch_size(
        scene.model, scene.loader, optimizer=scene.optimizer, isolation=isolation, **options
    )


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_a_call(scene: Objects, isolation: str) -> None:
    before = take_snapshot(scene)
    finding = run(scene, isolation)
    assert differences(before, take_snapshot(scene)) == []
    assert finding.environment.isolation == isolation
    assert finding.batch_size == 4
    # The rates are zero during trials, and the finding has those from before.
    assert finding.learning_rate is None, "two groups have two rates"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_the_gradient_noise_was_measured(
    scene: Objects, isolation: str
) -> None:
    with torch.no_grad():
        scene.model.norm.weight[0] = 1.0
    before = take_snapshot(scene)
    with torch.inference_mode():
        finding = run(scene, isolation, goal="efficiency", max_batch_size=2, min_batch_size=2)
    assert finding.gradient_noise is not None
    assert finding.gradient_noise.num_training_steps == 0, "training is under way"
    assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_steps_were_trained_for_the_gradient_noise(
    scene: Objects, isolation: str
) -> None:
    scene.optimizer.state.clear()
    with torch.no_grad():
        scene.model.norm.weight[0] = 1.0
    before = take_snapshot(scene)
    finding = run(scene, isolation, goal="efficiency", max_batch_size=2, min_batch_size=2)
    assert finding.gradient_noise.num_training_steps == 32
    assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_the_noise_could_not_be_told(
    scene: Objects, isolation: str
) -> None:
    before = take_snapshot(scene)  # one weight is not a number
    with pytest.raises(autobatch.WorkloadError, match="cannot be told"):
        run(scene, isolation, goal="efficiency", max_batch_size=2, min_batch_size=2)
    assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_modes_of_the_caller_neither_matter_nor_change(scene: Objects, isolation: str) -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = take_snapshot(scene)
        assert run(scene, isolation).batch_size == 4
        assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_optimizer_without_state_stays_without(scene: Objects, isolation: str) -> None:
    scene.optimizer = torch.optim.Adam(scene.model.parameters())
    scene.scheduler = None
    before = take_snapshot(scene)
    run(scene, isolation)
    assert len(scene.optimizer.state) == 0
    assert differences(before, take_snapshot(scene)) == []


def misbehave(model: nn.Module, batch: Any) -> torch.Tensor:
    """A training step that changes all that it can reach."""
    inputs, targets = batch
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.set_default_dtype(torch.float64)
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
    warnings.simplefilter("ignore")
    model.first.weight.requires_grad_(False)
    model.frozen.train()
    model.last = nn.Linear(16, 3, dtype=torch.float32)
    model.norm.register_forward_hook(lambda *_: None)
    loss = nn.functional.cross_entropy(model(inputs), targets)
    torch.set_grad_enabled(True)
    return loss


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_a_training_step_does_besides_is_undone(scene: Objects, isolation: str) -> None:
    before = take_snapshot(scene)
    run(scene, isolation, loss=None, training_step=misbehave)
    assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_an_exception_in_a_step(scene: Objects, isolation: str) -> None:
    def fail(model: nn.Module, batch: Any) -> torch.Tensor:
        if len(batch[0]) > 2:
            raise LookupError("a step of my own making")
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    before = take_snapshot(scene)
    finding = run(scene, isolation, loss=None, training_step=fail)
    assert differences(before, take_snapshot(scene)) == []
    failed = finding.trials[-1]
    assert failed.outcome is autobatch.Outcome.FAILED
    assert failed.message == "LookupError: a step of my own making"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_an_exception_in_the_first_step(
    scene: Objects, isolation: str
) -> None:
    def fail(model: nn.Module, batch: Any) -> torch.Tensor:
        model(batch[0]).sum().backward()
        raise LookupError("a step of my own making")

    before = take_snapshot(scene)
    kind = autobatch.WorkloadError if isolation == "process" else LookupError
    with pytest.raises(kind, match="a step of my own making"):
        run(scene, isolation, loss=None, training_step=fail)
    assert differences(before, take_snapshot(scene)) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_out_of_memory(scene: Objects, isolation: str) -> None:
    def fill(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        if len(batch[0]) > 2:  # far beyond any budget here
            loss = loss + torch.ones(2**36).sum()
        return loss

    before = take_snapshot(scene)
    finding = run(scene, isolation, loss=None, training_step=fill)
    assert differences(before, take_snapshot(scene)) == []
    assert finding.batch_size == 2
    assert [trial.outcome.value for trial in finding.trials] == ["fits", "out_of_memory"]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_has_changed_after_ctrl_c_between_trials(scene: Objects, isolation: str) -> None:
    before = take_snapshot(scene)
    with pytest.raises(autobatch.SearchInterrupted) as caught:
        run(scene, isolation, on_trial=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert differences(before, take_snapshot(scene)) == []
    assert caught.value.finding.batch_size >= 2
    assert isinstance(caught.value.finding, autobatch.Finding)


def test_nothing_has_changed_after_ctrl_c_in_the_middle_of_a_step(scene: Objects) -> None:
    def interrupt(model: nn.Module, batch: Any) -> torch.Tensor:
        if len(batch[0]) > 2:
            os.kill(os.getpid(), signal.SIGINT)
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    before = take_snapshot(scene)
    with pytest.raises(autobatch.SearchInterrupted) as caught:
        run(scene, "shared", loss=None, training_step=interrupt)
    assert differences(before, take_snapshot(scene)) == []
    assert caught.value.finding.batch_size == 2


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_the_callback_raises_ends_the_search_as_it_is(scene: Objects, isolation: str) -> None:
    def stop(trial: autobatch.Trial) -> None:
        raise LookupError(f"enough at {trial.batch_size}")

    before = take_snapshot(scene)
    with pytest.raises(LookupError, match="enough at 2"):
        run(scene, isolation, on_trial=stop)
    assert differences(before, take_snapshot(scene)) == []


def _train(num_steps: int, find_at: int | None, isolation: str) -> list[torch.Tensor]:
    scene = make_scene()
    with torch.no_grad():
        scene.model.norm.weight[0] = 1.0
    step = 0
    while step < num_steps:
        for inputs, targets in scene.loader:
            if step == find_at:
                run(scene, isolation)
            scene.optimizer.zero_grad()
            nn.functional.cross_entropy(scene.model(inputs), targets).backward()
            scene.optimizer.step()
            scene.scheduler.step()
            step += 1
    return [tensor.detach().clone() for tensor in scene.model.state_dict().values()]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_training_goes_on_bitwise_as_without_the_call(isolation: str) -> None:
    without = _train(16, None, isolation)
    # In the middle of an epoch, with a sampler under way and optimizer state resident.
    with_call = _train(16, 5, isolation)
    assert all(torch.equal(a, b) for a, b in zip(without, with_call, strict=True))


def _set_grad_to_zero(scene: Objects) -> None:
    scene.model.first.bias.grad = torch.zeros_like(scene.model.first.bias)


def _turn_minus_zero(scene: Objects) -> None:
    scene.model.first.weight.data[0, 0] = 0.0


def _add_state(scene: Objects) -> None:
    next(iter(scene.optimizer.state.values()))["step"] += 1


def _replace_parameter(scene: Objects) -> None:
    bias = scene.model.last.bias
    scene.model.last.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)


def _bump_version(scene: Objects) -> None:
    with torch.no_grad():
        scene.model.last.bias.mul_(1)


def _reorder_filters(scene: Objects) -> None:
    warnings.simplefilter("ignore")


def _open_file(scene: Objects) -> None:
    scene.calls.extend([])
    _OPEN.append(os.open(os.devnull, os.O_RDONLY))


def _start_child(scene: Objects) -> None:
    _CHILDREN.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))


def _start_thread(scene: Objects) -> None:
    thread = threading.Thread(target=_STOP.wait)
    thread.start()
    _THREADS.append(thread)


_OPEN: list[int] = []
_CHILDREN: list[subprocess.Popen[bytes]] = []
_THREADS: list[threading.Thread] = []
_STOP = threading.Event()
BREAKS: dict[str, Callable[[Objects], object]] = {
    "parameters": _turn_minus_zero,
    "buffers": lambda scene: scene.model.norm.running_mean.data.add_(1e-7),
    "gradients": _set_grad_to_zero,
    "requires_grad": lambda scene: scene.model.last.bias.requires_grad_(True),
    "versions": _bump_version,
    "identities": _replace_parameter,
    "optimizer state": _add_state,
    "param groups": lambda scene: scene.optimizer.param_groups[0].update(lr=0.0),
    "optimizer attributes": lambda scene: setattr(scene.optimizer, "_opt_called", "changed"),
    "module attributes": lambda scene: scene.model.frozen.train(),
    "hooks": lambda scene: scene.model.last.register_forward_hook(lambda *_: None),
    "calls of the user's own": lambda scene: scene.calls.append("once"),
    "rng of torch": lambda scene: torch.rand(1),
    "rng of numpy": lambda scene: numpy.random.rand(),
    "rng of python": lambda scene: random.random(),
    "modes": lambda scene: torch.set_grad_enabled(False),
    "flags": lambda scene: setattr(
        torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark
    ),
    "threads": lambda scene: torch.set_num_threads(torch.get_num_threads() + 1),
    "scaler": lambda scene: scene.scaler.load_state_dict(
        {**scene.scaler.state_dict(), "scale": 32.0}
    ),
    "scheduler": lambda scene: setattr(scene.scheduler, "last_epoch", 77),
    "loader": lambda scene: torch.rand(1, generator=scene.loader.generator),
    "environment": lambda scene: os.environ.update(LEFT_BEHIND="1"),
    "folder": lambda scene: Path("left_behind").touch(),
    "limits": lambda scene: _lower_limit(),
    "signals": lambda scene: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "warning filters": _reorder_filters,
    "children": _start_child,
    "python threads": _start_thread,
    "open files": _open_file,
}
ALONG_WITH = {
    "gradients": {"identities"},  # a new gradient is a new object
    "identities": {"versions", "gradients"},
    "children": {"open files"},  # its standard input
}
ONLY_WITH_A_GPU = {"rng of cuda", "device memory"}


def _lower_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2**46 if soft != 2**46 else 2**45, hard))


@pytest.fixture
def _repaired() -> Iterator[None]:
    import resource

    limits, threads = resource.getrlimit(resource.RLIMIT_DATA), torch.get_num_threads()
    benchmark, handler = torch.backends.cudnn.benchmark, signal.getsignal(signal.SIGTERM)
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.backends.cudnn.benchmark = benchmark
    signal.signal(signal.SIGTERM, handler)
    os.environ.pop("LEFT_BEHIND", None)
    _STOP.set()
    for thread in _THREADS:
        thread.join()
    for child in _CHILDREN:
        with child:
            child.kill()
    for number in _OPEN:
        os.close(number)
    for leftovers in (_THREADS, _CHILDREN, _OPEN):
        leftovers.clear()
    _STOP.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="breaks limits as Linux has them")
@pytest.mark.parametrize("aspect", BREAKS)
@pytest.mark.usefixtures("_repaired")
def test_the_comparison_sees_each_thing_that_is_broken(scene: Objects, aspect: str) -> None:
    with warnings.catch_warnings():
        before = take_snapshot(scene)
        assert differences(before, take_snapshot(scene)) == []
        BREAKS[aspect](scene)
        seen = set(differences(before, take_snapshot(scene)))
    assert aspect in seen
    assert seen <= {aspect} | ALONG_WITH.get(aspect, set())


def test_each_aspect_is_broken_once() -> None:
    assert set(BREAKS) | ONLY_WITH_A_GPU == set(ASPECTS)


SHOWING = """
import random
import torch
from autobatch import find_batch_size

model = torch.nn.Linear(4, 1)
finding = find_batch_size(
    model,
    lambda size: (torch.randn(size, 4), torch.randn(size, 1)),
    torch.nn.functional.mse_loss,
    torch.optim.SGD(model.parameters(), lr=0.01),
    goal="memory", max_batch_size=2, device="cpu",
)
for show in (repr, str, type(finding)._repr_html_, type(finding).to_dict, type(finding).plot):
    state = random.getstate()
    show(finding)
    print("same" if random.getstate() == state else f"{show} changed it")
"""


def test_showing_what_was_found_changes_no_random_generator() -> None:
    # In a process of its own: some libraries draw numbers when they are first imported.
    done = subprocess.run(
        [sys.executable, "-c", SHOWING], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:-1] == ["same"] * 5


class Gan:
    """Two models whose training step steps both of their optimizers."""

    def __init__(self) -> None:
        self.generator, self.discriminator = nn.Linear(6, 6), nn.Linear(6, 1)
        self.optimizers = [
            torch.optim.Adam(model.parameters(), lr=0.1)
            for model in (self.discriminator, self.generator)
        ]
        self.step(self.generator, torch.randn(4, 6))

    def step(self, model: nn.Module, batch: torch.Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            self.discriminator(model(batch)).square().mean().backward()
            optimizer.step()

    def state(self) -> list[torch.Tensor]:
        models = (self.generator, self.discriminator)
        weights = [each.detach().clone() for model in models for each in model.parameters()]
        moments = [
            state["exp_avg"].clone()
            for optimizer in self.optimizers
            for state in optimizer.state.values()
        ]
        return weights + moments


@pytest.mark.skipif(sys.platform != "linux", reason="no forks")
def test_a_step_that_steps_its_own_optimizers_leaves_no_trace_from_a_fork() -> None:
    gan = Gan()
    before = gan.state()
    finding = find_batch_size(
        gan.generator, [torch.randn(6)] * 8, training_step=gan.step, isolation="process", **QUICK
    )
    assert finding.batch_size == 4
    assert finding.workload.loss == "training_step(model, batch) with 2 optimizers of its own"
    assert all(map(torch.equal, before, gan.state()))
    assert [optimizer.param_groups[0]["lr"] for optimizer in gan.optimizers] == [0.1, 0.1]


def test_it_is_refused_where_its_optimizers_could_not_be_put_back() -> None:
    gan = Gan()
    before = gan.state()
    with pytest.raises(autobatch.WorkloadError, match="steps its own Adam") as caught:
        find_batch_size(
            gan.generator, [torch.randn(6)] * 8, training_step=gan.step, isolation="shared", **QUICK
        )
    assert "autobatch probe" in caught.value.hint
    assert all(map(torch.equal, before, gan.state()))
