"""What a transformer is trained to do, and random batches for it.

A batch is what the library's own collators make: a dict that goes to the model as it is, labels
included, so that the model returns its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from autobatch.units import format_count

Batch: TypeAlias = "dict[str, torch.Tensor]"

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
        end_token: What each sequence ends with, and has nowhere else; ``None`` for any token.
    """

    vocabulary_size: int = 0
    sequence_length: int = 0
    num_labels: int = 2
    image_shape: tuple[int, ...] = ()
    takes_mask: bool = False
    end_token: int | None = None

    def describe(self, *, with_labels: bool) -> str:
        """The sample in a user's words."""
        if self.image_shape:
            text = f"random images {'x'.join(str(size) for size in self.image_shape)}"
        else:
            text = f"random tokens below {format_count(self.vocabulary_size)}, "
            text += f"{format_count(self.sequence_length)} long"
        return f"{text}, {format_count(self.num_labels)} classes" if with_labels else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One thing to train a transformer to do.

    Attributes:
        name: As a user writes it behind the model: ``hf:bert:token-classification``.
        auto_class: The class of the library that makes such models of a configuration.
        mapping: The library's table of configurations that have one.
        make: A batch from a shape, a number of samples and a generator.
        has_classes: Whether ``num_labels`` counts.
        takes_images: Whether samples are images.
    """

    name: str
    auto_class: str
    mapping: str
    make: Callable[[SampleShape, int, torch.Generator], Batch]
    has_classes: bool = False
    takes_images: bool = False


def _make_tokens(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    size = (num, shape.sequence_length)
    tokens = torch.randint(shape.vocabulary_size, size, generator=generator)
    if shape.end_token is not None:
        tokens[tokens == shape.end_token] = (shape.end_token + 1) % shape.vocabulary_size
        tokens[:, -1] = shape.end_token
    batch = {"input_ids": tokens}
    if shape.takes_mask:
        batch["attention_mask"] = torch.ones(size, dtype=torch.long)
    return batch


def _make_causal(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    batch = _make_tokens(shape, num, generator)
    return {**batch, "labels": batch["input_ids"].clone()}


def _make_masked(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    batch = _make_tokens(shape, num, generator)
    is_masked = torch.rand(batch["input_ids"].shape, generator=generator) < _MASKED_FRACTION
    is_masked[:, 0] = True  # without a single one the loss would not be finite
    return {**batch, "labels": batch["input_ids"].masked_fill(~is_masked, _IGNORED)}


def _make_pairs(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    labels = _make_tokens(shape, num, generator)["input_ids"]
    return {**_make_tokens(shape, num, generator), "labels": labels}


def _make_classified(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    labels = torch.randint(shape.num_labels, (num,), generator=generator)
    return {**_make_tokens(shape, num, generator), "labels": labels}


def _make_tagged(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    size = (num, shape.sequence_length)
    labels = torch.randint(shape.num_labels, size, generator=generator)
    return {**_make_tokens(shape, num, generator), "labels": labels}


def _make_images(shape: SampleShape, num: int, generator: torch.Generator) -> Batch:
    images = torch.randn((num, *shape.image_shape), generator=generator)
    return {
        "pixel_values": images,
        "labels": torch.randint(shape.num_labels, (num,), generator=generator),
    }


# The first that a configuration has is what is trained where the target names none.
HEADS = (
    Head(
        name="seq2seq-lm",
        auto_class="AutoModelForSeq2SeqLM",
        mapping="MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
        make=_make_pairs,
    ),
    Head(
        name="masked-lm",
        auto_class="AutoModelForMaskedLM",
        mapping="MODEL_FOR_MASKED_LM_MAPPING",
        make=_make_masked,
    ),
    Head(
        name="causal-lm",
        auto_class="AutoModelForCausalLM",
        mapping="MODEL_FOR_CAUSAL_LM_MAPPING",
        make=_make_causal,
    ),
    Head(
        name="image-classification",
        auto_class="AutoModelForImageClassification",
        mapping="MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
        make=_make_images,
        has_classes=True,
        takes_images=True,
    ),
    Head(
        name="sequence-classification",
        auto_class="AutoModelForSequenceClassification",
        mapping="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
        make=_make_classified,
        has_classes=True,
    ),
    Head(
        name="token-classification",
        auto_class="AutoModelForTokenClassification",
        mapping="MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
        make=_make_tagged,
        has_classes=True,
    ),
)
