"""Six trainings that use a caching allocator in six ways, small enough for a CPU.

Optimizers go over all parameters at once (``foreach``), as they do on a GPU by default.
"""

from __future__ import annotations

import functools

import torch
from torch import nn

from autobatch import Workload

KIB = 2**10
_VOCABULARY = 256
_TOKENS = 32


def cnn() -> Workload:
    """Convolutions and batch norms, trained with AdamW."""
    model = nn.Sequential(
        *_block(3, 12), *_block(12, 12), nn.MaxPool2d(2), *_block(12, 24), *_block(24, 24)
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))
    return Workload(
        model=nn.Sequential(model, head),
        batch=lambda size: (torch.randn(size, 3, 16, 16), torch.randint(10, (size,))),
        loss=nn.functional.cross_entropy,
        optimizer=functools.partial(torch.optim.AdamW, foreach=True),
    )


def gpt() -> Workload:
    """A decoder that predicts the next token, trained with AdamW."""
    return Workload(
        model=_Decoder(),
        batch=lambda size: (torch.randint(_VOCABULARY, (size, _TOKENS)),) * 2,
        loss=lambda logits, ids: nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()),
        optimizer=functools.partial(torch.optim.AdamW, foreach=True),
    )


def lstm() -> Workload:
    """A recurrent network over sequences, trained with RMSprop."""
    return Workload(
        model=_Recurrent(),
        batch=lambda size: (torch.randn(size, 16, 32), torch.randn(size, 1)),
        loss=nn.functional.mse_loss,
        optimizer=functools.partial(torch.optim.RMSprop, foreach=True),
    )


def mlp() -> Workload:
    """Wide layers whose weights outweigh the activations, trained with Adam."""
    layers = [part for _ in range(4) for part in (nn.Linear(192, 192), nn.GELU())]
    return Workload(
        model=nn.Sequential(*layers, nn.Linear(192, 8)),
        batch=lambda size: (torch.randn(size, 16, 192), torch.randn(size, 16, 8)),
        loss=nn.functional.mse_loss,
        optimizer=functools.partial(torch.optim.Adam, foreach=True),
    )


def workspace() -> Workload:
    """Layers that take workspace where there is some and do without where there is none (cuDNN)."""
    layers = [part for _ in range(6) for part in (_WithWorkspace(96), nn.ReLU())]
    return Workload(
        model=nn.Sequential(*layers, nn.Linear(96, 8)),
        batch=lambda size: (torch.randn(size, 24, 96), torch.randn(size, 24, 8)),
        loss=nn.functional.mse_loss,
        optimizer=functools.partial(torch.optim.SGD, momentum=0.9, foreach=True),
    )


def fragmented() -> Workload:
    """Each layer sees all before it: blocks of many sizes, and ever larger ones (DenseNet)."""
    return Workload(
        model=_Dense(),
        batch=lambda size: (torch.randn(size, 32, 64), torch.randn(size, 32, 8)),
        loss=nn.functional.mse_loss,
        optimizer=functools.partial(torch.optim.AdamW, foreach=True),
    )


WORKLOADS = {each.__name__: each for each in (cnn, gpt, lstm, mlp, workspace, fragmented)}


def _block(num_in: int, num_out: int) -> list[nn.Module]:
    return [nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out), nn.ReLU()]


class _Decoder(nn.Module):
    def __init__(self, width: int = 48, num_layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(_VOCABULARY, width)
        self.places = nn.Parameter(torch.zeros(_TOKENS, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)
            for _ in range(num_layers)
        )
        self.head = nn.Linear(width, _VOCABULARY)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(_TOKENS))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the next token, shape ``(size, tokens, vocabulary)``."""
        hidden = self.tokens(ids) + self.places
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask)
        logits: torch.Tensor = self.head(hidden)
        return logits


class _Recurrent(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(32, width)
        self.head = nn.Linear(width, 1)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """One value for each sequence."""
        state = None
        for step in sequences.unbind(1):
            state = self.cell(step, state)
        assert state is not None
        value: torch.Tensor = self.head(state[0])
        return value


class _WithWorkspace(nn.Linear):
    """A layer with a fifth of its activations as workspace, and far more at some sizes."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The layer's output."""
        size = len(inputs)
        num_bytes = inputs.nbytes // 5 + (64 * KIB * size if size in (4, 32) else 0)
        try:
            workspace = torch.empty(num_bytes, dtype=torch.uint8)
        except torch.OutOfMemoryError:
            workspace = torch.empty(0)  # a slower algorithm
        outputs = super().forward(inputs)
        del workspace
        return outputs


class _Dense(nn.Module):
    def __init__(self, width: int = 64, growth: int = 24, num_layers: int = 10) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(width + index * growth, growth) for index in range(num_layers)
        )
        self.head = nn.Linear(width + num_layers * growth, 8)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The head's view of all layers."""
        for layer in self.layers:
            inputs = torch.cat([inputs, nn.functional.gelu(layer(inputs))], dim=-1)
        outputs: torch.Tensor = self.head(inputs)
        return outputs
