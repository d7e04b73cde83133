"""``find_batch_size()`` on real objects: what other finders get wrong, and what it hands back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
import torch
from fixtures.commands import ENVIRONMENT
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import autobatch
from autobatch import find_batch_size
from autobatch.devices.cpu import CpuDevice
from autobatch.errors import WorkerError
from autobatch.noise.job import NoisePlan, measure_noise
from autobatch.probe.live import SharingProber
from autobatch.records import Settings, StopReason
from autobatch.workload.live import describe_objects

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ISOLATIONS = ("process", "shared") if sys.platform == "linux" else ("shared",)
MIB = 2**20


def make_data(num_samples: int = 64) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(num_samples, 8, generator=generator)
    return TensorDataset(inputs, torch.arange(num_samples) % 3)


def find(model: nn.Module, data: Any, **options: Any) -> Any:
    options = {"goal": "memory", "max_batch_size": 4, **options}
    return find_batch_size(model, data, **options)


def fill(model: nn.Module, batch: Any, mib_per_sample: float = 32) -> torch.Tensor:
    """A step whose memory is a known multiple of the batch size."""
    inputs = batch[0]
    ballast = torch.ones(int(len(inputs) * mib_per_sample * MIB / 4))
    return model(inputs).square().mean() + 0 * ballast[-1]


def limit_with(room_mib: int) -> dict[str, Any]:
    """A limit that leaves so much beside what this process holds."""
    CpuDevice().release()
    own = psutil.Process().memory_info().rss
    return {"memory_limit": own + room_mib * MIB, "headroom": 0.0}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_size_that_is_returned_ran_and_its_successor_did_not_fit(isolation: str) -> None:
    finding = find(
        nn.Linear(8, 3),
        make_data(),
        training_step=fill,
        isolation=isolation,
        max_batch_size=None,
        **limit_with(760),
    )
    outcomes = {trial.batch_size: trial.outcome.value for trial in finding.trials}
    assert outcomes[finding.batch_size] == "fits"
    assert finding.batch_size == 16, outcomes  # 512 MiB and not 1 GiB
    assert finding.stop_reason is StopReason.MEMORY
    assert finding.confirmation is not None


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_in_the_middle_of_training_what_is_resident_counts(isolation: str) -> None:
    model = nn.Linear(8, 2**20)  # 36 MiB, with gradients and Adam's state four times that
    optimizer = torch.optim.Adam(model.parameters())

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        return fill(lambda inputs: model(inputs[:1]), batch, 16)  # type: ignore[arg-type]

    options = {"training_step": step, "isolation": isolation, "max_batch_size": None}
    limit = limit_with(860)
    before = find(model, make_data(512), optimizer=optimizer, **options, **limit)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 8)).mean().backward()
        optimizer.step()
    after = find(model, make_data(512), optimizer=optimizer, **options, **limit)
    assert before.batch_size == after.batch_size == 32


def test_a_start_value_is_honoured() -> None:
    finding = find(nn.Linear(8, 3), make_data(), min_batch_size=4, max_batch_size=8)
    assert min(trial.batch_size for trial in finding.trials) == 4


def test_drop_last_never_leaves_an_epoch_without_iterations() -> None:
    data = make_data(10)
    finding = find(nn.Linear(8, 3), data, max_batch_size=64, drop_last=True)
    assert finding.batch_size <= 10
    assert finding.iterations_per_epoch >= 1
    # A dataset smaller than the batch: not the one that was asked about.
    assert len(finding.dataloader(make_data(3))) == 1
    assert sum(len(batch[0]) for batch in finding.dataloader(make_data(3))) == 3


def test_a_memory_error_of_numpy_in_collate_is_a_size_that_does_not_fit() -> None:
    def collate(samples: list[Any]) -> Any:
        if len(samples) > 2:
            numpy.ones(2**45)
        return torch.stack([sample[0] for sample in samples]), torch.zeros(len(samples)).long()

    finding = find(nn.Linear(8, 3), make_data(), collate_fn=collate)
    assert finding.batch_size == 2
    assert finding.trials[-1].outcome is autobatch.Outcome.OUT_OF_MEMORY


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_two_calls_know_nothing_of_each_other(isolation: str) -> None:
    model, data = nn.Linear(8, 3), make_data()
    tight = find(model, data, training_step=fill, isolation=isolation, **limit_with(96))
    wide = find(model, data, isolation=isolation, max_batch_size=8)
    again = find(model, data, training_step=fill, isolation=isolation, **limit_with(96))
    assert (tight.batch_size, wide.batch_size, again.batch_size) == (2, 8, 2)


def test_batches_run_when_it_is_called_after_training_has_begun() -> None:
    model, data = nn.Linear(8, 3), make_data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = iter(DataLoader(data, batch_size=8))
    nn.functional.cross_entropy(model(next(loader)[0]), torch.zeros(8).long()).backward()
    optimizer.step()
    finding = find(model, data, optimizer=optimizer)
    assert all(len(trial.step_times_s) >= 3 for trial in finding.trials)


class Texts(Dataset[Any]):
    """Sequences of which one in a thousand is ten times longer."""

    def __init__(self, num_samples: int = 1000) -> None:
        self.lengths = [20 + index % 20 for index in range(num_samples)]
        self.lengths[num_samples // 2] = 400

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.ones(self.lengths[index])


def pad(samples: list[torch.Tensor]) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


def hold(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """40 KiB for each place of a padded batch."""
    ballast = torch.ones(batch.numel() * 10 * 1024)
    return model(batch[:, :8]).mean() + 0 * ballast[-1]


def train_within(memory_limit: int, model: nn.Module, loader: DataLoader[Any]) -> None:
    """An epoch under a limit that the kernel enforces."""
    from autobatch.devices import linux

    optimizer = torch.optim.AdamW(model.parameters())
    room = memory_limit - psutil.Process().memory_info().rss
    with linux.data_limit(room):
        for batch in loader:
            loss = hold(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.skipif(sys.platform != "linux", reason="enforces the budget as Linux does")
def test_a_whole_epoch_of_samples_that_differ_stays_inside_the_budget() -> None:
    model, data = nn.Linear(8, 3), Texts()
    limit = limit_with(400)
    finding = find(model, data, collate_fn=pad, training_step=hold, max_batch_size=None, **limit)
    # A padded batch with the long sample takes 16 MiB for each sample, one without 1.5 MiB.
    assert finding.batch_size == 16
    lengths = finding.workload.lengths
    assert (lengths.num_scanned, lengths.shortest, lengths.longest) == (1000, 20, 400)
    assert "peak memory is measured on the longest samples" in " ".join(finding.report().split())

    train_within(limit["memory_limit"], model, finding.dataloader(data, collate_fn=pad))


def test_each_range_of_lengths_has_a_size_that_ran_under_the_one_budget() -> None:
    model, data = nn.Linear(8, 3), Texts(400)
    options = {"collate_fn": pad, "training_step": hold, "by_length": True, "seed": 3}
    limit = limit_with(400)
    finding = find(model, data, max_batch_size=128, **options, **limit)
    assert [bucket.longest for bucket in finding.buckets] == [400, 39], "none is between"
    sizes = [bucket.batch_size for bucket in finding.buckets]
    assert sizes[0] >= 16
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]
    budget = finding.budget.budget_bytes
    assert all(bucket.peak_bytes <= budget for bucket in finding.buckets)
    assert finding.to_dict()["buckets"][0]["longest"] == 400

    sampler = finding.batch_sampler(data.lengths)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(400))
    assert list(sampler) != batches, "another order in the next epoch"
    for batch in DataLoader(data, batch_sampler=sampler, collate_fn=pad):
        limits = {b.longest: b.batch_size for b in finding.buckets if batch.shape[1] <= b.longest}
        assert len(batch) <= limits[min(limits)]
    if sys.platform == "linux":
        loader = DataLoader(data, batch_sampler=sampler, collate_fn=pad)
        train_within(limit["memory_limit"], model, loader)
    with pytest.raises(autobatch.SettingsError, match="sample 1 is 401 long"):
        finding.batch_sampler([1, 401])
    with pytest.raises(autobatch.SettingsError, match="in the search was 400 elements"):
        finding.batch_sampler([length // 3 for length in data.lengths])


def test_without_sizes_by_length_there_is_no_sampler_and_the_hint_fits() -> None:
    data = make_data()
    with pytest.raises(autobatch.SettingsError, match="no batch sizes by length") as caught:
        find(nn.Linear(8, 3), data).batch_sampler([8] * 64)
    assert caught.value.hint == "search with by_length=True"
    asked = find(nn.Linear(8, 3), data, by_length=True)
    assert "no batch sizes by length" in repr(asked)
    with pytest.raises(autobatch.SettingsError) as caught:
        asked.batch_sampler([8] * 64)
    assert "its warnings say why" in caught.value.hint


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_step_that_raises_after_the_answer_is_a_warning(isolation: str) -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        if not torch.is_grad_enabled() and len(batch[0]) > 4:
            raise LookupError("no evaluation of my own so large")
        return model(batch[0]).square().mean()

    model, data = nn.Linear(8, 3), make_data()
    finding = find(
        model, data, training_step=step, isolation=isolation, eval=True, goal="throughput",
        min_batch_size=2, max_batch_size=16, tolerance=0.9,
    )  # fmt: skip
    assert finding.batch_size <= 4
    assert finding.confirmation is not None
    assert finding.batch_size <= finding.eval_batch_size <= 4
    report = " ".join(finding.report().split())
    assert "LookupError" in report and "no evaluation of my own so large" in report
    assert "(ran); the search for the largest ended early" in report


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_loss_that_is_no_number_is_that_of_its_own_size_alone(isolation: str) -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = model(batch[0]).square().mean()
        return loss * float("nan") if len(batch[0]) == 4 else loss

    optimizer = torch.optim.Adam
    finding = find(
        nn.Linear(8, 3), make_data(), training_step=step, isolation=isolation,
        optimizer=optimizer, goal="throughput", max_batch_size=16,
    )  # fmt: skip
    finite = {trial.batch_size: trial.loss_is_finite for trial in finding.trials}
    assert finite == {size: size != 4 for size in finite}
    assert 16 in finite


def test_length_is_the_users_own_measure() -> None:
    def second(sample: Any) -> int:
        return int(sample[1]) + 1

    finding = find(nn.Linear(8, 3), make_data(), length=second, loss=nn.CrossEntropyLoss())
    assert finding.workload.lengths.longest == 3
    assert "second()" in finding.report()
    with pytest.raises(autobatch.WorkloadError, match=r"'length' failed on a sample"):
        find(nn.Linear(8, 3), make_data(), length=lambda sample: sample.nothing)


def test_evaluation_runs_at_the_training_size_and_its_largest_is_found_when_asked() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        return fill(model, batch, 32 if torch.is_grad_enabled() else 8)

    limit = limit_with(400)
    options = {"training_step": step, "max_batch_size": None, **limit}
    plain = find(nn.Linear(8, 3), make_data(), **options)
    assert plain.batch_size == plain.eval_batch_size == 8
    assert plain.confirmation.eval_fits
    asked = find(nn.Linear(8, 3), make_data(), eval=True, **options)
    assert (asked.batch_size, asked.eval_batch_size) == (8, 32)
    assert asked.recommendation.eval_is_largest
    assert [t.batch_size for t in asked.eval_trials if t.fits][-1] == 32
    document = asked.to_dict()
    assert document["eval_batch_size"] == 32
    assert document["eval_trials"][0]["outcome"] == "fits"


def test_evaluation_that_takes_more_than_training_is_pointed_out() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        return fill(model, batch, 8 if torch.is_grad_enabled() else 64)

    finding = find(
        nn.Linear(8, 3), make_data(), training_step=step, max_batch_size=8, **limit_with(350)
    )
    assert finding.batch_size == 8
    assert finding.confirmation.eval_fits is False
    assert finding.eval_batch_size == 4
    assert "evaluation_too_large" in {warning.code.value for warning in finding.warnings}


def test_a_step_that_cannot_be_evaluated_is_no_error() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss = model(batch[0]).square().mean()
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        return loss

    finding = find(nn.Linear(8, 3), make_data(), training_step=step, eval=True)
    assert finding.eval_batch_size is None
    assert finding.confirmation.eval_message.startswith("RuntimeError")


def test_a_compiled_model_is_searched_eagerly_and_confirmed_compiled() -> None:
    sizes: list[int] = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        sizes.extend(len(each) for each in inputs if each.shape[1:] == (8,) and len(each) != 3)
        return graph.forward

    model = torch.compile(nn.Sequential(nn.Linear(8, 3)), backend=backend)
    # In this process, so that what is compiled can be counted here.
    finding = find(model, make_data(), loss=nn.CrossEntropyLoss(), isolation="shared")
    assert sizes == [4], "once, at the chosen size"
    assert finding.workload.is_compiled
    assert finding.workload.model == "Sequential"
    assert finding.confirmation.compile_time_s > 0
    assert finding.confirmation.step_time_s < finding.confirmation.compile_time_s
    assert finding.target == "Sequential (in memory)"
    report = " ".join(finding.report().split())
    assert "in the final run; compiling took" in report
    assert "run eagerly" in repr(finding) and "compiled_throughput=" in repr(finding)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(make_data())


@pytest.mark.parametrize(
    ("data", "described"),
    [
        (make_data(), "dataset (TensorDataset)"),
        (list(make_data()), "dataset (list)"),
        (Stream(), "dataset (Stream)"),
        (DataLoader(make_data(), batch_size=2), "train_loader (TensorDataset)"),
        (lambda size: (torch.ones(size, 8), torch.zeros(size).long()), "batch(batch_size)"),
        ((torch.ones(8), torch.tensor(1)), "sample, repeated"),
    ],
    ids=["dataset", "list", "iterable", "loader", "function", "sample"],
)
def test_data_comes_in_every_form(data: Any, described: str) -> None:
    finding = find(nn.Linear(8, 3), data, loss=nn.CrossEntropyLoss())
    assert finding.batch_size == 4
    assert finding.workload.data == described


def test_inputs_can_be_described_instead() -> None:
    finding = find(nn.Linear(8, 3), "input=8,classes=3")
    assert finding.batch_size == 4
    assert finding.workload.data == "random inputs 8, 3 classes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": nn.Linear}, "'model' is a class, Linear"),
        ({"data": None}, "'data' is missing"),
        ({"data": "imagenet"}, "'data' is 'imagenet'"),
        ({"data": "classes=3"}, "data='classes=3': classes=3 needs the shape"),
        ({"data": "input=3xx4"}, "`input` must be the shape of one sample, got '3xx4'"),
        ({"data": iter([1])}, "'data' is a list_iterator"),
        ({"loss": nn.CrossEntropyLoss}, "'loss' is a class"),
        ({"optimizer": 3}, "'optimizer' is a int"),
        ({"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)}, "not the model's"),
        ({"model": nn.Linear(8, 3, device="meta")}, "meta device"),
        ({"device": "cuda"}, "device='cuda', but the model is on cpu"),
        ({"isolation": "none"}, "isolation must be one of 'auto', 'process', 'shared', got 'none'"),
        (
            {"goal": "speed"},
            "`goal` must be one of 'throughput', 'memory', 'efficiency', got 'speed'",
        ),
        (
            {"memory_limit": "lots"},
            "`memory_limit` must be a memory size with its unit, got 'lots'",
        ),
        ({"max_batch_size": 2.5}, "`max_batch_size` must be a whole number above 0, got 2.5"),
        ({"max_batch_size": 0}, "`max_batch_size` must be a whole number above 0, got 0"),
        ({"headroom": "2"}, "`headroom` must be"),
        ({"eval": 1}, "`eval` must be True or False, got 1"),
        ({"time_limit": 0}, "`time_limit` must be a time above 0, or none, got 0"),
    ],
)
def test_what_cannot_be_used_is_repeated(options: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(8, 3), "data": make_data(), **options}
    with pytest.raises(autobatch.AutobatchError) as caught:
        find(arguments.pop("model"), arguments.pop("data"), **arguments)
    assert words in str(caught.value)
    assert caught.value.hint


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no option 'max_batchsize'; did you mean 'max_batch_size'"):
        find(nn.Linear(8, 3), make_data(), max_batchsize=3)


def test_an_exception_in_a_fork_shows_where_it_was_raised() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        raise LookupError("nothing here")

    with pytest.raises(autobatch.WorkloadError, match="LookupError") as caught:
        find(nn.Linear(8, 3), make_data(), training_step=step)
    assert "in step" in caught.value.user_traceback


def test_a_trial_that_takes_too_long_is_given_up_where_nobody_can_end_it() -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        if len(batch[0]) > 2:
            time.sleep(1.5)
        return model(batch[0]).mean()

    model, data = nn.Linear(8, 3), make_data()
    finding = find(model, data, training_step=step, isolation="shared", trial_timeout=5)
    assert finding.batch_size == 2
    assert finding.trials[-1].outcome is autobatch.Outcome.TIMED_OUT


def test_a_finding_sets_rates_group_by_group_and_adam_with_them() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters()}]
    optimizer = torch.optim.Adam(groups, lr=0.01, betas=(0.9, 0.99))
    finding = find(model, make_data(), optimizer=optimizer, base_batch_size=1, min_batch_size=4)
    finding.apply(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.02])
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.6, 0.96))
    assert optimizer.param_groups[0]["eps"] == pytest.approx(5e-9)
    with pytest.raises(autobatch.WorkloadError, match="'optimizer' is a Sequential"):
        finding.apply(model)  # type: ignore[arg-type]


def test_a_finding_speaks_for_itself() -> None:
    model, data = nn.Linear(8, 3), make_data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    finding = find(model, data, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    assert repr(finding).startswith("<Finding batch_size=4, iterations_per_epoch=16, learning_")
    assert finding.learning_rate == pytest.approx(0.1 * 4 / 32)
    assert "<table>" in finding._repr_html_()
    assert finding.to_dict()["batch_size"] == 4
    assert finding.gradient_accumulation_steps == 1
    assert len(finding.plot().axes) >= 2
    loader = finding.dataloader(data, num_workers=0)
    assert (loader.batch_size, loader.drop_last, len(loader)) == (4, False, 16)
    with pytest.raises(autobatch.SettingsError, match="batch_size=3"):
        finding.dataloader(data, batch_size=3)


def test_the_example_reaches_the_same_weights_with_and_without_the_call() -> None:
    def run(*arguments: str) -> list[str]:
        command = [sys.executable, str(EXAMPLES / "training_loop.py"), "--steps", "30"]
        done = subprocess.run(
            [*command, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[-2:]

    used, weights = run()
    assert run(*used.split()) == [used, weights]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_size_whose_samples_teach_most_is_found_for_objects_too(isolation: str) -> None:
    options = {"goal": "efficiency", "isolation": isolation, "max_batch_size": 16}
    finding = find(nn.Linear(8, 3), make_data(512), **options)
    assert finding.gradient_noise is not None and finding.efficiency is not None
    assert finding.gradient_noise.noise_scale > 0
    assert finding.batch_size == finding.efficiency.batch_size
    plain = find(nn.Linear(8, 3), make_data(512), isolation=isolation)
    assert plain.gradient_noise is None
    asked = find(nn.Linear(8, 3), make_data(512), isolation=isolation, gradient_noise=True)
    assert asked.gradient_noise is not None


def test_forks_and_the_shared_process_measure_noise_alike() -> None:
    model = nn.Linear(8, 3)
    options = {"goal": "efficiency", "max_batch_size": 16}
    found = [
        find(model, make_data(512), isolation=isolation, **options).gradient_noise
        for isolation in ISOLATIONS
    ]
    # How many gradients there is time for differs, and the estimates with it.
    for one, other in ((found[0], found[-1]), (found[-1], found[0])):
        assert one.low <= other.noise_scale
        assert one.high is None or other.noise_scale <= one.high


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_noise_scale_of_random_inputs_is_refused(isolation: str) -> None:
    with pytest.raises(autobatch.WorkloadError, match="needs real data") as caught:
        find(nn.Linear(8, 3), "input=8,classes=3", goal="efficiency", isolation=isolation)
    assert caught.value.hint


def test_measuring_noise_that_never_ends_is_given_up_in_the_shared_process() -> None:
    import time

    is_slow = []

    def batch(size: int) -> Any:
        if is_slow:
            time.sleep(0.2)
        return torch.ones(size, 8), torch.zeros(size).long()

    workload = describe_objects(nn.Linear(8, 3), batch)
    with SharingProber(workload, Settings(device="cpu", gradient_noise=True)) as prober:
        prober.load()
        is_slow.append(True)
        with pytest.raises(WorkerError, match="no end after"):
            measure_noise(prober, NoisePlan(micro_batch_size=2), timeout_s=0.5)
