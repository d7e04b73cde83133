"""Models of catalogues as targets: real libraries, real models, nothing downloaded."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.commands import run_autobatch

from autobatch.errors import AutobatchError, SettingsError, WorkloadError
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings

SHORT = TimingPlan(num_warmup_steps=2, min_steps=1, max_time_s=0.0)
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def named(target: str, **values: str) -> str:
    """A target with values behind it, as a user types it."""
    return ",".join([target, *(f"{key}={value}" for key, value in values.items())])


BERT = {"num_hidden_layers": "1", "hidden_size": "16", "num_attention_heads": "2"}
GPT2 = {"n_layer": "1", "n_embd": "16", "n_head": "2", "vocab_size": "64"}

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)

# The wheels of torchvision for GPUs load on any PyTorch once these operators have a name; no
# classifier uses them. With AUTOBATCH_VISION_PATH naming a folder that has them (.ci/run makes it),
# the real libraries are tested where only PyTorch for CPUs is.
SHIM = """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


@pytest.fixture
def start() -> Iterator[Callable[..., TargetProber]]:
    started = []

    def start_prober(target: str, variables: dict[str, str] | None = None, **settings: Any) -> Any:
        variables = OFFLINE | (variables or {})
        prober = TargetProber(target, Settings(device="cpu", variables=variables, **settings))
        prober.__enter__()
        started.append(prober)
        return prober

    yield start_prober
    for prober in started:
        prober.__exit__(None, None, None)


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a process in which torchvision and timm can be imported."""
    variables = {}
    folder = os.environ.get("AUTOBATCH_VISION_PATH")
    if folder:
        shim = tmp_path_factory.mktemp("shim")
        (shim / "sitecustomize.py").write_text(SHIM)
        variables["PYTHONPATH"] = os.pathsep.join([str(shim), folder])
    check = [sys.executable, "-c", "import timm, torchvision"]
    if subprocess.run(check, env={**os.environ, **variables}, capture_output=True).returncode:
        pytest.skip("timm and torchvision cannot be imported, and AUTOBATCH_VISION_PATH is not set")
    return variables


def _error(call: Callable[[], Any]) -> AutobatchError:
    with pytest.raises(AutobatchError) as caught:
        call()
    assert caught.value.hint
    return caught.value


@needs_transformers
def test_gpt2_is_probed_from_end_to_end_with_real_memory(tmp_path: Path) -> None:
    output = tmp_path / "finding.json"
    done = run_autobatch(
        "probe", "hf:gpt2,n_layer=2,n_embd=64,n_head=2,vocab_size=9000,sequence_length=64",
        "--goal", "memory", "--max-batch-size", "8", "-o", output, "--json",
        **OFFLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    finding = json.loads(done.stdout)
    workload = finding["workload"]
    assert finding["target"].startswith("hf:gpt2,n_layer=2,")
    assert workload["model"] == "GPT2LMHeadModel"
    # Embeddings of tokens and positions, two layers, the last norm; the head shares the first.
    assert workload["num_parameters"] == 64 * (9000 + 1024) + 2 * (12 * 64**2 + 13 * 64) + 2 * 64
    assert workload["data"] == "random tokens below 9,000, 64 long"
    assert workload["loss"] == "returned by the model"
    peaks = {trial["batch_size"]: trial["peak_bytes"] for trial in finding["trials"]}
    # Logits and their gradient alone are 2 x 64 x 9,000 floats for each sample more.
    assert peaks[8] - peaks[1] > 7 * 2 * 64 * 9000 * 4
    assert json.loads(output.read_text()) == finding


@needs_transformers
def test_bert_is_trained_to_fill_gaps(start: Any) -> None:
    prober = start(named("hf:bert", **BERT, sequence_length="16"))
    workload = prober.load().workload
    assert workload.model == "BertForMaskedLM"
    assert workload.data == "random tokens below 30,522, 16 long"
    assert prober.measure(3, SHORT).fits


@needs_transformers
@pytest.mark.parametrize(
    ("target", "overrides", "model", "data"),
    [
        (
            "hf:bert:sequence-classification",
            BERT | {"num_labels": "5"},
            "BertForSequenceClassification",
            "random tokens below 30,522, 16 long, 5 classes",
        ),
        (
            "hf:gpt2:sequence-classification",  # which needs a padding token
            GPT2,
            "GPT2ForSequenceClassification",
            "random tokens below 64, 16 long, 2 classes",
        ),
        (
            "hf:gpt2:token-classification",
            GPT2,
            "GPT2ForTokenClassification",
            "random tokens below 64, 16 long, 2 classes",
        ),
        (
            "hf:t5",
            {"num_layers": "1", "d_model": "16", "num_heads": "2", "vocab_size": "64"},
            "T5ForConditionalGeneration",
            "random tokens below 64, 16 long",
        ),
        (
            "hf:llama",
            {
                "num_hidden_layers": "1",
                "hidden_size": "16",
                "intermediate_size": "16",
                "num_attention_heads": "2",
                "vocab_size": "64",
            },
            "LlamaForCausalLM",
            "random tokens below 64, 16 long",
        ),
        (
            "hf:vit",
            BERT | {"image_size": "32"},
            "ViTForImageClassification",
            "random images 3x32x32, 2 classes",
        ),
    ],
)
def test_a_transformer_is_made_with_the_head_that_is_asked_for_and_trained(
    target: str, overrides: dict[str, str], model: str, data: str
) -> None:
    # In this process, which has the library by now: most of the time goes into importing it.
    from autobatch.workload.task import load_task

    length = {} if "images" in data else {"sequence_length": "16"}
    task = load_task(named(target, **overrides, **length), Settings())
    assert type(task.model).__name__ == model
    assert task.source.description == data
    loss = task.loss(task.model, next(task.source.batches(3)))
    loss.backward()
    assert loss.isfinite()


@needs_transformers
def test_positions_that_are_counted_behind_the_padding_token_are_fewer() -> None:
    from autobatch.workload.task import load_task

    values = BERT | {"vocab_size": "64", "max_position_embeddings": "20"}
    task = load_task(named("hf:roberta", **values), Settings())
    batch = next(task.source.batches(2))
    assert batch["input_ids"].shape == (2, 18)
    assert task.loss(task.model, batch).isfinite()
    with pytest.raises(SettingsError, match="sequence_length=19 is more than its 18 positions"):
        load_task(named("hf:roberta", **values, sequence_length="19"), Settings())


@needs_transformers
def test_what_was_not_asked_for_is_said() -> None:
    from autobatch.workload.task import load_task

    task = load_task(named("hf:gpt2", **GPT2), Settings())
    assert any("causal-lm" in guess for guess in task.guesses)
    assert any("1,024 tokens" in guess for guess in task.guesses)
    assert not task.model.config.use_cache  # for generation alone


@needs_transformers
@pytest.mark.parametrize(
    ("target", "values", "kind", "words"),
    [
        ("hf:gpt22", {}, WorkloadError, ("no model type 'gpt22'", "gpt2")),
        ("hf:", {}, WorkloadError, ("no model type ''", "hf:gpt2")),
        ("hf:bert:poetry", {}, WorkloadError, ("has no 'poetry'", "masked-lm")),
        ("hf:whisper", {}, WorkloadError, ("no random batches for Whisper", "batch(batch_size)")),
        ("hf:gpt2", {"n_layers": "6"}, SettingsError, ("'n_layers'", "n_layer")),
        ("hf:gpt2", {"n_layer": "six"}, WorkloadError, ("n_layer=six failed",)),
        (
            "hf:gpt2",
            {"n_head": "7"},
            WorkloadError,
            ("n_head=7 failed", "divisible"),
        ),
        ("hf:gpt2", {"vocabulary": "0"}, SettingsError, ("`vocabulary` must be", "got '0'")),
        ("hf:gpt2", {"dtype": "float13"}, WorkloadError, ("dtype=float13",)),
        (
            "hf:gpt2",
            {**GPT2, "sequence_length": "1025"},
            SettingsError,
            ("sequence_length=1025", "1024 positions", "max_position_embeddings=1025"),
        ),
        ("hf:vit", {"sequence_length": "4", **BERT}, SettingsError, ("takes images",)),
        (
            "hf:llama",
            {"hidden_size": "65536"},
            WorkloadError,
            ("of weights", "are available", "hidden_size=65536,num_hidden_layers=2"),
        ),
    ],
)
def test_what_cannot_be_made_says_what_could(
    target: str, values: dict[str, str], kind: type[AutobatchError], words: tuple[str, ...]
) -> None:
    from autobatch.workload.task import load_task

    error = _error(lambda: load_task(named(target, **values), Settings()))
    assert isinstance(error, kind)
    for word in words:
        assert word in f"{error} {error.hint}"


# Trains each of several targets for a step, in one process: importing takes longer than that.
TRAIN_ALL = """
import json, sys
from autobatch.errors import AutobatchError
from autobatch.records import (Settings)
from autobatch.workload.task import load_task

answers = {}
for name, target in json.load(sys.stdin).items():
    try:
        task = load_task(target, Settings())
        loss = task.loss(task.model, next(task.source.batches(2)))
        loss.backward()
        answers[name] = f"{task.source.description}; finite: {bool(loss.isfinite())}"
    except AutobatchError as error:
        answers[name] = f"{type(error).__name__}: {error} | {error.hint}"
print(json.dumps(answers))
"""
SMALL = {"input": "3x64x64", "classes": "10"}
TRAINED: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "own size": ("timm:resnet18", {}, ("random images 3x224x224, 1,000 classes",)),
    "own size too": ("torchvision:resnet18", {}, ("random images 3x224x224, 1,000 classes",)),
    "size of a transformer": (
        "timm:vit_tiny_patch16_224",
        {"input": "1x32x32", "classes": "7", "depth": "1"},
        ("random images 1x32x32, 7 classes",),
    ),
    "another size": (
        "torchvision:mobilenet_v3_small",
        SMALL,
        ("random images 3x64x64, 10 classes",),
    ),
    "auxiliary classifiers": (
        "torchvision:googlenet",
        {**SMALL, "init_weights": "false"},
        ("10 classes",),
    ),
}
REFUSED: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "misspelt": ("timm:resnet5", {}, ("no image classifier 'resnet5'", "did you mean resnet50")),
    "elsewhere": ("timm:hf_hub:timm/resnet18", {}, ("no image classifier 'hf_hub:timm/resnet18'",)),
    "key": (
        "timm:resnet18",
        {"zero_init": "1"},
        ("zero_init=1 failed", "unexpected keyword argument 'zero_init'"),
    ),
    "no classes": (
        "timm:resnet18",
        {"num_classes": "0"},
        ("`num_classes` must be a whole number above 0, got 0",),
    ),
    "words": (
        "timm:resnet18",
        {"num_classes": "many"},
        ("`num_classes` must be a whole number above 0, got 'many'",),
    ),
    "tag": ("timm:resnet18.nothing", {"input": "3x64x64"}, ("timm:resnet18",)),
    "unknown": ("torchvision:resnet19", {}, ("no image classifier 'resnet19'", "resnet18")),
    "segmentation": (
        "torchvision:fcn_resnet50",
        {},
        ("no image classifier 'fcn_resnet50'",),
    ),
    "key too": (
        "torchvision:resnet18",
        {"grups": "2"},
        ("grups=2 failed", "unexpected keyword argument 'grups'"),
    ),
    "value": ("torchvision:resnet18", {"groups": "3"}, ("groups=3", "failed")),
}


@pytest.fixture(scope="module")
def answers(vision: dict[str, str]) -> dict[str, str]:
    cases = {name: named(case[0], **case[1]) for name, case in {**TRAINED, **REFUSED}.items()}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_ALL],
        input=json.dumps(cases),
        env={**os.environ, **OFFLINE, **vision},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_a_classifier_of_images_is_trained_at_its_own_size_or_the_one_asked_for(
    name: str, answers: dict[str, str]
) -> None:
    for word in (*TRAINED[name][2], "finite: True"):
        assert word in answers[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_classifier_that_cannot_be_made_says_what_could(
    name: str, answers: dict[str, str]
) -> None:
    for word in ("Error: ", " | ", *REFUSED[name][2]):
        assert word in answers[name]


def test_a_classifier_of_images_is_measured(start: Any, vision: dict[str, str]) -> None:
    prober = start(named("torchvision:squeezenet1_1", **SMALL), vision)
    workload = prober.load().workload
    assert (workload.model, workload.loss) == ("SqueezeNet", "cross_entropy")
    assert prober.measure(2, SHORT).fits


def test_a_library_that_cannot_be_imported_is_an_error_with_its_reason(
    tmp_path: Path, start: Any
) -> None:
    (tmp_path / "torchvision").mkdir()
    broken = 'raise RuntimeError("operator torchvision::nms does not exist")'
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    # The parent looks for the library as well, and this process's path is another.
    variables = {"PYTHONPATH": str(tmp_path)}
    error = _error(start("torchvision:resnet18", variables).load)
    assert "operator torchvision::nms does not exist" in str(error)
    assert "the build for your PyTorch" in error.hint
