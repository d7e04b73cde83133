"""The Lightning callback against the real library, and what others' callbacks get wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

pytest.importorskip("lightning")
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import CombinedLoader

from autobatch.errors import SearchInterrupted, WorkloadError
from autobatch.integrations import lightning
from autobatch.integrations.lightning import BatchSizeTuner

# Lightning advises more loader workers, and uses what later versions of PyTorch deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
)


class Spy(Callback):
    """Notes which of its hooks were called."""

    def __init__(self) -> None:
        self.called: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in HOOKS:
            self.called[name] += 1
        return super().__getattribute__(name)


class Memory(Logger):
    """Keeps what it is given to log."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[Any] = []

    name, version = "memory", 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.metrics.append((step, dict(metrics)))

    def log_hyperparams(self, *arguments: Any, **keywords: Any) -> None:
        pass


class Net(LightningModule):
    """Normalization, dropout and momentum: each has a state that a search could leave behind."""

    def __init__(self, batch_size: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3)
        )
        self.sizes: list[int] = []
        self.own_hooks: Counter[str] = Counter()
        if batch_size is not None:
            self.batch_size = batch_size

    def training_step(self, batch: Any, batch_index: int) -> dict[str, torch.Tensor]:
        inputs, labels = batch
        self.sizes.append(len(inputs))
        loss = nn.functional.cross_entropy(self.layers(inputs), labels)
        self.log("loss", loss, on_step=True)
        self.logger.log_metrics({"by itself": 1})
        return {"loss": loss}

    def configure_optimizers(self) -> Any:
        self.own_hooks["configure_optimizers"] += 1
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=100)]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.own_hooks["on_before_optimizer_step"] += 1

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.own_hooks["on_train_batch_end"] += 1


class Data(LightningDataModule):
    """A dataset, in batches of ``batch_size``."""

    def __init__(self, dataset: TensorDataset, batch_size: int = 4, **options: Any) -> None:
        super().__init__()
        self.dataset, self.batch_size = dataset, batch_size
        self.options = {"shuffle": True, **options}

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.dataset, self.batch_size, **self.options)


def _trainer(*callbacks: Callback, **options: Any) -> Trainer:
    return Trainer(
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "callbacks": list(callbacks),
            "logger": Memory(),
            "log_every_n_steps": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


def _fit(trainer: Trainer, dataset: Any, batch_size: int, **options: Any) -> Net:
    torch.manual_seed(0)
    module = Net()
    trainer.fit(module, Data(dataset, batch_size, **options))
    return module


def test_the_run_is_trained_with_a_size_that_ran(quick: Any, make_data: Any) -> None:
    tuner = BatchSizeTuner(**quick)
    module = _fit(_trainer(tuner), make_data(48), 4)
    finding = tuner.finding
    assert finding is not None
    assert finding.batch_size == 16
    assert [t.batch_size for t in finding.trials if t.fits and t.step_times_s][-1] == 16
    assert module.sizes == [16, 16, 16] * 2


def test_nothing_is_left_behind_but_the_size(
    quick: Any, make_data: Any, isolation: str, random_state: Callable[[], Any]
) -> None:
    results = []
    for callbacks, size in (
        ([BatchSizeTuner(isolation=isolation, **quick)], 4),
        ([], 16),  # without it, at the size that it finds
    ):
        spy = Spy()
        trainer = _trainer(*callbacks, spy)
        module = _fit(trainer, make_data(40), size)
        results.append(
            {
                "weights": {name: value.tolist() for name, value in module.state_dict().items()},
                "sizes": module.sizes,
                "hooks": spy.called,
                "own hooks": module.own_hooks,
                "logged": trainer.logger.metrics,
                "random": random_state(),
                "attributes": sorted(vars(module)),
            }
        )
    tuned, plain = results
    assert plain["hooks"]["on_train_batch_end"] == 6
    assert plain["own hooks"]["configure_optimizers"] == 1
    for what in plain:
        assert tuned[what] == plain[what], what


def test_loaders_that_were_passed_to_fit_get_the_size(quick: Any, make_data: Any) -> None:
    tuner, module = BatchSizeTuner(**quick), Net()
    loader = DataLoader(make_data(48), 4, shuffle=True, num_workers=0, drop_last=True)
    trainer = _trainer(tuner)
    trainer.fit(module, train_dataloaders=loader)
    assert set(module.sizes) == {16}
    used = trainer.train_dataloader
    assert (used.batch_size, used.drop_last, used.dataset) == (16, True, loader.dataset)
    assert isinstance(used.sampler, RandomSampler)
    assert loader.batch_size == 4  # the user's own is as it was


@pytest.mark.parametrize("place", ["module", "hparams"])
def test_the_size_is_set_where_the_module_reads_it(place: str, quick: Any, make_data: Any) -> None:
    class OwnData(Net):
        def train_dataloader(self) -> DataLoader[Any]:
            holder = self if place == "module" else self.hparams
            return DataLoader(make_data(32), holder.batch_size)

    module = OwnData(batch_size=4 if place == "module" else None)
    if place == "hparams":
        module.save_hyperparameters({"batch_size": 4})
    _trainer(BatchSizeTuner(**quick)).fit(module)
    assert set(module.sizes) == {16}


def test_a_start_value_is_not_ignored(quick: Any, make_data: Any) -> None:
    tuner = BatchSizeTuner(**quick | {"min_batch_size": 7})
    _fit(_trainer(tuner), make_data(48), 4)
    assert tuner.finding is not None
    assert min(trial.batch_size for trial in tuner.finding.trials) == 7


def test_a_small_data_set_without_its_last_batch_is_still_trained_on(
    quick: Any, make_data: Any
) -> None:
    tuner = BatchSizeTuner(**quick | {"max_batch_size": 1024})
    module = _fit(_trainer(tuner), make_data(10), 4, drop_last=True)
    assert tuner.finding is not None
    assert tuner.finding.batch_size <= 10
    assert len(module.sizes) >= 2


def test_nothing_is_kept_from_one_fit_to_the_next(quick: Any, make_data: Any) -> None:
    tuner = BatchSizeTuner(**quick | {"max_batch_size": 1024})
    first = _fit(_trainer(tuner), make_data(10), 4)
    finding = tuner.finding
    second = _fit(_trainer(tuner), make_data(20), 4)
    assert (first.sizes[0], second.sizes[0]) == (10, 20)
    assert tuner.finding is not finding


def test_in_the_middle_of_training_it_runs_real_steps_and_training_goes_on_the_same(
    quick: Any, make_data: Any, isolation: str
) -> None:
    class InTheMiddle(BatchSizeTuner):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            pass

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.finding = self.tune(trainer, pl_module)

    tuner = InTheMiddle(isolation=isolation, **quick)
    tuned = _fit(_trainer(tuner), make_data(32), 16)
    plain = _fit(_trainer(), make_data(32), 16)
    assert tuner.finding is not None
    assert all(trial.step_times_s for trial in tuner.finding.trials)
    assert tuned.sizes == plain.sizes
    for name, value in plain.state_dict().items():
        assert torch.equal(tuned.state_dict()[name], value), name


def test_the_learning_rate_and_where_schedulers_begin_are_scaled(
    quick: Any, make_data: Any
) -> None:
    tuner = BatchSizeTuner(scale_learning_rate=True, **quick)
    trainer = _trainer(tuner)
    _fit(trainer, make_data(48), 4)
    assert tuner.finding is not None
    assert tuner.finding.learning_rate == pytest.approx(0.4)  # SGD: 16 / 4 times as much
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.4)
    assert trainer.lr_scheduler_configs[0].scheduler.base_lrs == pytest.approx([0.4])


def test_a_global_batch_is_reached_by_accumulation(quick: Any, make_data: Any) -> None:
    tuner = BatchSizeTuner(global_batch_size=48, **quick)
    trainer = _trainer(tuner)
    module = _fit(trainer, make_data(96), 4)
    assert (module.sizes[0], trainer.accumulate_grad_batches) == (16, 3)
    assert module.own_hooks["on_before_optimizer_step"] == 4


def test_trials_accumulate_and_clip_as_the_trainer_does(quick: Any, make_data: Any) -> None:
    clipped = []

    class Clipping(Net):
        def configure_gradient_clipping(self, optimizer: Any, **options: Any) -> None:
            clipped.append(options["gradient_clip_val"])
            self.clip_gradients(optimizer, **options)

    tuner = BatchSizeTuner(isolation="shared", **quick)
    trainer = _trainer(tuner, accumulate_grad_batches=3, gradient_clip_val=0.5, max_epochs=1)
    torch.manual_seed(0)
    trainer.fit(Clipping(), Data(make_data(96), 4))
    finding = tuner.finding
    assert finding is not None
    assert {trial.num_passes for trial in finding.trials} == {2}
    assert (finding.gradient_accumulation_steps, trainer.accumulate_grad_batches) == (3, 3)
    assert finding.recommendation.base_batch_size == 12
    assert len(clipped) > sum(trial.num_steps for trial in finding.trials)
    assert set(clipped) == {0.5}


def test_a_quick_look_is_left_alone(quick: Any, make_data: Any) -> None:
    tuner = BatchSizeTuner(**quick)
    module = _fit(_trainer(tuner, fast_dev_run=True), make_data(48), 4)
    assert tuner.finding is None
    assert module.sizes == [4]


class Manual(Net):
    automatic_optimization = False


class Deaf(Data):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.dataset, 4)


def test_what_has_no_single_size_to_set_is_refused_before_anything_runs(
    quick: Any, make_data: Any
) -> None:
    data = make_data(32)
    loader = DataLoader(data, 4)
    manual = Manual()
    manual.automatic_optimization = False
    nowhere = Net()
    nowhere.train_dataloader = lambda: loader  # type: ignore[method-assign]
    for module, source, words in (
        (manual, Data(data), "automatic_optimization = False"),
        (nowhere, None, "there is no 'batch_size'"),
        (Net(), CombinedLoader([loader, loader]), "CombinedLoader"),
    ):
        with pytest.raises(WorkloadError, match=words) as caught:
            _trainer(BatchSizeTuner(**quick)).fit(module, source)
        assert caught.value.hint
        assert module.sizes == []


def test_a_loader_that_does_not_follow_the_attribute_is_an_error(
    quick: Any, make_data: Any
) -> None:
    with pytest.raises(WorkloadError, match="makes batches of 4") as caught:
        _trainer(BatchSizeTuner(**quick)).fit(Net(), Deaf(make_data(32)))
    assert "self.batch_size" in caught.value.hint


def test_what_was_set_is_one_line_of_the_log(quick: Any, make_data: Any, caplog: Any) -> None:
    tuner = BatchSizeTuner(**quick, scale_learning_rate=True)
    with caplog.at_level("INFO", logger="autobatch"):
        _fit(_trainer(tuner), make_data(48), 8)
    (line,) = [each.message for each in caplog.records if each.name == "autobatch"]
    assert line.startswith(
        "BatchSizeTuner set batch size 8 -> 16, learning rate 0.1 -> 0.2, 3 iter"
    )


def test_an_interrupted_search_is_kept_though_the_trainer_ends_the_process(
    quick: Any, make_data: Any, caplog: Any, monkeypatch: Any
) -> None:
    best = SimpleNamespace(batch_size=8)

    def press_ctrl_c(*objects: Any, **options: Any) -> None:
        raise SearchInterrupted(best)

    monkeypatch.setattr(lightning, "find_for_objects", press_ctrl_c)
    tuner = BatchSizeTuner(**quick)
    with (
        caplog.at_level("INFO", logger="autobatch"),
        pytest.raises((SystemExit, KeyboardInterrupt)),
    ):
        _fit(_trainer(tuner), make_data(48), 8)
    assert tuner.finding is best
    assert "BatchSizeTuner interrupted: best so far 8, in .finding" in caplog.messages


TWO_PROCESSES = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from autobatch.integrations.lightning import BatchSizeTuner

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)
        )
        self.seen = []
    def training_step(self, batch, index):
        self.seen.append(batch[0].sum().item())
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss, sync_dist=True)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

class Data(LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size
    def train_dataloader(self):
        generator = torch.Generator().manual_seed(1)
        data = TensorDataset(torch.randn(96, 8, generator=generator), torch.arange(96) % 3)
        return DataLoader(data, self.batch_size, shuffle=True)

def fit(batch_size, accumulated, *callbacks):
    seed_everything(0, verbose=False)
    module, data = Net(), Data(batch_size)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", callbacks=list(callbacks),
        accumulate_grad_batches=accumulated, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(module, data)
    weights = [each.tolist() for each in module.state_dict().values()]
    return trainer.accumulate_grad_batches, weights, module.seen

tuner = BatchSizeTuner(
    goal="memory", min_batch_size=8, max_batch_size=16, global_batch_size=96, isolation="process"
)
accumulated, weights, seen = fit(4, 1, tuner)
finding = tuner.finding
tell(
    size=finding.batch_size, accumulated=accumulated, seen=seen,
    base=finding.recommendation.base_batch_size, parallel=finding.workload.parallel,
    exchanges=[each.num_exchanges for trial in finding.trials for each in trial.ranks],
    is_same=(accumulated, weights, seen) == fit(16, 3), first_layer=weights[0],
)
"""


@pytest.mark.timeout(240)
def test_two_processes_under_ddp_get_one_size_and_train_to_the_same_bits(
    in_two_processes: Any,
) -> None:
    told, errors = in_two_processes(TWO_PROCESSES)
    for each in told:
        assert (each["size"], each["accumulated"], each["base"]) == (16, 3, 8)
        assert each["parallel"] == "DDP"
        assert min(each["exchanges"]) > 0
        assert each["is_same"], "as the training at that size without the search"
    assert told[0]["first_layer"] == told[1]["first_layer"]
    assert len(told[0]["seen"]) == 6
    assert set(told[0]["seen"]).isdisjoint(told[1]["seen"]), "each has its own samples"
    assert errors.count("BatchSizeTuner set batch size 4 -> 16") == 1
