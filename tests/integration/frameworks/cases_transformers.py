"""Tuning a Hugging Face Trainer, against the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from torch import nn

pytest.importorskip("transformers")
from accelerate.utils import DistributedType
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import EvalLoopContainer

from autobatch.errors import WorkloadError
from autobatch.integrations.transformers import tune
from autobatch.rehearsal.job import RehearsalJob

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LENGTH = 8


class Tokens(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """So many sequences, each of one token."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.full((LENGTH,), index % 32)
        return {"input_ids": tokens, "labels": tokens}


class Spy(TrainerCallback):
    """Notes what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        for name in dir(TrainerCallback):
            if name.startswith("on_"):
                setattr(self, name, self._note(name))

    def _note(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **keywords: self.told.append(name)


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def make(num_samples: int = 64, **options: Any) -> Trainer:
        set_seed(0)
        config = GPT2Config(vocab_size=32, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2)
        names = ("eval_dataset", "callbacks", "compute_metrics", "preprocess_logits_for_metrics")
        others = {name: options.pop(name) for name in names if name in options}
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            **{
                "max_steps": 3,
                "per_device_train_batch_size": 32,
                "learning_rate": 1e-2,
                "use_cpu": True,
                "report_to": [],
                "save_strategy": "no",
                "disable_tqdm": True,
                "logging_steps": 1,
                "dataloader_pin_memory": False,
                **options,
            },
        )
        model, data = GPT2LMHeadModel(config), Tokens(num_samples)
        return Trainer(model, arguments, train_dataset=data, **others)

    return make


def _weights(trainer: Trainer) -> dict[str, Any]:
    return {name: value.tolist() for name, value in trainer.model.state_dict().items()}


def test_the_sizes_are_set_and_the_global_batch_is_left_as_asked(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(per_device_train_batch_size=8, gradient_accumulation_steps=6)
    finding = tune(trainer, **quick)
    args = trainer.args
    assert args.per_device_train_batch_size == finding.batch_size == 16
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 48
    assert args.learning_rate == 1e-2
    trainer.train()
    assert trainer.state.train_batch_size == 16


def test_trials_accumulate_and_clip_as_the_trainer_does(
    make_trainer: Any, quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def note(parameters: Any, max_norm: float) -> Any:
        norms.append(max_norm)
        return clip(parameters, max_norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", note)
    trainer = make_trainer(
        per_device_train_batch_size=8, gradient_accumulation_steps=4, max_grad_norm=0.3
    )
    finding = tune(trainer, isolation="shared", **quick)
    assert {trial.num_passes for trial in finding.trials} == {2}
    assert len(norms) >= sum(trial.num_steps for trial in finding.trials)
    assert set(norms) == {0.3}


def test_what_was_set_is_one_line_of_the_log_however_often_it_searched(
    make_trainer: Any, quick: Any, caplog: Any
) -> None:
    trainer = make_trainer(per_device_train_batch_size=8, gradient_accumulation_steps=6)
    with caplog.at_level("INFO", logger="autobatch"):
        tune(trainer, **quick)
    (line,) = [each.message for each in caplog.records if each.name == "autobatch"]
    assert line.startswith("tune() set batch size 8 -> 16, 3 accumulation steps, 2 iterations ")


def test_where_there_is_something_to_evaluate_on_the_size_for_it_is_set_too(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(per_device_eval_batch_size=3)
    tune(trainer, **quick)
    assert trainer.args.per_device_eval_batch_size == 3
    trainer = make_trainer(eval_dataset=Tokens(24), per_device_eval_batch_size=3)
    finding = tune(trainer, **quick)
    assert trainer.args.per_device_eval_batch_size == finding.eval_batch_size == 16
    assert 16 in [trial.batch_size for trial in finding.eval_trials if trial.fits]
    assert trainer.evaluate()["eval_loss"] > 0


def _rehearse(trainer: Trainer, quick: Any) -> list[str]:
    """Names of the parts; in this process, so that it is seen what was called.

    Few shuffled steps: what is tested is the evaluation after them.
    """
    with pytest.MonkeyPatch.context() as patch:
        job = partial(RehearsalJob, max_steps=6)
        patch.setattr("autobatch.rehearsal.examine.RehearsalJob", job)
        finding = tune(trainer, rehearse=True, isolation="shared", **quick)
    assert finding.rehearsal is not None
    assert finding.rehearsal.passes
    return [stage.name for stage in finding.rehearsal.stages]


def test_a_rehearsal_evaluates_as_the_trainer_does_and_leaves_nothing_behind(
    make_trainer: Any, quick: Any
) -> None:
    seen: list[tuple[int, ...]] = []

    def note(predictions: Any) -> dict[str, float]:
        seen.append(predictions.predictions.shape)
        return {"mean": float(predictions.predictions.mean())}

    spy = Spy()
    options = {"eval_dataset": Tokens(24), "per_device_eval_batch_size": 3, "callbacks": [spy]}
    trainer = make_trainer(compute_metrics=note, **options)
    set_or_cached = {"_train_batch_size", "_signature_columns"}
    before = {name: value for name, value in vars(trainer).items() if name not in set_or_cached}
    told = list(spy.told)
    assert "evaluation of all 24 samples, 16 at a time" in _rehearse(trainer, quick)
    assert seen[-1] == (24, LENGTH, 32), "the logits of the whole set"
    assert (spy.told, trainer.state.log_history) == (told, [])
    assert trainer.accelerator._models == []
    assert {name: vars(trainer)[name] for name in before} == before
    # What is set to keep less keeps less.
    trainer = make_trainer(
        compute_metrics=note,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        **options,
    )
    _rehearse(trainer, quick)
    assert seen[-1] == (24, LENGTH)
    seen.clear()
    _rehearse(make_trainer(compute_metrics=note, prediction_loss_only=True, **options), quick)
    assert seen == []


@pytest.mark.parametrize(("every", "times"), [(None, 1), (1, 2)])
def test_a_rehearsal_moves_logits_to_the_host_as_often_as_the_trainer_does(
    make_trainer: Any, quick: Any, monkeypatch: pytest.MonkeyPatch, every: int | None, times: int
) -> None:
    moved: list[EvalLoopContainer] = []
    move = EvalLoopContainer.to_cpu_and_numpy

    def note(container: EvalLoopContainer) -> None:
        if container.tensors is not None:
            moved.append(container)
        move(container)

    monkeypatch.setattr(EvalLoopContainer, "to_cpu_and_numpy", note)
    trainer = make_trainer(
        compute_metrics=lambda predictions: {},
        eval_dataset=Tokens(24),
        per_device_eval_batch_size=3,
        eval_accumulation_steps=every,
    )
    _rehearse(trainer, quick)
    assert max(Counter(map(id, moved)).values()) == times, "of two batches, of 16 and 8"


def test_a_rehearsal_generates_where_the_trainer_does(
    tmp_path: Path, quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = T5Config(
        vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path), predict_with_generate=True, generation_max_length=11,
        per_device_train_batch_size=16, use_cpu=True, report_to=[], save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    shapes: list[tuple[int, ...]] = []
    trainer = Seq2SeqTrainer(
        T5ForConditionalGeneration(config),
        arguments,
        train_dataset=Tokens(32),
        eval_dataset=Tokens(24),
        compute_metrics=lambda each: {"n": float(len(shapes.append(each.predictions.shape) or []))},
    )
    generate, lengths = trainer.model.generate, []
    trainer.model.generate = lambda **options: (
        lengths.append(options["max_length"]),
        generate(**options),
    )[1]
    assert "evaluation of all 24 samples, 16 at a time" in _rehearse(trainer, quick)
    assert lengths[-2:] == [11, 11], "two batches"
    assert len(shapes[-1]) == 2, "tokens, not logits"


def test_a_size_that_divides_the_global_batch_is_taken_and_has_run(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(per_device_train_batch_size=50)
    finding = tune(trainer, **quick)
    assert (finding.batch_size, finding.gradient_accumulation_steps) == (10, 5)
    assert 10 in [trial.batch_size for trial in finding.trials if trial.step_times_s]


def test_without_a_global_batch_to_keep_the_learning_rate_is_scaled(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(per_device_train_batch_size=4)
    finding = tune(trainer, keep_global_batch=False, **quick)
    assert finding.batch_size == 16
    assert trainer.args.learning_rate == pytest.approx(2e-2)  # AdamW: the root of 16 / 4


def test_nothing_is_left_behind_but_the_sizes(
    make_trainer: Any, quick: Any, isolation: str, random_state: Callable[[], Any]
) -> None:
    results = []
    for is_tuned in (True, False):
        spy = Spy()
        options = {"gradient_accumulation_steps": 2} if not is_tuned else {}
        size = 32 if is_tuned else 16
        trainer = make_trainer(per_device_train_batch_size=size, callbacks=[spy], **options)
        before = random_state()
        if is_tuned:
            tune(trainer, isolation=isolation, **quick)
            assert trainer.optimizer is None
            assert trainer.accelerator._dataloaders == []
        assert random_state() == before
        told_before = list(spy.told)
        trainer.train()
        results.append((told_before, spy.told, _weights(trainer), random_state()))
    tuned, plain = results
    assert plain[0] == ["on_init_end"]
    assert tuned == plain


def test_between_two_runs_it_runs_real_steps_and_training_goes_on_the_same(
    make_trainer: Any, quick: Any
) -> None:
    weights = []
    for is_tuned in (True, False):
        trainer = make_trainer(per_device_train_batch_size=16)
        trainer.train()
        if is_tuned:
            finding = tune(trainer, **quick)
            assert all(trial.step_times_s for trial in finding.trials)
            assert finding.batch_size == 16
        trainer.train()
        weights.append(_weights(trainer))
    assert weights[0] == weights[1]


def test_a_start_value_is_not_ignored(make_trainer: Any, quick: Any) -> None:
    finding = tune(make_trainer(), **quick | {"min_batch_size": 4})
    assert min(trial.batch_size for trial in finding.trials) == 4


def test_a_small_data_set_without_its_last_batch_is_still_trained_on(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(num_samples=10, dataloader_drop_last=True)
    finding = tune(trainer, **quick)
    assert (finding.batch_size, finding.gradient_accumulation_steps) == (8, 4)
    assert len(trainer.get_train_dataloader()) == 1
    trainer.train()
    assert trainer.state.global_step == 3


def test_an_endless_stream_of_samples_is_trained_on(make_trainer: Any, quick: Any) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            tokens = Tokens(32)
            while True:
                yield from (tokens[index] for index in range(32))

    trainer = make_trainer()
    trainer.train_dataset = Stream()
    finding = tune(trainer, **quick)
    assert (finding.batch_size, finding.gradient_accumulation_steps) == (16, 2)
    trainer.train()
    assert trainer.state.global_step == 3


def test_nothing_is_kept_from_one_call_to_the_next(make_trainer: Any, quick: Any) -> None:
    options = quick | {"max_batch_size": 1024}
    trainer = make_trainer(num_samples=8)
    assert tune(trainer, keep_global_batch=False, **options).batch_size == 8
    trainer.train_dataset = Tokens(32)
    assert tune(trainer, keep_global_batch=False, **options).batch_size == 32


def test_a_step_is_the_trainers_own_with_activations_checkpointed_as_in_training(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer(gradient_checkpointing=True, label_smoothing_factor=0.1)
    losses, was_on = [], []

    class Watch(nn.Module):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            was_on.append(trainer.model.is_gradient_checkpointing)
            return hidden

    compute = trainer.compute_loss
    trainer.compute_loss = lambda *given: (losses.append(1), compute(*given))[1]
    trainer.model.transformer.drop = Watch()
    tune(trainer, isolation="shared", **quick)
    assert losses
    assert set(was_on) == {True}
    assert not trainer.model.is_gradient_checkpointing


def test_a_given_optimizer_is_used_and_scaled(make_trainer: Any, quick: Any) -> None:
    trainer = make_trainer(per_device_train_batch_size=4)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    tune(trainer, keep_global_batch=False, **quick)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.4)


def test_a_collator_that_runs_out_of_memory_ends_the_growth_and_not_the_run(
    make_trainer: Any, quick: Any
) -> None:
    trainer = make_trainer()
    collate = trainer.data_collator

    def collate_or_fail(samples: list[Any]) -> Any:
        if len(samples) > 8:
            numpy.empty(2**50)  # numpy._core._exceptions._ArrayMemoryError
        return collate(samples)

    trainer.data_collator = collate_or_fail
    finding = tune(trainer, **quick)
    assert [trial.outcome.value for trial in finding.trials] == ["fits", "out_of_memory"]
    assert (finding.batch_size, finding.gradient_accumulation_steps) == (8, 4)


def test_what_ddp_does_not_wrap_is_refused(make_trainer: Any, quick: Any) -> None:
    trainer = make_trainer()
    trainer.args._n_gpu = 2
    with pytest.raises(WorkloadError, match="2 GPUs train in one process") as caught:
        tune(trainer, **quick)
    assert "torchrun --nproc-per-node 2" in caught.value.hint
    trainer.args._n_gpu = 0
    for kind, words in ((DistributedType.FSDP, "by FSDP, and not by DDP"), (None, "no train_data")):
        trainer.args.distributed_state = SimpleNamespace(num_processes=2, distributed_type=kind)
        trainer.accelerator.state.distributed_type = kind or DistributedType.MULTI_CPU
        trainer.train_dataset = None
        with pytest.raises(WorkloadError, match=words) as caught:
            tune(trainer, **quick)
        assert caught.value.hint


TWO_PROCESSES = """
import tempfile
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
from autobatch.integrations.transformers import tune

data = [{"input_ids": torch.full((8,), i), "labels": torch.full((8,), i)} for i in range(32)] * 3

def train(size, passes, search=False):
    set_seed(0)
    args = TrainingArguments(
        output_dir=tempfile.gettempdir(), max_steps=3, per_device_train_batch_size=size,
        gradient_accumulation_steps=passes, use_cpu=True, report_to=[], save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, learning_rate=1e-2,
    )
    config = GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
    trainer = Trainer(GPT2LMHeadModel(config), args, train_dataset=data)
    told = {}
    if search:
        finding = tune(trainer, goal="memory", min_batch_size=8, max_batch_size=16)
        assert not any(each._backward_hooks for each in trainer.model.parameters())
        told = {"base": finding.recommendation.base_batch_size,
                "global": finding.recommendation.global_batch_size,
                "parallel": finding.workload.parallel}
    trainer.train()
    told["sizes"] = [args.per_device_train_batch_size, args.gradient_accumulation_steps]
    return told, [each.tolist() for each in trainer.model.parameters()]

told, weights = train(4, 6, search=True)
tell(**told, is_same=weights == train(*told["sizes"])[1], first=weights[0])
"""


@pytest.mark.timeout(240)
def test_two_processes_get_one_size_and_train_to_the_same_bits(in_two_processes: Any) -> None:
    told, errors = in_two_processes(TWO_PROCESSES)
    for each in told:
        assert (each["sizes"], each["base"], each["global"]) == ([12, 2], 48, 48)
        assert each["parallel"] == "DDP"
        assert each["is_same"], "as the training at that size without the search"
    assert told[0]["first"] == told[1]["first"]
    assert errors.count("tune() set batch size 4 -> 12, 2 accumulation steps") == 1


def test_a_trainer_without_data_is_refused(make_trainer: Any, quick: Any) -> None:
    trainer = make_trainer()
    trainer.train_dataset = None
    with pytest.raises(WorkloadError, match="no train_dataset") as caught:
        tune(trainer, **quick)
    assert caught.value.hint
