"""What a transformer is trained to do, and random batches for it.

A batch is what the library's own collators make: a dict that goes to the model as it is, labels
included, so that the model returns its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from autobatch.units import format_count

_MASKED_FRACTION = 0.15  # of the tokens, as in Devlin et al. 2018
_IGNORED = -100  # what cross-entropy leaves out


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleShape:
    """What one sample is.

    Attributes:
        vocabulary_size: Token ids are below this; 0 for images.
        sequence_length: Tokens.
        num_labels: Classes.
        image_shape: Channels, height and width; empty for tokens.
        takes_mask: Whether the model takes an attention mask.
    """

    vocabulary_size: int = 0
    sequence_length: int = 0
    num_labels: int = 2
    image_shape: tuple[int, ...] = ()
    takes_mask: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """One thing to train a transformer to do.

    Attributes:
        name: As a user writes it behind the model: ``hf:bert:token-classification``.
        auto_class: The class of the library that makes such models of a configuration.
        make_labels: Labels for a shape, a batch of inputs and a generator.
    """

    name: str
    auto_class: str
    make_labels: Callable[[SampleShape, torch.Tensor, torch.Generator], torch.Tensor]

    @property
    def takes_images(self) -> bool:
        """Whether samples are images."""
        return self.name == "image-classification"

    def describe(self, shape: SampleShape) -> str:
        """A sample in a user's words."""
        if self.takes_images:
            text = f"random images {'x'.join(str(size) for size in shape.image_shape)}"
        else:
            text = f"random tokens below {format_count(shape.vocabulary_size)}, "
            text += f"{format_count(shape.sequence_length)} long"
        has_classes = self.name.endswith("classification")
        return f"{text}, {format_count(shape.num_labels)} classes" if has_classes else text

    def make_batch(self, shape: SampleShape, num: int, seed: int) -> dict[str, torch.Tensor]:
        """Make a batch of random samples.

        Args:
            shape: What one sample is.
            num: Samples in the batch.
            seed: The same seed gives the same batch.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.takes_images:
            inputs = torch.randn((num, *shape.image_shape), generator=generator)
            batch = {"pixel_values": inputs}
        else:
            size = (num, shape.sequence_length)
            inputs = torch.randint(shape.vocabulary_size, size, generator=generator)
            batch = {"input_ids": inputs}
        if shape.takes_mask:
            batch["attention_mask"] = torch.ones(inputs.shape, dtype=torch.long)
        return {**batch, "labels": self.make_labels(shape, inputs, generator)}


def _copy(shape: SampleShape, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return inputs.clone()


def _mask(shape: SampleShape, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    is_masked = torch.rand(inputs.shape, generator=generator) < _MASKED_FRACTION
    is_masked[:, 0] = True  # without a single one the loss would not be finite
    return inputs.masked_fill(~is_masked, _IGNORED)


def _translate(
    shape: SampleShape, inputs: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    return torch.randint(shape.vocabulary_size, inputs.shape, generator=generator)


def _classify(shape: SampleShape, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(shape.num_labels, inputs.shape[:1], generator=generator)


def _tag(shape: SampleShape, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(shape.num_labels, inputs.shape, generator=generator)


# The first that a configuration has is what is trained where the target names none.
HEADS = (
    Head("seq2seq-lm", "AutoModelForSeq2SeqLM", _translate),
    Head("masked-lm", "AutoModelForMaskedLM", _mask),
    Head("causal-lm", "AutoModelForCausalLM", _copy),
    Head("image-classification", "AutoModelForImageClassification", _classify),
    Head("sequence-classification", "AutoModelForSequenceClassification", _classify),
    Head("token-classification", "AutoModelForTokenClassification", _tag),
)
