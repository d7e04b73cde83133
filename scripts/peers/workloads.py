"""The workloads of the benchmark: plain PyTorch, so that no finder has an easier one.

Each is a function of no arguments that makes a ``Workload``: model, dataset, loss and optimizer.
Data is made up and small, a pool of samples that repeats, so that what takes memory is training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

_POOL_SIZE = 64
_NUM_ROWS = 2**16


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained.

    Attributes:
        model: The model.
        dataset: Samples of two tensors, or dictionaries for a model that takes ``**batch``.
        optimizer: Of the model's parameters.
        loss: Of the output and the target; ``None`` for a model that returns its loss.
    """

    model: nn.Module
    dataset: Pool
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any, Any], torch.Tensor] | None = None

    def compute_loss(self, batch: Any) -> torch.Tensor:
        """Forward pass and loss."""
        if self.loss is None:
            value: torch.Tensor = self.model(**batch).loss
            return value
        inputs, targets = batch
        return self.loss(self.model(inputs), targets)

    def make_loader(self, batch_size: int) -> DataLoader[Any]:
        """Batches of a size, in the same process, as is PyTorch's default."""
        return DataLoader(self.dataset, batch_size, shuffle=True, drop_last=True)

    def train(self, batch_size: int, num_steps: int) -> None:
        """Train for some steps."""
        self.model.train()
        num_done = 0
        while num_done < num_steps:
            for batch in self.make_loader(min(batch_size, len(self.dataset))):
                self.step(batch)
                num_done += 1
                if num_done == num_steps:
                    return

    def step(self, batch: Any) -> None:
        """One training step."""
        loss = self.compute_loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class Pool(Dataset[Any]):
    """Samples from a small pool, again and again."""

    def __init__(self, num_samples: int, make_sample: Callable[[], Any]) -> None:
        self._samples = [make_sample() for _ in range(_POOL_SIZE)]
        self._num_samples = num_samples

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> Any:
        return self._samples[index % _POOL_SIZE]


def make_mlp() -> Workload:
    """A multilayer perceptron on 64 features, 0.6 million parameters."""
    model = nn.Sequential(
        nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512),
        nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip
    return Workload(
        model=model,
        dataset=Pool(8_000, lambda: (torch.randn(64), torch.randint(10, ()))),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        loss=nn.functional.cross_entropy,
    )


def make_cnn() -> Workload:
    """A small convolutional network with BatchNorm on 3 x 32 x 32."""

    def block(num_inputs: int, num_outputs: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(num_outputs), nn.ReLU()]

    model = nn.Sequential(
        *block(3, 16, 1), *block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return _make_image_workload(model, num_samples=8_000, side=32)


class ResidualBlock(nn.Module):
    """Two convolutions, added to their input."""

    def __init__(self, num_inputs: int, num_outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(num_outputs),
            nn.ReLU(),
            nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or num_inputs != num_outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_inputs, num_outputs, 1, stride, bias=False),
                nn.BatchNorm2d(num_outputs),
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One block."""
        return nn.functional.relu(self.body(images) + self.shortcut(images))


def make_resnet() -> Workload:
    """The residual network of 18 layers (He et al. 2015) on 3 x 64 x 64, 11 million parameters."""
    blocks, num_inputs = [], 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [ResidualBlock(num_inputs, width, stride), ResidualBlock(width, width, 1)]
        num_inputs = width
    stem = (nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))
    model = nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1), *blocks, *head)
    return _make_image_workload(model, num_samples=4_000, side=64)


def _make_image_workload(model: nn.Module, *, num_samples: int, side: int) -> Workload:
    return Workload(
        model=model,
        dataset=Pool(num_samples, lambda: (torch.randn(3, side, side), torch.randint(10, ()))),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        loss=nn.functional.cross_entropy,
    )


class CharacterModel(nn.Module):
    """A transformer that predicts the next character of 64."""

    def __init__(self, *, vocabulary_size: int = 128, width: int = 128, length: int = 64) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.scores = nn.Linear(width, vocabulary_size)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """Scores of shape ``(samples, vocabulary, length)``."""
        states = self.characters(characters) + self.positions
        states = self.layers(states, mask=self.mask, is_causal=True)
        scores: torch.Tensor = self.scores(states)
        return scores.transpose(1, 2)


def make_gpt() -> Workload:
    """A character GPT of 2 layers, 0.4 million parameters, with AdamW."""
    model = CharacterModel()

    def make_sample() -> tuple[torch.Tensor, torch.Tensor]:
        text = torch.randint(128, (65,))
        return text[:-1], text[1:]

    return Workload(
        model=model,
        dataset=Pool(4_000, make_sample),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        loss=nn.functional.cross_entropy,
    )


class Forecaster(nn.Module):
    """One LSTM layer; the last state predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Predictions for windows of shape ``(samples, time, features)``."""
        states, _ = self.lstm(windows)
        value: torch.Tensor = self.head(states[:, -1])
        return value


def make_lstm() -> Workload:
    """An LSTM on windows of 48 steps, with Adam."""
    model = Forecaster()
    return Workload(
        model=model,
        dataset=Pool(8_000, lambda: (torch.randn(48, 8), torch.randn(1))),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        loss=nn.functional.mse_loss,
    )


def make_bert() -> Workload:
    """Transformers' BERT from a small configuration, as a classifier of 64 tokens."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=1_000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=512, max_position_embeddings=64, num_labels=4,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return Workload(model=model, dataset=Pool(4_000, _make_sentence), optimizer=optimizer)


def _make_sentence() -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.randint(1_000, (64,)),
        "attention_mask": torch.ones(64, dtype=torch.long),
        "labels": torch.randint(4, ()),
    }


def make_rows(width: int, num_samples: int) -> Workload:
    """Each sample takes a row of ``width`` floats about four times over, and little arithmetic."""
    model = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Tanh(), nn.Linear(width, 1))
    return Workload(
        model=model,
        dataset=Pool(num_samples, lambda: (torch.randn(1), torch.randn(1))),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        loss=nn.functional.mse_loss,
    )


def make_dense(num_parameters: int) -> Workload:
    """Eight square layers that have so many parameters together."""
    side = round((num_parameters / 8) ** 0.5)
    layers = [each for _ in range(8) for each in (nn.Linear(side, side), nn.ReLU())]
    model = nn.Sequential(*layers)
    return Workload(
        model=model,
        dataset=Pool(4_096, lambda: (torch.randn(side), torch.randn(side))),
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
        loss=nn.functional.mse_loss,
    )


_MAKERS: dict[str, Callable[[], Workload]] = {
    "mlp": make_mlp,
    "cnn": make_cnn,
    "resnet": make_resnet,
    "gpt": make_gpt,
    "lstm": make_lstm,
    "bert": make_bert,
    # 1 MiB a sample, 20 GiB in all: what is to be survived.
    "rows": partial(make_rows, 2**16, 20 * 1024),
}


def make_workload(name: str) -> Workload:
    """The workload of a name: ``mlp``, or with sizes of its own ``dense:1000000``, ``rows:4096``.

    ``rows`` takes the floats of a row and, after a second colon, the samples of its dataset.

    Raises:
        KeyError: If there is none.
    """
    kind, *sizes = name.split(":")
    if kind == "dense" and sizes:
        return make_dense(int(sizes[0]))
    if kind == "rows" and sizes:
        return make_rows(int(sizes[0]), int(sizes[1]) if len(sizes) > 1 else _NUM_ROWS)
    return _MAKERS[name]()
