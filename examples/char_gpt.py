"""A character-level GPT that learns to write Python, from Python's own standard library.

    autobatch probe examples/char_gpt.py
    autobatch probe examples/char_gpt.py --memory-limit 1GiB --goal memory
    autobatch probe examples/char_gpt.py --global-batch-size 256

What to look for:

- A transformer fills a CPU with few samples, so the knee comes early and memory grows by some
  2 MiB per sample: a larger batch is paid for and buys nothing.
- AdamW: the learning rate follows the square root of the batch size, and betas and epsilon
  that go with it are given too.
- With a global batch to reach, the answer is a batch size and accumulation steps.

Run by itself, the file trains for one epoch in plain PyTorch; that takes some ten seconds.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

CONTEXT = 64
VOCABULARY = 128
WIDTH = 128
NUM_HEADS = 4
NUM_LAYERS = 3
NUM_CHARACTERS = 200_000


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.project_in = nn.Linear(WIDTH, 3 * WIDTH)
        self.project_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix each position with the ones before it."""
        num_samples, length, _ = x.shape
        by_head = self.project_in(x).view(num_samples, length, 3, NUM_HEADS, -1)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.project_out(mixed.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Attention, then a small network at each position, both added to their input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention())
        self.network = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.GELU(),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One layer of the transformer."""
        x = x + self.attention(x)
        return x + self.network(x)


class CharGPT(nn.Module):
    """From characters to scores of the character that follows each."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(NUM_LAYERS)))
        self.scores = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY))

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """Scores of shape ``(samples, length, vocabulary)``."""
        positions = torch.arange(characters.shape[1], device=characters.device)
        return self.scores(self.blocks(self.characters(characters) + self.positions(positions)))


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows of a text, side by side, each with the same window one character on."""

    def __init__(self, text: torch.Tensor) -> None:
        self.text = text

    def __len__(self) -> int:
        return (len(self.text) - 1) // CONTEXT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        begin = index * CONTEXT
        window = self.text[begin : begin + CONTEXT + 1].long()
        return window[:-1], window[1:]


def read_standard_library() -> torch.Tensor:
    """The first ASCII characters of the library's modules, in the order of their names."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text += path.read_text("utf-8").encode("ascii", "ignore")
        if len(text) >= NUM_CHARACTERS:
            break
    return torch.frombuffer(text[:NUM_CHARACTERS], dtype=torch.uint8)


def loss(scores: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(scores.flatten(0, 1), following.flatten())


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr)


model = CharGPT()
dataset = Windows(read_standard_library())
batch_size = 32
lr = 1e-3


if __name__ == "__main__":
    torch.manual_seed(0)
    adamw = optimizer(model.parameters())
    for step, (characters, following) in enumerate(DataLoader(dataset, batch_size, shuffle=True)):
        value = loss(model(characters), following)
        value.backward()
        adamw.step()
        adamw.zero_grad()
        if step % 20 == 0:
            print(f"step {step}: loss {value.item():.4f}")
